//! FUMO 1.0, firmware update: states, result codes, alert types, and the operations' state machine.

use dm_protocol::server::DeviceAlert;
use serde::{Deserialize, Serialize};

use crate::outcome::ResultClass;

/// The management object's id, which a FUMO node may carry as its `Type`.
pub const MOI: &str = "urn:oma:mo:oma-fumo:1.0";

/// Where deployed clients keep their FUMO node, or the parent of it.
pub const USUAL_ROOTS: [&str; 4] = ["FUMO", "FwUpdate", "Fumo", "FWUpdate"];

/// The value of `<x>/State` (FUMO 1.0, section 5.2). Clients add states of their own, so it stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FumoState {
    /// Nothing pending.
    Idle,
    /// The download failed.
    DownloadFailed,
    /// The download runs.
    DownloadProgressing,
    /// The package is there.
    DownloadComplete,
    /// The package is there, and the update command is awaited.
    ReadyToUpdate,
    /// The update runs.
    UpdateProgressing,
    /// The update failed, the package is still there.
    UpdateFailedHaveData,
    /// The update failed, the package is gone.
    UpdateFailedNoData,
    /// The update succeeded, the package is still there.
    UpdateSuccessfulHaveData,
    /// The update succeeded, the package is gone.
    UpdateSuccessfulNoData,
    /// A client's own.
    Other(i32),
}

impl FumoState {
    /// The state of a number.
    pub fn from_code(code: i32) -> Self {
        match code {
            10 => Self::Idle,
            20 => Self::DownloadFailed,
            30 => Self::DownloadProgressing,
            40 => Self::DownloadComplete,
            50 => Self::ReadyToUpdate,
            60 => Self::UpdateProgressing,
            70 => Self::UpdateFailedHaveData,
            80 => Self::UpdateFailedNoData,
            90 => Self::UpdateSuccessfulHaveData,
            100 => Self::UpdateSuccessfulNoData,
            other => Self::Other(other),
        }
    }

    /// The number of a state.
    pub fn code(self) -> i32 {
        match self {
            Self::Idle => 10,
            Self::DownloadFailed => 20,
            Self::DownloadProgressing => 30,
            Self::DownloadComplete => 40,
            Self::ReadyToUpdate => 50,
            Self::UpdateProgressing => 60,
            Self::UpdateFailedHaveData => 70,
            Self::UpdateFailedNoData => 80,
            Self::UpdateSuccessfulHaveData => 90,
            Self::UpdateSuccessfulNoData => 100,
            Self::Other(code) => code,
        }
    }

    /// Reads a leaf's value; `None` where it is no integer (an empty leaf of a client that never ran anything).
    pub fn parse(value: &[u8]) -> Option<Self> {
        std::str::from_utf8(value).ok()?.trim().parse().ok().map(Self::from_code)
    }

    /// A download or an update is under way, the odd client's own states for it among them.
    pub fn is_running(self) -> bool {
        // 5 and 15: a request is sent, a download starts; 200, 210, 230, 240, 241: reading a descriptor, starting,
        // cancelling, reporting. What is postponed or suspended (220, 221, 250) goes on by itself too.
        matches!(
            self,
            Self::DownloadProgressing
                | Self::UpdateProgressing
                | Self::Other(5 | 15 | 200 | 210 | 220 | 221 | 230 | 240 | 241 | 250)
        )
    }

    /// The package is on the device and not installed.
    pub fn has_package(self) -> bool {
        matches!(self, Self::DownloadComplete | Self::ReadyToUpdate)
    }

    /// The result that a device in this state would have reported, for where its report never came.
    ///
    /// The state does not say why: a failed download counts as [`FumoResult::DownloadNetworkError`] (it may pass
    /// by itself), a failed update as [`FumoResult::UpdateFailed`]. `None`: the state tells no end.
    pub fn implied_result(self) -> Option<FumoResult> {
        match self {
            Self::DownloadFailed => Some(FumoResult::DownloadNetworkError),
            Self::UpdateFailedHaveData | Self::UpdateFailedNoData => Some(FumoResult::UpdateFailed),
            Self::UpdateSuccessfulHaveData | Self::UpdateSuccessfulNoData => Some(FumoResult::Success),
            _ => None,
        }
    }

