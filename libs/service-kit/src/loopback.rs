//! Addresses of this machine alone, for processes that one starts to have around: servers of a test, a cluster on a laptop.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below those that systems give to outgoing connections (32,768 and up on Linux, 49,152 elsewhere): whoever is given one of these before
/// the listener is there, even by trying whether it is there, has it.
const FIRST: u16 = 12_000;
const COUNT: u16 = 8_000;

/// An address that nobody listens on now, and that no connection takes before or between listeners. This process is given another
/// with each call, until all 8,000 have had their turn.
///
/// # Errors
/// None of the ports from 12,000 to 19,999 is free.
pub fn free_address() -> io::Result<SocketAddr> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Two processes at a time begin at different ones.
    let begin = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).unwrap_or_default();
    for _ in 0..COUNT {
        let port = FIRST + begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    let range = format!("no port from {FIRST} to {} is free", FIRST + COUNT - 1);
    Err(io::Error::new(io::ErrorKind::AddrInUse, range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_once_and_not_where_somebody_listens() {
        let first = free_address().unwrap();
        let next = SocketAddr::from((
            first.ip(),
            if first.port() == FIRST + COUNT - 1 { FIRST } else { first.port() + 1 },
        ));
        // Taken, by us or by somebody else.
        let _listener = TcpListener::bind(next);
        let second = free_address().unwrap();
        assert!(second != first && second != next, "{first} {next} {second}");
        assert!((FIRST..FIRST + COUNT).contains(&second.port()));
    }
}
