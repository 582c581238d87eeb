//! Who a simulated device is: all of it follows from the fleet's seed and the device's number.

use serde::{Deserialize, Serialize};

use syncml::Encoding;

use crate::{Chance, model};

/// How a device proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// It does not.
    None,
    /// `syncml:auth-basic`
    Basic,
    /// `syncml:auth-md5`
    Md5,
}

/// Shares of a fleet. Weights need not add up to anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Devices that do not prove themselves.
    pub auth_none: f64,
    /// Devices with basic credentials.
    pub auth_basic: f64,
    /// Devices with MD5 credentials.
    pub auth_md5: f64,
    /// Of the models that can write both, the share of XML.
    pub xml: f64,
}

impl Default for Mix {
    /// Most with MD5, some basic, none open; half XML.
    fn default() -> Self {
        Self { auth_none: 0.0, auth_basic: 0.25, auth_md5: 0.75, xml: 0.5 }
    }
}

/// One device of a fleet, as both sides must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// From 0.
    pub number: u32,
    /// `DevInfo/DevId`, such as `IMEI:350120000000427`.
    pub id: String,
    /// How it proves itself.
    pub auth: Auth,
    /// Its user name; empty for [`Auth::None`].
    pub user: String,
    /// Its password; empty for [`Auth::None`].
    pub password: String,
    /// The server's identifier: `ServerID` of the device's account.
    pub server_id: String,
    /// What the server proves itself with.
    pub server_password: String,
    /// `DevInfo/Man`
    pub maker: &'static str,
    /// `DevInfo/Mod`
    pub model: &'static str,
    /// Index in [`model::CATALOGUE`].
    pub model_index: usize,
    /// How it writes.
    pub encoding: Encoding,
}

/// The server's identifier in every device's account.
pub const SERVER_ID: &str = "flotilla";

impl DeviceIdentity {
    /// The device of this number in the fleet of this seed.
    pub fn derive(seed: u64, number: u32, mix: &Mix) -> Self {
        let mut chance = Chance::new(seed, u64::from(number), "identity");
        let model_index = chance.pick(model::CATALOGUE.iter().map(|model| model.share));
        let model = &model::CATALOGUE[model_index];
        let auth = match chance.pick([mix.auth_none, mix.auth_basic, mix.auth_md5].into_iter()) {
            0 => Auth::None,
            1 => Auth::Basic,
            _ => Auth::Md5,
        };
        let is_xml = chance.hits(mix.xml);
        let encoding = model.encoding.unwrap_or(if is_xml { Encoding::Xml } else { Encoding::Wbxml });
        let id = imei(seed, number);
        let (password, server_password) = (word(&mut chance), word(&mut chance));
        let (user, password) = match auth {
            Auth::None => (String::new(), String::new()),
            Auth::Basic | Auth::Md5 => (format!("d{}", id.trim_start_matches("IMEI:")), password),
        };
        Self {
            number,
            id,
            auth,
            user,
            password,
            server_id: SERVER_ID.to_owned(),
            server_password,
            maker: model.maker,
            model: model.name,
            model_index,
            encoding,
        }
    }
}

/// Sixteen hexadecimal digits.
fn word(chance: &mut Chance) -> String {
    format!("{:016x}", chance.draw())
}

/// An IMEI with its check digit: three digits of the seed, nine of the number.
fn imei(seed: u64, number: u32) -> String {
    let block = Chance::new(seed, 0, "imei").below(1_000);
    // Numbers beyond nine digits spill into the two leading ones.
    let digits = format!("{:014}", 35_000_000_000_000 + block * 1_000_000_000 + u64::from(number));
    let sum: u32 = digits.bytes().rev().enumerate().map(|(at, digit)| luhn(at, digit)).sum();
    format!("IMEI:{digits}{}", (10 - sum % 10) % 10)
}

fn luhn(at: usize, digit: u8) -> u32 {
    let digit = u32::from(digit - b'0');
    // The check digit will stand to the right, so the last one here is doubled.
    match (at % 2, digit * 2) {
        (0, doubled) => doubled / 10 + doubled % 10,
        _ => digit,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn identities_are_all_different_and_always_the_same() {
        let mix = Mix::default();
        let ids: BTreeSet<_> = (0..5_000).map(|number| DeviceIdentity::derive(1, number, &mix).id).collect();
        assert_eq!(ids.len(), 5_000);
        assert_eq!(DeviceIdentity::derive(1, 77, &mix), DeviceIdentity::derive(1, 77, &mix));
        assert_ne!(
            DeviceIdentity::derive(1, 77, &mix).password,
            DeviceIdentity::derive(2, 77, &mix).password
        );
    }

    #[test]
    fn the_check_digit_is_that_of_a_known_imei() {
        let sum: u32 = b"49015420323751".iter().rev().enumerate().map(|(at, &digit)| luhn(at, digit)).sum();
        assert_eq!((10 - sum % 10) % 10, 8);
    }

    #[test]
    fn the_mix_is_kept() {
        let mix = Mix { auth_none: 1.0, auth_basic: 0.0, auth_md5: 0.0, xml: 1.0 };
        for number in 0..200 {
            let identity = DeviceIdentity::derive(3, number, &mix);
            assert_eq!((identity.auth, identity.user.as_str()), (Auth::None, ""));
            let forced = model::CATALOGUE[identity.model_index].encoding;
            assert_eq!(identity.encoding, forced.unwrap_or(Encoding::Xml));
        }
    }
}
