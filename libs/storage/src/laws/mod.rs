//! What every backend keeps, as one function a trait. A backend's tests call them on an empty or a used
//! store alike: each call works in tenants of its own.
//!
//! A law panics with the claim that does not hold, so call it from tests only.

// Laws are tests that live in the library so that every backend can call them.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod artifacts;
mod campaigns;
mod devices;
pub mod golden;
mod jobs;
mod limits;
mod requests;
mod sessions;
mod snapshots;
mod starts;
mod triggers;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub use artifacts::artifact_store_laws;
pub use campaigns::campaign_store_laws;
pub use devices::device_store_laws;
use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme, ServerAuth};
use jiff::Timestamp;
pub use jobs::job_store_laws;
pub use limits::limit_store_laws;
pub use requests::request_store_laws;
pub use sessions::session_store_laws;
pub use snapshots::snapshot_store_laws;
pub use starts::start_store_laws;
pub use triggers::{released_trigger_laws, trigger_store_laws};

use crate::{Device, ErrorKind, Inventory, StoreError, TenantId};

/// Callers that race in the laws of concurrency.
const RACERS: usize = 8;

/// The address of a server that tests may use, from the environment. Where there is none, the test is skipped and says so;
/// in CI (`CI=true`) it fails.
pub fn test_server(name: &str) -> Option<String> {
    let address = std::env::var(name).ok().filter(|address| !address.is_empty());
    if address.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "expected {name} to be set in CI");
        eprintln!("skipped: {name} is not set");
    }
    address
}

/// A tenant that no other law uses, also not in another run on the same store.
fn fresh_tenant(name: &str) -> TenantId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let run = Timestamp::now().as_microsecond();
    TenantId(Arc::from(format!("{name}-{run:x}-{number}")))
}

fn dev_id(name: &str) -> DevId {
    DevId::parse(name).unwrap()
}

fn at(second: i64) -> Timestamp {
    // Not a whole second: what is kept must be exact.
    Timestamp::new(1_790_000_000 + second, 123_456_789).unwrap()
}

fn device(name: &str) -> Device {
    let client =
        ClientAuth::Password { scheme: Scheme::Md5, user: format!("user of {name}"), digest: [7; 16] };
    let server =
        ServerAuth { server_id: "flotilla".into(), password: "secret".into(), scheme: Scheme::Basic };
    let nonces = Nonces { client: Some(vec![1, 2, 3]), client_previous: None, server: Some(vec![0, 255, 0]) };
    Device {
        id: dev_id(name),
        ordinal: 0,
        account: Account { client, server: Some(server), nonces },
        tags: ["blue".to_owned(), "lab".to_owned()].into(),
        added: at(0),
        last_seen: None,
        inventory: Inventory { maker: "Example".into(), model: "One".into(), ..Inventory::default() },
        fumo_root: None,
        dev_detail_read: None,
        notify_address: None,
    }
}

fn assert_kind<T: std::fmt::Debug>(result: Result<T, StoreError>, kind: ErrorKind, claim: &str) {
    match result {
        Err(error) => assert_eq!(error.kind, kind, "{claim}: {error:?}"),
        Ok(value) => panic!("{claim}: done all the same: {value:?}"),
    }
}

/// Runs futures at the same time and answers in their order.
async fn race<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in running.iter_mut().zip(&mut done) {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().map(Option::unwrap).collect()
}
