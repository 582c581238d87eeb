//! Devices as the API takes and shows them.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme, ServerAuth, auth};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::{Device, Inventory, NotifyAddress};

use super::{ProblemBody, Secret};

/// Most tags of one device.
const TAGS_MAX: usize = 64;
/// Most characters of a tag.
const TAG_CHARS_MAX: usize = 64;

/// How a device proves itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthScheme {
    /// It need not.
    None,
    /// User and password, in the clear or as MD5: whichever it sends.
    Basic,
    /// MD5 with a nonce; basic is refused.
    #[default]
    Md5,
}

/// A device to add. Unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceInput {
    /// Its name: `./DevInfo/DevId`.
    pub id: String,
    /// How it proves itself; MD5 where nothing is said.
    #[serde(default)]
    pub auth: AuthScheme,
    /// Its user name; needed unless `auth` is `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its password; needed unless `auth` is `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The name the server proves itself to the device by, where the device asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
    /// The server's password towards the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_password: Option<Secret>,
    /// The scheme the server begins with; the device's own where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_auth: Option<AuthScheme>,
    /// The nonce, in base64, that the device was provisioned with for its first MD5 credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_nonce: Option<String>,
    /// The nonce, in base64, that the device expects in the server's first MD5 credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_nonce: Option<String>,
    /// Where it can be asked to come: `udp://host:port`, `wap://host:port`, or `scheme:address` of a gateway of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_address: Option<String>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
}

/// Bad input: where, what was expected, what came. Never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, got {got}")]
pub struct InputError {
    /// The field at fault.
    pub field: &'static str,
    /// What it takes.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl InputError {
    fn new(field: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { field, expected: expected.into(), got: got.into() }
    }
}

/// New credentials of a device, in place of all that it has; those that it has already change nothing. Unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialsInput {
    /// How it proves itself; MD5 where nothing is said.
    #[serde(default)]
    pub auth: AuthScheme,
    /// Its user name; needed unless `auth` is `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its password; needed unless `auth` is `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The name the server proves itself to the device by; where nothing is said, it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
    /// The server's password towards the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_password: Option<Secret>,
    /// The scheme the server begins with; the device's own where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_auth: Option<AuthScheme>,
    /// The nonce, in base64, that the device makes its next MD5 credential with; where nothing is said, the one that it was told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_nonce: Option<String>,
    /// The nonce, in base64, that the device expects in the server's next MD5 credential; where nothing is said, the one that it named last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_nonce: Option<String>,
}

/// Where a device can be asked to come, in place of where it could be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyAddressInput {
    /// `udp://host:port`, `wap://host:port`, or `scheme:address` of a gateway of the settings. `null`: it comes by itself only.
    // Named, so that nobody takes an address away by leaving it out.
    #[serde(deserialize_with = "Option::deserialize")]
    pub notify_address: Option<String>,
}

impl NotifyAddressInput {
    /// The address, if there is one.
    ///
    /// # Errors
    ///
    /// It is none.
    pub(crate) fn into_address(self) -> Result<Option<NotifyAddress>, InputError> {
        self.notify_address.as_deref().map(parse_address).transpose()
    }
}

impl DeviceInput {
    /// Checks it and makes the record to store.
    ///
    /// # Errors
    ///
    /// The first field that is not as it must be.
    pub fn into_device(self, now: Timestamp) -> Result<Device, InputError> {
        let id = DevId::parse(&self.id).map_err(|_| {
            let got = format!("{} characters: {:?}", self.id.chars().count(), short(&self.id));
            InputError::new("id", "1 to 128 characters without control characters", got)
        })?;
        let Self { tags, notify_address, .. } = self;
        check_tags(&tags)?;
        let credentials = CredentialsInput {
            auth: self.auth,
            user: self.user,
            password: self.password,
            server_id: self.server_id,
            server_password: self.server_password,
            server_auth: self.server_auth,
            client_nonce: self.client_nonce,
            server_nonce: self.server_nonce,
        };
        let account = credentials.into_account()?;
        let notify_address = NotifyAddressInput { notify_address }.into_address()?;
        Ok(Device {
            id,
            ordinal: 0,
            account,
            tags,
            added: now,
            last_seen: None,
            inventory: Inventory::default(),
            fumo_root: None,
            dev_detail_read: None,
            notify_address,
        })
    }
}

impl CredentialsInput {
    /// Checks it and makes the account.
    ///
    /// # Errors
    ///
    /// The first field that is not as it must be.
    pub(crate) fn into_account(self) -> Result<Account, InputError> {
        Ok(Account {
            client: self.client_auth()?,
            server: self.server_auth()?,
            nonces: Nonces {
                client: nonce("client_nonce", self.client_nonce.as_deref())?,
                client_previous: None,
                server: nonce("server_nonce", self.server_nonce.as_deref())?,
            },
        })
    }

