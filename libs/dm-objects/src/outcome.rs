//! What a result code means for a campaign.

use serde::{Deserialize, Serialize};
use syncml::StatusCode;

/// The class of an operation's result: what a campaign does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultClass {
    /// Done.
    Success,
    /// The network, a server, a time-out or free memory: may pass by itself.
    Transient,
    /// The user said no.
    NeedsUser,
    /// The package is wrong for this device, or broken: no device should get it again before someone looked.
    PackageFault,
    /// The device could not.
    DeviceFault,
}

impl ResultClass {
    /// The class of the status by which a device refused a command before anything ran.
    pub fn of_refusal(status: StatusCode) -> Self {
        match status.0 {
            // Cancelled by the user, or the user said no.
            214 | 215 | 304 => Self::NeedsUser,
            // Busy, full, timed out, credentials that the next session repeats, unavailable.
            401 | 403 | 407 | 408 | 420 | 503 | 504 => Self::Transient,
            // Too large, or of a kind the device does not take.
            413 | 415 | 424 => Self::PackageFault,
            _ => Self::DeviceFault,
        }
    }
}
