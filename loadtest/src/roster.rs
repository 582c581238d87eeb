//! The devices of a fleet as the server must know them.

use std::io::{self, Write};

use dm_sim::{Auth, DeviceIdentity, Mix};

use crate::triggers;

/// The devices of a fleet with the usual mix; the same for the same seed.
pub fn roster(seed: u64, devices: u32) -> impl Iterator<Item = DeviceIdentity> {
    roster_of(seed, devices, Mix::default())
}

/// The devices of a fleet with this mix.
pub fn roster_of(seed: u64, devices: u32, mix: Mix) -> impl Iterator<Item = DeviceIdentity> {
    (0..devices).map(move |number| DeviceIdentity::derive(seed, number, &mix))
}

/// Writes devices, from the fleet's first on, as `flotilla device import` reads them: a head, then a line a device, tagged
/// `sim`. With a port, each has the address at which a fleet with this port can be asked to come.
///
/// # Errors
///
/// Those of `out`.
pub fn write_csv(
    devices: impl IntoIterator<Item = DeviceIdentity>,
    trigger_port: Option<u16>,
    mut out: impl Write,
) -> io::Result<()> {
    writeln!(out, "id,auth,user,password,server_id,server_password,notify_address,tags")?;
    for (number, device) in (0..).zip(devices) {
        let address = trigger_port.and_then(|port| triggers::address(number, port)).unwrap_or_default();
        let auth = match device.auth {
            Auth::None => "none",
            Auth::Basic => "basic",
            Auth::Md5 => "md5",
        };
        // Names and passwords are digits and letters, so nothing needs quotes.
        let DeviceIdentity { id, user, password, server_id, server_password, .. } = device;
        writeln!(out, "{id},{auth},{user},{password},{server_id},{server_password},{address},sim")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(seed: u64, devices: u32) -> String {
        let mut out = Vec::new();
        write_csv(roster(seed, devices), Some(4000), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_roster_is_the_same_for_the_same_seed() {
        assert_eq!(csv(1, 50), csv(1, 50));
        assert_ne!(csv(1, 50), csv(2, 50));
        assert!(csv(1, 100).starts_with(&csv(1, 50)), "a larger fleet begins with the smaller one");
    }

    #[test]
    fn every_line_has_every_column() {
        let text = csv(9, 200);
        assert_eq!(text.lines().count(), 201);
        for line in text.lines() {
            assert_eq!(line.split(',').count(), 8, "{line}");
            assert!(!line.contains('"') && !line.contains(' '), "{line}");
        }
    }
}