    fn client_auth(&self) -> Result<ClientAuth, InputError> {
        let scheme = match self.auth {
            AuthScheme::None if self.user.is_some() || self.password.is_some() => {
                let field = if self.user.is_some() { "user" } else { "password" };
                return Err(InputError::new(field, "nothing, because auth is none", "a value"));
            }
            AuthScheme::None => return Ok(ClientAuth::None),
            AuthScheme::Basic => Scheme::Basic,
            AuthScheme::Md5 => Scheme::Md5,
        };
        let user = required("user", "a user name, because auth is not none", self.user.as_deref())?;
        if user.contains(':') {
            // The credential is the text "user:password", so a colon in the name would move the border.
            return Err(InputError::new("user", "a name without a colon", format!("{:?}", short(user))));
        }
        let password = self.password.as_ref().map(Secret::reveal);
        let password = required("password", "a password, because auth is not none", password)?;
        Ok(ClientAuth::Password { scheme, user: user.to_owned(), digest: auth::user_digest(user, password) })
    }

    fn server_auth(&self) -> Result<Option<ServerAuth>, InputError> {
        if self.server_id.is_none() && self.server_password.is_none() {
            return match self.server_auth {
                Some(_) => Err(InputError::new("server_auth", "server_id beside it", "none")),
                None => Ok(None),
            };
        }
        let server_id =
            required("server_id", "a name, because server_password is there", self.server_id.as_deref())?;
        let password = self.server_password.as_ref().map(Secret::reveal);
        let password = required("server_password", "a password, because server_id is there", password)?;
        let scheme = match self.server_auth.unwrap_or(self.auth) {
            AuthScheme::Basic => Scheme::Basic,
            AuthScheme::Md5 | AuthScheme::None => Scheme::Md5,
        };
        Ok(Some(ServerAuth { server_id: server_id.to_owned(), password: password.to_owned(), scheme }))
    }
}

fn required<'a>(
    field: &'static str,
    expected: &'static str,
    value: Option<&'a str>,
) -> Result<&'a str, InputError> {
    match value {
        Some("") => Err(InputError::new(field, expected, "an empty text")),
        Some(value) => Ok(value),
        None => Err(InputError::new(field, expected, "nothing")),
    }
}

fn nonce(field: &'static str, text: Option<&str>) -> Result<Option<Vec<u8>>, InputError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    match STANDARD.decode(text) {
        Ok(octets) if octets.len() <= 256 => Ok(Some(octets)),
        Ok(octets) => Err(InputError::new(field, "at most 256 octets", octets.len().to_string())),
        Err(error) => Err(InputError::new(field, "base64", error.to_string())),
    }
}

fn parse_address(text: &str) -> Result<NotifyAddress, InputError> {
    NotifyAddress::parse(text).map_err(|error| {
        let expected = "an address such as udp://192.0.2.7:2948 or sms:+15550100";
        InputError::new("notify_address", expected, format!("{:?} ({error})", short(text)))
    })
}

/// Checks labels.
///
/// # Errors
///
/// The first that is not as it must be.
pub(crate) fn check_tags(tags: &BTreeSet<String>) -> Result<(), InputError> {
    if tags.len() > TAGS_MAX {
        return Err(InputError::new("tags", format!("at most {TAGS_MAX} tags"), tags.len().to_string()));
    }
    match tags.iter().find(|tag| !is_tag(tag)) {
        Some(bad) => Err(InputError::new(
            "tags",
            format!("tags of 1 to {TAG_CHARS_MAX} characters without spaces, commas or control characters"),
            format!("{:?}", short(bad)),
        )),
        None => Ok(()),
    }
}

fn is_tag(tag: &str) -> bool {
    (1..=TAG_CHARS_MAX).contains(&tag.chars().count())
        && !tag.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control())
}

/// The beginning of a text, for a message.
fn short(text: &str) -> &str {
    let end = text.char_indices().nth(40).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// A device as shown: no secret, no nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its name.
    pub id: String,
    /// Its dense number, which campaigns count by.
    pub ordinal: u32,
    /// How it proves itself.
    pub auth: AuthScheme,
    /// Its user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The name the server proves itself by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
    /// Free labels.
    pub tags: BTreeSet<String>,
    /// When it was added.
    pub added: Timestamp,
    /// When a session of it last authenticated; written once a minute at most.
    pub last_seen: Option<Timestamp>,
    /// What it said of itself.
    pub inventory: Inventory,
    /// Where its FUMO node is, once found.
    pub fumo_root: Option<String>,
    /// When DevDetail was last read whole.
    pub dev_detail_read: Option<Timestamp>,
    /// Where it can be asked to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_address: Option<String>,
}

