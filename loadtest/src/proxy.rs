//! A TCP proxy that makes a link bad: it cuts, delays or swallows what goes through, as it is told while it runs.
//!
//! One stands on each link between Flotilla and a server while a history is checked. What it does is what networks do: no
//! octet is ever changed or put in another order. Before several front-ends it deals connections out in turn, and passes over
//! those that take none, as the load balancer of a cluster would.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Octets carried at once.
const CARRY_OCTETS: usize = 16 << 10;

/// What a link does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// It carries.
    #[default]
    Fair,
    /// It carries each piece this much later.
    Slow(Duration),
    /// It takes everything and carries nothing, and neither side learns of it. What it took meanwhile is carried when the
    /// weather changes, as a network that retransmits would.
    BlackHole,
    /// Connections that are open break, and new ones are closed at once.
    Cut,
}

/// A running proxy. Dropping it breaks its connections and closes its port.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    upstreams: Arc<Upstreams>,
    _stop: DropGuard,
}

impl Proxy {
    /// Listens on `listen` and carries each connection to the next of `upstreams` that takes it, in fair weather.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub async fn start(listen: SocketAddr, upstreams: Vec<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (weather, seen) = watch::channel(Weather::Fair);
        let stop = CancellationToken::new();
        let upstreams = Arc::new(Upstreams { addresses: RwLock::new(upstreams), next: AtomicUsize::new(0) });
        tokio::spawn(serve(listener, Arc::clone(&upstreams), seen, stop.clone()));
        Ok(Self { address, weather, upstreams, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather, for connections that are open and those to come.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Changes where new connections go. Those that are open stay where they are.
    pub fn set_upstreams(&self, upstreams: Vec<SocketAddr>) {
        *self.upstreams.addresses.write().unwrap_or_else(PoisonError::into_inner) = upstreams;
    }
}

/// Where connections go.
#[derive(Debug)]
struct Upstreams {
    addresses: RwLock<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl Upstreams {
    async fn connect(&self) -> Option<TcpStream> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner).clone();
        let count = addresses.len();
        for address in addresses.iter().cycle().skip(turn % count.max(1)).take(count) {
            if let Ok(stream) = TcpStream::connect(address).await {
                return Some(stream);
            }
        }
        None
    }
}

async fn serve(
    listener: TcpListener,
    upstreams: Arc<Upstreams>,
    weather: watch::Receiver<Weather>,
    stop: CancellationToken,
) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(_) = links.join_next(), if !links.is_empty() => {}
            accepted = listener.accept() => {
                // A connection that could not be taken has broken already.
                let Ok((device, _)) = accepted else { continue };
                if *weather.borrow() != Weather::Cut {
                    links.spawn(link(device, Arc::clone(&upstreams), weather.clone()));
                }
            }
        }
    }
}

/// One connection, both ways. It ends as a whole when either way has ended.
async fn link(client: TcpStream, upstreams: Arc<Upstreams>, weather: watch::Receiver<Weather>) {
    let Some(server) = upstreams.connect().await else { return };
    // Small messages must not wait for each other here: that would be weather too.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = carry(from_client, to_server, weather.clone()) => {}
        () = carry(from_server, to_client, weather.clone()) => {}
        () = cut(weather) => {}
    }
}

async fn cut(mut weather: watch::Receiver<Weather>) {
    // The proxy itself has ended where nobody makes weather any more.
    let _ = weather.wait_for(|weather| *weather == Weather::Cut).await;
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>) {
    let mut piece = vec![0; CARRY_OCTETS];
    loop {
        let Ok(read @ 1..) = from.read(&mut piece).await else { return };
        let now = *weather.borrow();
        if let Weather::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if weather.wait_for(|weather| *weather != Weather::BlackHole).await.is_err() {
            return;
        }
        let Some(piece) = piece.get(..read) else { return };
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    /// A server that says back what it hears.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        address
    }

    async fn proxy() -> Proxy {
        Proxy::start("127.0.0.1:0".parse().unwrap(), vec![echo().await]).await.unwrap()
    }

    async fn say(stream: &mut TcpStream, word: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(word).await?;
        let mut heard = vec![0; word.len()];
        stream.read_exact(&mut heard).await?;
        Ok(heard)
    }

    #[tokio::test]
    async fn a_fair_link_carries_both_ways() {
        let proxy = proxy().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let word = vec![7; 3 * CARRY_OCTETS];
        assert_eq!(say(&mut stream, &word).await.unwrap(), word);
    }

    #[tokio::test]
    async fn a_black_hole_says_nothing_until_it_ends_and_loses_nothing() {
        let proxy = proxy().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, b"before").await.unwrap();
        proxy.set(Weather::BlackHole);
        stream.write_all(b"swallowed").await.unwrap();
        let mut heard = [0; 9];
        let silent = tokio::time::timeout(SOON, stream.read_exact(&mut heard)).await;
        assert!(silent.is_err(), "nothing comes out of a black hole");
        proxy.set(Weather::Fair);
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"swallowed");
    }

    #[tokio::test]
    async fn a_cut_breaks_what_is_open_and_what_is_new() {
        let proxy = proxy().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, b"before").await.unwrap();
        proxy.set(Weather::Cut);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "an open connection ends");
        let mut new = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(new.read(&mut [0; 1]).await.unwrap_or(0), 0, "and so does a new one");
        proxy.set(Weather::Fair);
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut again, b"after").await.unwrap(), b"after");
    }

    #[tokio::test]
    async fn a_slow_link_carries_later() {
        let proxy = proxy().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, b"before").await.unwrap();
        proxy.set(Weather::Slow(Duration::from_millis(300)));
        stream.write_all(b"late").await.unwrap();
        let mut heard = [0; 4];
        assert!(tokio::time::timeout(SOON, stream.read_exact(&mut heard)).await.is_err());
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"late");
    }

    #[tokio::test]
    async fn connections_go_round_and_pass_over_an_upstream_that_is_gone() {
        /// A server that says its name and closes.
        async fn named(name: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<()>) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let task = tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    stream.write_all(name).await.unwrap();
                }
            });
            (address, task)
        }
        async fn ask(proxy: &Proxy) -> Vec<u8> {
            let mut heard = Vec::new();
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            stream.read_to_end(&mut heard).await.unwrap();
            heard
        }
        let ((one, first), (two, _second)) = (named(b"one").await, named(b"two").await);
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), vec![one, two]).await.unwrap();
        let mut heard = vec![ask(&proxy).await, ask(&proxy).await];
        heard.sort();
        assert_eq!(heard, [b"one", b"two"]);
        first.abort();
        let _ = first.await;
        for _ in 0..3 {
            assert_eq!(ask(&proxy).await, b"two");
        }
        let (three, _third) = named(b"three").await;
        proxy.set_upstreams(vec![three]);
        assert_eq!(ask(&proxy).await, b"three", "and to those that came later");
    }
}
