//! The ways to a device.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use dm_notification::push;
use service_kit::settings::NotifySettings;
use storage::NotifyAddress;
use tokio::net::{UdpSocket, lookup_host};

use crate::{
    NotifyError,
    gateway::{Gateway, Letter},
};

/// How long a name may take to be found.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a notification did not leave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The settings name no gateway for this bearer.
    #[error("expected a gateway of the settings for the scheme {0:?}")]
    NoGateway(String),
    /// The host's name is not known.
    #[error("could not find the host {0:?}")]
    Host(String),
    /// The datagram could not be sent.
    #[error("could not send the datagram")]
    Datagram(#[source] io::Error),
    /// It took too long.
    #[error("expected an answer within {0:?}")]
    TimedOut(Duration),
    /// The gateway could not be reached.
    #[error("could not reach the gateway")]
    Gateway(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The gateway did not take it.
    #[error("expected a status of 2xx of the gateway, got {0}")]
    Refused(u16),
}

/// All bearers.
pub(crate) struct Bearers {
    four: UdpSocket,
    /// Absent where the machine has no IPv6.
    six: Option<UdpSocket>,
    gateways: BTreeMap<String, Gateway>,
}

impl Bearers {
    pub(crate) async fn open(settings: &NotifySettings) -> Result<Self, NotifyError> {
        let four = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map_err(NotifyError::Socket)?;
        let six = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await.ok();
        let mut gateways = BTreeMap::new();
        for gateway in &settings.gateways {
            let timeout = settings.gateway_timeout.value();
            gateways.insert(gateway.scheme.clone(), Gateway::open(gateway, timeout)?);
        }
        Ok(Self { four, six, gateways })
    }

    pub(crate) async fn send(&self, address: &NotifyAddress, letter: &Letter<'_>) -> Result<(), SendError> {
        match (address.scheme(), address.socket()) {
            ("wap", Some(socket)) => {
                let framed = push::encode(letter.sent.to_be_bytes()[1], letter.notification);
                self.datagram(socket, &framed).await
            }
            (_, Some(socket)) => self.datagram(socket, letter.notification).await,
            (scheme, None) => {
                let gateway = self.gateways.get(scheme);
                let gateway = gateway.ok_or_else(|| SendError::NoGateway(scheme.to_owned()))?;
                gateway.post(address, letter).await
            }
        }
    }

    async fn datagram(&self, (host, port): (&str, u16), octets: &[u8]) -> Result<(), SendError> {
        let target = match host.parse() {
            Ok(ip) => SocketAddr::new(ip, port),
            Err(_) => {
                let found = tokio::time::timeout(LOOKUP_TIMEOUT, lookup_host((host, port)));
                let found = found.await.map_err(|_| SendError::TimedOut(LOOKUP_TIMEOUT))?;
                let first = found.ok().and_then(|mut all| all.next());
                first.ok_or_else(|| SendError::Host(host.to_owned()))?
            }
        };
        let socket = if target.is_ipv4() { Some(&self.four) } else { self.six.as_ref() };
        let unreachable = || SendError::Datagram(io::ErrorKind::AddrNotAvailable.into());
        socket.ok_or_else(unreachable)?.send_to(octets, target).await.map_err(SendError::Datagram)?;
        Ok(())
    }
}