impl From<Device> for DeviceView {
    fn from(device: Device) -> Self {
        let (auth, user) = match device.account.client {
            ClientAuth::None => (AuthScheme::None, None),
            ClientAuth::Password { scheme: Scheme::Basic, user, .. } => (AuthScheme::Basic, Some(user)),
            ClientAuth::Password { scheme: Scheme::Md5, user, .. } => (AuthScheme::Md5, Some(user)),
        };
        Self {
            id: device.id.as_str().to_owned(),
            ordinal: device.ordinal,
            auth,
            user,
            server_id: device.account.server.map(|server| server.server_id),
            tags: device.tags,
            added: device.added,
            last_seen: device.last_seen,
            inventory: device.inventory,
            fumo_root: device.fumo_root,
            dev_detail_read: device.dev_detail_read,
            notify_address: device.notify_address.map(String::from),
        }
    }
}

/// New labels of a device, in place of the ones it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagsInput {
    /// The labels.
    pub tags: BTreeSet<String>,
}

/// One line of the answer to a bulk request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BulkLine {
    /// What became of a row.
    Row(BulkRow),
    /// The last line, when every row was looked at.
    Summary {
        /// How many rows ended how.
        summary: BulkCounts,
    },
    /// The last line, when the server had to stop: rows without a line of their own were not looked at.
    Stopped {
        /// Why.
        problem: ProblemBody,
    },
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkRow {
    /// The row's line, from 1.
    pub line: u64,
    /// What became of it.
    pub result: BulkResult,
    /// The device's name, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of a row that was not taken: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Of a row that was not taken: the field at fault.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub where_: Option<String>,
}

/// How a row of a bulk request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BulkResult {
    /// The device is new and stored.
    Created,
    /// The device was there already, with the same credentials and tags.
    Unchanged,
    /// The device was there already, was different, and has what the row says now.
    Replaced,
    /// The device was there already and is different: it was left as it is.
    Conflict,
    /// The row cannot be read.
    Invalid,
}

/// How many rows ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkCounts {
    /// New and stored.
    pub created: u64,
    /// There already, and the same.
    pub unchanged: u64,
    /// There already, and changed to what the row says.
    #[serde(default)]
    pub replaced: u64,
    /// There already, and different.
    pub conflict: u64,
    /// Not readable.
    pub invalid: u64,
}

impl BulkCounts {
    /// Counts one row.
    pub fn count(&mut self, result: BulkResult) {
        match result {
            BulkResult::Created => self.created += 1,
            BulkResult::Unchanged => self.unchanged += 1,
            BulkResult::Replaced => self.replaced += 1,
            BulkResult::Conflict => self.conflict += 1,
            BulkResult::Invalid => self.invalid += 1,
        }
    }

    /// Adds those of another part of the same work.
    pub fn add(&mut self, other: Self) {
        self.created += other.created;
        self.unchanged += other.unchanged;
        self.replaced += other.replaced;
        self.conflict += other.conflict;
        self.invalid += other.invalid;
    }

    /// Rows that were not taken.
    pub fn bad(self) -> u64 {
        self.conflict + self.invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(json: &str) -> DeviceInput {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn names_the_field_at_fault_and_shows_no_secret() {
        for (json, field) in [
            (r#"{"id":""}"#, "id"),
            (r#"{"id":"a","password":"hunter2"}"#, "user"),
            (r#"{"id":"a","user":"u"}"#, "password"),
            (r#"{"id":"a","user":"u:v","password":"hunter2"}"#, "user"),
            (r#"{"id":"a","auth":"none","password":"hunter2"}"#, "password"),
            (r#"{"id":"a","auth":"none","server_id":"s"}"#, "server_password"),
            (r#"{"id":"a","auth":"none","server_password":"hunter2"}"#, "server_id"),
            (r#"{"id":"a","auth":"none","server_auth":"md5"}"#, "server_auth"),
            (r#"{"id":"a","auth":"none","client_nonce":"*"}"#, "client_nonce"),
            (r#"{"id":"a","auth":"none","tags":["a b"]}"#, "tags"),
        ] {
            let error = input(json).into_device(Timestamp::UNIX_EPOCH).expect_err(json);
            assert_eq!(error.field, field, "{json}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn keeps_the_digest_of_the_credential_and_not_the_password() {
        // md5("user:password"), by md5sum
        let device = input(r#"{"id":"a","user":"user","password":"password"}"#)
            .into_device(Timestamp::UNIX_EPOCH)
            .unwrap();
        let ClientAuth::Password { scheme: Scheme::Md5, user, digest } = device.account.client else {
            panic!("expected MD5 credentials");
        };
        assert_eq!(user, "user");
        assert_eq!(crate::api::artifact::hex(&digest), "3ae9ea5fe7ad5bf652c51f43da57422c");
    }

    #[test]
    fn debug_shows_no_password() {
        let shown = format!("{:?}", input(r#"{"id":"a","user":"u","password":"hunter2"}"#));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
