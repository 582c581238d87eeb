//! Where a fleet hears that it is asked to come: one socket for all of it.
//!
//! Each device has an address of its own in 127.0.0.0/8, all of which Linux gives to the loopback interface, and one port
//! serves them all: a datagram brings along the address that it was sent to. A million devices cost one socket.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr},
};

use quinn_udp::{RecvMeta, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

/// The address of the first device: 127.1.0.0.
const FIRST: u32 = 0x7f01_0000;
/// The address after the last: 127.255.0.0.
const END: u32 = 0x7fff_0000;
/// Octets of a datagram that are read; a notification has far fewer.
const DATAGRAM_MAX: usize = 2048;
/// Datagrams read at once.
const BATCH: usize = 32;

/// The most devices that have an address.
pub(crate) const DEVICES_MAX: u32 = END - FIRST;

/// Where a device of a fleet can be asked to come, as a server is told.
pub(crate) fn address(number: u32, port: u16) -> Option<String> {
    let ip = FIRST.checked_add(number).filter(|ip| *ip < END)?;
    Some(format!("udp://{}:{port}", Ipv4Addr::from(ip)))
}

fn number(ip: IpAddr) -> Option<u32> {
    let IpAddr::V4(ip) = ip else { return None };
    let ip = u32::from(ip);
    (ip < END).then(|| ip.checked_sub(FIRST)).flatten()
}

/// The fleet's ear.
pub(crate) struct Listener {
    socket: UdpSocket,
    state: UdpSocketState,
    buffers: Vec<Vec<u8>>,
}

impl Listener {
    /// Listens on a port of all the fleet's addresses.
    pub(crate) async fn bind(port: u16) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { socket, state, buffers: vec![vec![0; DATAGRAM_MAX]; BATCH] })
    }

    /// Waits for datagrams, and adds each to `heard` with the number of the device that it was sent to. What comes from
    /// or goes to elsewhere is left out.
    pub(crate) async fn hear(&mut self, heard: &mut Vec<(u32, Vec<u8>)>) -> io::Result<()> {
        let Self { socket, state, buffers } = self;
        let mut metas = [RecvMeta::default(); BATCH];
        let socket = &*socket;
        let count = socket
            .async_io(Interest::READABLE, || {
                let mut slices: Vec<IoSliceMut<'_>> =
                    buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
                state.recv(socket.into(), &mut slices, &mut metas)
            })
            .await?;
        for (meta, buffer) in metas.iter().zip(buffers.iter()).take(count) {
            let Some(device) = meta.dst_ip.and_then(number).filter(|_| meta.addr.ip().is_loopback()) else {
                continue;
            };
            // The system may hand over several datagrams of one sender as one.
            let octets = &buffer[..meta.len.min(buffer.len())];
            heard.extend(octets.chunks(meta.stride.max(1)).map(|datagram| (device, datagram.to_vec())));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_an_address_of_its_own() {
        assert_eq!(address(0, 9).as_deref(), Some("udp://127.1.0.0:9"));
        assert_eq!(address(1_000_000, 9).as_deref(), Some("udp://127.16.66.64:9"));
        assert_eq!(address(DEVICES_MAX, 9), None);
        assert_eq!(address(u32::MAX, 9), None);
        for device in [0, 1, 255, 256, 1_000_000, DEVICES_MAX - 1] {
            assert_eq!(number(Ipv4Addr::from(FIRST + device).into()), Some(device));
        }
        assert_eq!(number(Ipv4Addr::LOCALHOST.into()), None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_datagram_says_which_device_it_is_for() {
        let mut listener = Listener::bind(0).await.unwrap();
        let port = listener.socket.local_addr().unwrap().port();
        let sender = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        for device in [7_u32, 70_000, 7] {
            let ip = Ipv4Addr::from(FIRST + device);
            sender.send_to(&device.to_be_bytes(), (ip, port)).await.unwrap();
        }
        let mut heard = Vec::new();
        while heard.len() < 3 {
            listener.hear(&mut heard).await.unwrap();
        }
        let want: Vec<_> = [7_u32, 70_000, 7].map(|device| (device, device.to_be_bytes().to_vec())).into();
        assert_eq!(heard, want);
    }
}