    /// The state after an event; `None` where the event is not possible in this state and is refused (405).
    pub fn after(self, event: FumoEvent) -> Option<Self> {
        use FumoEvent as E;
        match event {
            E::ExecDownload | E::ExecDownloadAndUpdate => {
                (!self.is_running()).then_some(Self::DownloadProgressing)
            }
            E::PackageWritten => (!self.is_running()).then_some(Self::ReadyToUpdate),
            E::Downloaded => (self == Self::DownloadProgressing).then_some(Self::ReadyToUpdate),
            E::DownloadFailed => (self == Self::DownloadProgressing).then_some(Self::DownloadFailed),
            E::ExecUpdate => {
                (self.has_package() || self == Self::UpdateFailedHaveData).then_some(Self::UpdateProgressing)
            }
            // A DownloadAndUpdate goes on by itself.
            E::UpdateStarted => self.has_package().then_some(Self::UpdateProgressing),
            E::UpdateFailed { keeps_package: true } => {
                (self == Self::UpdateProgressing).then_some(Self::UpdateFailedHaveData)
            }
            E::UpdateFailed { keeps_package: false } => {
                (self == Self::UpdateProgressing).then_some(Self::UpdateFailedNoData)
            }
            E::Updated => (self == Self::UpdateProgressing).then_some(Self::UpdateSuccessfulNoData),
        }
    }
}

/// What moves a [`FumoState`] (FUMO 1.0, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FumoEvent {
    /// Exec of `Download`.
    ExecDownload,
    /// Exec of `DownloadAndUpdate`.
    ExecDownloadAndUpdate,
    /// Exec of `Update`.
    ExecUpdate,
    /// `Update/PkgData` has been written whole.
    PackageWritten,
    /// The package has arrived and was checked.
    Downloaded,
    /// It has not, or is broken.
    DownloadFailed,
    /// The second half of a DownloadAndUpdate begins.
    UpdateStarted,
    /// The new firmware runs.
    Updated,
    /// The old one still runs.
    UpdateFailed {
        /// The package can be tried again by Exec of `Update`.
        keeps_package: bool,
    },
}

/// The result code of an operation (FUMO 1.0, section 7.3). It is no [`syncml::StatusCode`], although numbers coincide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FumoResult {
    /// 200
    Success,
    /// 250 to 299: a vendor's kind of success.
    VendorSuccess(u16),
    /// 400: behaviour of user or device.
    ClientError,
    /// 401
    UserCancelled,
    /// 402: such as a wrong checksum.
    CorruptPackage,
    /// 403: the package is for another device.
    DeviceMismatch,
    /// 404
    SignatureInvalid,
    /// 405: not acceptable.
    NotAcceptable,
    /// 406
    DownloadAuthFailed,
    /// 407
    DownloadTimeout,
    /// 408
    NotImplemented,
    /// 409
    Undefined,
    /// 410
    UpdateFailed,
    /// 411: missing or malformed.
    BadUrl,
    /// 412
    DownloadServerUnavailable,
    /// 450 to 499: a vendor's kind of client error.
    VendorClientError(u16),
    /// 500
    DownloadServerError,
    /// 501
    DownloadOutOfMemory,
    /// 502
    UpdateOutOfMemory,
    /// 503
    DownloadNetworkError,
    /// 550 to 599: a vendor's kind of network error.
    VendorServerError(u16),
    /// Any other.
    Other(u16),
}

impl FumoResult {
    /// The result of a number.
    pub fn from_code(code: u16) -> Self {
        match code {
            200 => Self::Success,
            250..=299 => Self::VendorSuccess(code),
            400 => Self::ClientError,
            401 => Self::UserCancelled,
            402 => Self::CorruptPackage,
            403 => Self::DeviceMismatch,
            404 => Self::SignatureInvalid,
            405 => Self::NotAcceptable,
            406 => Self::DownloadAuthFailed,
            407 => Self::DownloadTimeout,
            408 => Self::NotImplemented,
            409 => Self::Undefined,
            410 => Self::UpdateFailed,
            411 => Self::BadUrl,
            412 => Self::DownloadServerUnavailable,
            450..=499 => Self::VendorClientError(code),
            500 => Self::DownloadServerError,
            501 => Self::DownloadOutOfMemory,
            502 => Self::UpdateOutOfMemory,
            503 => Self::DownloadNetworkError,
            550..=599 => Self::VendorServerError(code),
            other => Self::Other(other),
        }
    }

