//! DMAcc (DM StdObj 1.2, section 5.3.1): a device's accounts at management servers, and the flat form that
//! clients of DM 1.1.2 keep below `./SyncML/DMAcc`.

use std::collections::BTreeMap;

use dm_tree::Change;

/// The management object's id.
pub const MOI: &str = "urn:oma:mo:oma-dm-dmacc:1.0";
/// Parents of accounts: that of DM 1.2, and that of DM 1.1.2 (which Windows still uses with DM 1.2's nodes below).
pub const ROOTS: [&str; 2] = ["DMAcc", "SyncML/DMAcc"];

/// Who authenticates to whom (`AAuthLevel`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthLevel {
    /// The device, to the server.
    Client,
    /// The server, to the device.
    Server,
    /// At the transport: `HTTP`, `OBEX`, or a vendor's word.
    Other(String),
}

/// How (`AAuthType`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthType {
    /// `syncml:auth-basic`
    Basic,
    /// `syncml:auth-md5`
    Digest,
    /// `syncml:auth-MAC`
    Hmac,
    /// `X509`, `TRANSPORT`, or another word.
    Other(String),
}

/// One set of credentials; secrets cannot be read from a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountAuth {
    /// Between whom.
    pub level: Option<AuthLevel>,
    /// How.
    pub type_: Option<AuthType>,
    /// The user name.
    pub name: Option<String>,
}

/// One account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DmAccount {
    /// The server's identifier.
    pub server_id: Option<String>,
    /// A display name.
    pub name: Option<String>,
    /// Addresses, by the name of their node.
    pub addresses: BTreeMap<String, String>,
    /// Port numbers, by the name of their address' node; of DM 1.1.2, under the account's own name.
    pub ports: BTreeMap<String, u16>,
    /// The preferred way to authenticate; empty: that of the session before.
    pub auth_pref: Option<String>,
    /// Credentials, by the name of their node.
    pub auths: BTreeMap<String, AccountAuth>,
}

/// The accounts among changes, by address (`DMAcc/acme`).
pub fn accounts<'a>(changes: impl IntoIterator<Item = &'a Change>) -> BTreeMap<String, DmAccount> {
    let mut accounts: BTreeMap<String, DmAccount> = BTreeMap::new();
    for (uri, leaf) in crate::leaves(changes) {
        let Some((account, below)) = split(uri) else { continue };
        let Some(value) = crate::text(leaf) else { continue };
        accounts.entry(account.to_owned()).or_default().take(account, below, value);
    }
    accounts
}

/// Splits `DMAcc/acme/AppAddr/1/Addr` into the account's address and the path below it.
fn split(uri: &str) -> Option<(&str, &str)> {
    let root =
        ROOTS.iter().find(|root| uri.strip_prefix(**root).is_some_and(|rest| rest.starts_with('/')))?;
    let name_at = root.len() + 1;
    let name_len = uri.get(name_at..)?.find('/')?;
    Some((uri.get(..name_at + name_len)?, uri.get(name_at + name_len + 1..)?))
}

impl DmAccount {
    fn take(&mut self, account: &str, below: &str, value: String) {
        let own_name = || account.rsplit('/').next().unwrap_or_default().to_owned();
        match *below.split('/').collect::<Vec<_>>().as_slice() {
            ["ServerID" | "ServerId"] => self.server_id = Some(value),
            ["Name"] => self.name = Some(value),
            ["AAuthPref" | "AuthPref"] => self.auth_pref = Some(value),
            ["AppAddr", x, "Addr"] => drop(self.addresses.insert(x.to_owned(), value)),
            ["AppAddr", x, "Port", _, "PortNbr"] => self.port(x.to_owned(), &value),
            ["AppAuth", x, "AAuthLevel"] => self.auth(x).level = Some(AuthLevel::parse(&value)),
            ["AppAuth", x, "AAuthType"] => self.auth(x).type_ = Some(AuthType::parse(&value)),
            ["AppAuth", x, "AAuthName"] => self.auth(x).name = Some(value),
            // DM 1.1.2
            ["Addr"] => drop(self.addresses.insert(own_name(), value)),
            ["PortNbr"] => self.port(own_name(), &value),
            ["UserName"] => {
                let auth = self.auth("CLCRED");
                auth.level = Some(AuthLevel::Client);
                auth.name = Some(value);
            }
            _ => {}
        }
    }

    fn port(&mut self, name: String, value: &str) {
        if let Ok(port) = value.trim().parse() {
            self.ports.insert(name, port);
        }
    }

    fn auth(&mut self, name: &str) -> &mut AccountAuth {
        self.auths.entry(name.to_owned()).or_default()
    }
}

impl AuthLevel {
    /// Reads a leaf's value.
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "CLCRED" => Self::Client,
            "SRVCRED" => Self::Server,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl AuthType {
    /// Reads a leaf's value.
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "BASIC" | "syncml:auth-basic" => Self::Basic,
            "DIGEST" | "syncml:auth-md5" => Self::Digest,
            "HMAC" | "syncml:auth-MAC" => Self::Hmac,
            other => Self::Other(other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use dm_tree::Leaf;

    use super::*;

    fn chr(uri: &str, value: &str) -> Change {
        Change::Leaf { uri: uri.to_owned(), leaf: Leaf { value: value.as_bytes().into(), ..Leaf::default() } }
    }

    #[test]
    fn reads_accounts_of_both_generations() {
        let changes = [
            chr("DMAcc/acme/AppID", "w7"),
            chr("DMAcc/acme/ServerID", "dm.acme.example"),
            chr("DMAcc/acme/AppAddr/1/Addr", "https://dm.acme.example/dm"),
            chr("DMAcc/acme/AppAddr/1/Port/1/PortNbr", "443"),
            chr("DMAcc/acme/AppAuth/c/AAuthLevel", "CLCRED"),
            chr("DMAcc/acme/AppAuth/c/AAuthType", "DIGEST"),
            chr("DMAcc/acme/AppAuth/c/AAuthName", "device"),
            chr("SyncML/DMAcc/old/ServerId", "old"),
            chr("SyncML/DMAcc/old/Addr", "http://old.example"),
            chr("SyncML/DMAcc/old/PortNbr", "eighty"),
            chr("SyncML/DMAcc/old/UserName", "device"),
            chr("DMAccount/x/ServerID", "no account"),
            chr("DMAcc/stray", "no account"),
        ];
        let read = accounts(&changes);
        assert_eq!(read.keys().collect::<Vec<_>>(), ["DMAcc/acme", "SyncML/DMAcc/old"]);
        let acme = &read["DMAcc/acme"];
        assert_eq!(acme.server_id.as_deref(), Some("dm.acme.example"));
        assert_eq!(acme.addresses["1"], "https://dm.acme.example/dm");
        assert_eq!(acme.ports["1"], 443);
        let wanted = AccountAuth {
            level: Some(AuthLevel::Client),
            type_: Some(AuthType::Digest),
            name: Some("device".into()),
        };
        assert_eq!(acme.auths["c"], wanted);
        let old = &read["SyncML/DMAcc/old"];
        assert_eq!(old.server_id.as_deref(), Some("old"));
        assert_eq!(old.addresses["old"], "http://old.example");
        assert!(old.ports.is_empty(), "a port that is no number is passed over");
        assert_eq!(old.auths["CLCRED"].name.as_deref(), Some("device"));
    }
}
