use std::time::Duration;

use super::{RACERS, assert_kind, dev_id, fresh_tenant, race};
use crate::{ErrorKind, SessionKey, SessionStore, TenantId};

const KEEP: Duration = Duration::from_secs(60);

fn key(tenant: &TenantId, device: &str, session: &str) -> SessionKey {
    SessionKey { tenant: tenant.clone(), device: dev_id(device), session: session.into() }
}

/// The laws of [`SessionStore`]. Takes a second: a record has to expire.
pub async fn session_store_laws(store: &dyn SessionStore) {
    a_record_is_read_as_written(store).await;
    a_stale_write_is_refused(store).await;
    one_of_many_racing_writes_wins(store).await;
    keys_are_apart(store).await;
    an_expired_record_is_gone(store).await;
}

async fn a_record_is_read_as_written(store: &dyn SessionStore) {
    let key = key(&fresh_tenant("session-read"), "IMEI:1", "17");
    assert!(store.load(&key).await.unwrap().is_none(), "an unknown session has no record");
    let large: Vec<u8> = (0..100_000_u32).map(|octet| octet as u8).collect();
    let mut expected = None;
    for record in [&b"first"[..], b"", &large, b"last"] {
        let revision = store.put(&key, expected, record, KEEP).await.unwrap();
        assert!(expected < Some(revision), "a revision grows with every write");
        let read = store.load(&key).await.unwrap().unwrap();
        assert_eq!(read.value, record, "a record is read as written");
        assert_eq!(read.revision, revision, "a record has the revision its write answered");
        expected = Some(revision);
    }
}

async fn a_stale_write_is_refused(store: &dyn SessionStore) {
    let key = key(&fresh_tenant("session-stale"), "IMEI:1", "1");
    let first = store.put(&key, None, b"one", KEEP).await.unwrap();
    let again = store.put(&key, None, b"two", KEEP).await;
    assert_kind(again, ErrorKind::Conflict, "a session that is there cannot be begun");
    store.put(&key, Some(first), b"two", KEEP).await.unwrap();
    let stale = store.put(&key, Some(first), b"three", KEEP).await;
    assert_kind(stale, ErrorKind::Conflict, "a stale revision is refused");
    assert_eq!(store.load(&key).await.unwrap().unwrap().value, b"two", "a refused write wrote nothing");
}

async fn one_of_many_racing_writes_wins(store: &dyn SessionStore) {
    let key = key(&fresh_tenant("session-race"), "IMEI:1", "1");
    let mut expected = None;
    for round in 0..20_u8 {
        let records: Vec<[u8; 2]> = (0..RACERS as u8).map(|racer| [round, racer]).collect();
        let writes = records.iter().map(|record| store.put(&key, expected, record, KEEP)).collect();
        let results = race(writes).await;
        let won: Vec<_> = results.iter().zip(&records).filter(|(result, _)| result.is_ok()).collect();
        assert_eq!(won.len(), 1, "exactly one of racing writes wins");
        let read = store.load(&key).await.unwrap().unwrap();
        assert_eq!(read.value, won[0].1, "the record is the winner's");
        expected = Some(read.revision);
    }
}

async fn keys_are_apart(store: &dyn SessionStore) {
    let (tenant, other) = (fresh_tenant("session-a"), fresh_tenant("session-b"));
    let keys = [
        key(&tenant, "IMEI:1", "1"),
        key(&tenant, "IMEI:1", "2"),
        key(&tenant, "IMEI:11", ""),
        key(&tenant, "IMEI:1", "11"),
        key(&other, "IMEI:1", "1"),
    ];
    for (number, key) in keys.iter().enumerate() {
        store.put(key, None, &[number as u8], KEEP).await.unwrap();
    }
    for (number, key) in keys.iter().enumerate() {
        let read = store.load(key).await.unwrap().unwrap();
        assert_eq!(read.value, [number as u8], "each key has its own record: {key:?}");
    }
}

async fn an_expired_record_is_gone(store: &dyn SessionStore) {
    let key = key(&fresh_tenant("session-expiry"), "IMEI:1", "1");
    let short = Duration::from_millis(300);
    let first = store.put(&key, None, b"one", KEEP).await.unwrap();
    let second = store.put(&key, Some(first), b"two", short).await.unwrap();
    tokio::time::sleep(short + Duration::from_millis(400)).await;
    assert!(store.load(&key).await.unwrap().is_none(), "an expired record is not returned");
    let late = store.put(&key, Some(second), b"late", KEEP).await;
    assert_kind(late, ErrorKind::Conflict, "an expired record cannot be written on");
    let third = store.put(&key, None, b"new", KEEP).await.unwrap();
    assert!(third > second, "a revision is not given again after expiry");
}