    /// The number of a result.
    pub fn code(self) -> u16 {
        match self {
            Self::Success => 200,
            Self::ClientError => 400,
            Self::UserCancelled => 401,
            Self::CorruptPackage => 402,
            Self::DeviceMismatch => 403,
            Self::SignatureInvalid => 404,
            Self::NotAcceptable => 405,
            Self::DownloadAuthFailed => 406,
            Self::DownloadTimeout => 407,
            Self::NotImplemented => 408,
            Self::Undefined => 409,
            Self::UpdateFailed => 410,
            Self::BadUrl => 411,
            Self::DownloadServerUnavailable => 412,
            Self::DownloadServerError => 500,
            Self::DownloadOutOfMemory => 501,
            Self::UpdateOutOfMemory => 502,
            Self::DownloadNetworkError => 503,
            Self::VendorSuccess(code)
            | Self::VendorClientError(code)
            | Self::VendorServerError(code)
            | Self::Other(code) => code,
        }
    }

    /// Reads an alert's data: an integer, which text may follow (`900 12kB/s`).
    pub fn parse(data: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(data).ok()?.trim_start();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text.get(..end)?.parse().ok().map(Self::from_code)
    }

    /// What it means for a campaign.
    pub fn class(self) -> ResultClass {
        match self {
            Self::Success | Self::VendorSuccess(_) => ResultClass::Success,
            Self::DownloadTimeout
            | Self::DownloadServerUnavailable
            | Self::DownloadServerError
            | Self::DownloadOutOfMemory
            | Self::DownloadNetworkError
            | Self::VendorServerError(_) => ResultClass::Transient,
            Self::UserCancelled => ResultClass::NeedsUser,
            Self::CorruptPackage
            | Self::DeviceMismatch
            | Self::SignatureInvalid
            | Self::NotAcceptable
            | Self::BadUrl
            // 600 and 601: a client's codes for content that differs from its descriptor, and for a bad descriptor.
            | Self::Other(600 | 601) => ResultClass::PackageFault,
            // 602: the same client's code for a low battery.
            Self::Other(602) => ResultClass::Transient,
            // 406 is the download server's refusal of a URL's token: the next attempt has a new one.
            Self::DownloadAuthFailed => ResultClass::Transient,
            Self::ClientError
            | Self::NotImplemented
            | Self::Undefined
            | Self::UpdateFailed
            | Self::UpdateOutOfMemory
            | Self::VendorClientError(_)
            | Self::Other(_) => ResultClass::DeviceFault,
        }
    }
}

/// An operation of a FUMO node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Get the package and keep it.
    Download,
    /// Install the package that is there.
    Update,
    /// Both.
    DownloadAndUpdate,
}

impl Operation {
    /// The name of the operation's node.
    pub fn node(self) -> &'static str {
        match self {
            Self::Download => "Download",
            Self::Update => "Update",
            Self::DownloadAndUpdate => "DownloadAndUpdate",
        }
    }

    /// The type of the alert that reports its end.
    pub fn alert_type(self) -> &'static str {
        match self {
            Self::Download => "org.openmobilealliance.dm.firmwareupdate.download",
            Self::Update => "org.openmobilealliance.dm.firmwareupdate.update",
            Self::DownloadAndUpdate => "org.openmobilealliance.dm.firmwareupdate.downloadandupdate",
        }
    }
}

/// What a generic alert of FUMO says (FUMO 1.0, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FumoAlert {
    /// An operation ended.
    Ended(Operation),
    /// The device asks for an update.
    DeviceRequest,
    /// The user asks for an update.
    UserRequest,
}

impl FumoAlert {
    /// Reads an alert's type, with or without the namespace prefix that the specification wants before it, with or
    /// without the `.dm` that some leave out, in any case.
    pub fn parse(type_: &str) -> Option<Self> {
        let bare = type_.rsplit_once(':').map_or(type_, |(_, bare)| bare).trim().to_ascii_lowercase();
        let kind = bare
            .strip_prefix("org.openmobilealliance.dm.firmwareupdate.")
            .or_else(|| bare.strip_prefix("org.openmobilealliance.firmwareupdate."))?;
        match kind {
            "download" => Some(Self::Ended(Operation::Download)),
            "update" => Some(Self::Ended(Operation::Update)),
            "downloadandupdate" => Some(Self::Ended(Operation::DownloadAndUpdate)),
            "devicerequest" => Some(Self::DeviceRequest),
            "userrequest" => Some(Self::UserRequest),
            _ => None,
        }
    }

    /// Reads the type of an alert, where it has one of FUMO's.
    pub fn of(alert: &DeviceAlert) -> Option<Self> {
        Self::parse(alert.type_.as_deref()?)
    }
}

#[cfg(test)]
mod tests;
