use campaign::CampaignId;

use super::{RACERS, assert_kind, fresh_tenant, race};
use crate::{CampaignStore, ErrorKind, Revision};

/// The laws of [`CampaignStore`].
pub async fn campaign_store_laws(store: &dyn CampaignStore) {
    a_campaign_is_read_as_written(store).await;
    a_large_state_is_read_as_written(store).await;
    a_key_makes_creating_idempotent(store).await;
    one_of_many_racing_writes_wins(store).await;
    tenants_are_apart(store).await;
}

async fn a_campaign_is_read_as_written(store: &dyn CampaignStore) {
    let tenant = fresh_tenant("campaign-read");
    assert!(store.load(&tenant, CampaignId(1)).await.unwrap().is_none());
    assert!(store.list(&tenant).await.unwrap().is_empty());
    let id = store.create(&tenant, None, b"definition", b"draft").await.unwrap();
    assert_eq!(id, CampaignId(1), "ids are given from 1");
    let created = store.load(&tenant, id).await.unwrap().unwrap();
    assert_eq!(created.value.id, id);
    assert_eq!(created.value.definition, b"definition");
    assert_eq!(created.value.state, b"draft");
    assert!(created.value.members.is_empty());

    let members = vec![0xa5; 300_000];
    let started = store.put(&tenant, id, created.revision, Some(&members), b"running").await.unwrap();
    assert!(started > created.revision, "a revision grows with every write");
    let paused = store.put(&tenant, id, started, None, b"paused").await.unwrap();
    let read = store.load(&tenant, id).await.unwrap().unwrap();
    assert_eq!(read.revision, paused);
    assert_eq!(read.value.members, members, "members stay where none are given");
    assert_eq!((&*read.value.state, &*read.value.definition), (&b"paused"[..], &b"definition"[..]));

    let head = store.load_head(&tenant, id).await.unwrap().unwrap();
    assert_eq!(head.revision, paused);
    assert!(head.value.members.is_empty(), "the head of a campaign is without members");
    assert_eq!((&head.value.state, &head.value.definition), (&read.value.state, &read.value.definition));
    assert!(store.load_head(&tenant, CampaignId(99)).await.unwrap().is_none());

    let stale = store.put(&tenant, id, started, Some(b""), b"stopped").await;
    assert_kind(stale, ErrorKind::Conflict, "a stale revision is refused");
    assert_eq!(store.load(&tenant, id).await.unwrap().unwrap(), read, "a refused write wrote nothing");
    let unknown = store.put(&tenant, CampaignId(9), Revision(1), None, b"").await;
    assert_kind(unknown, ErrorKind::Conflict, "a campaign that is not there cannot be put");

    for number in 2..12 {
        assert_eq!(
            store.create(&tenant, None, &[number], b"draft").await.unwrap(),
            CampaignId(number.into())
        );
    }
    let listed = store.list(&tenant).await.unwrap();
    let ids: Vec<u64> = listed.iter().map(|it| it.value.id.0).collect();
    assert_eq!(ids, (1..12).collect::<Vec<_>>(), "campaigns are listed in the order of their ids");
    assert!(listed.iter().all(|it| it.value.members.is_empty()), "and without members");
    assert_eq!((listed[0].revision, &*listed[0].value.state), (paused, &b"paused"[..]));
}

async fn a_key_makes_creating_idempotent(store: &dyn CampaignStore) {
    let tenant = fresh_tenant("campaign-key");
    let calls = (0..RACERS).map(|_| store.create(&tenant, Some("request-7"), b"d", b"s")).collect();
    for id in race(calls).await {
        assert_eq!(id.unwrap(), CampaignId(1), "the same key is the same campaign");
    }
    assert_eq!(store.create(&tenant, Some("request-8"), b"d", b"s").await.unwrap(), CampaignId(2));
    assert_eq!(store.create(&tenant, Some("request-7"), b"other", b"s").await.unwrap(), CampaignId(1));
    assert_eq!(store.list(&tenant).await.unwrap().len(), 2);
    assert_eq!(store.load(&tenant, CampaignId(1)).await.unwrap().unwrap().value.definition, b"d");
    let calls = (0..RACERS).map(|_| store.create(&tenant, None, b"d", b"s")).collect();
    let mut ids: Vec<u64> = race(calls).await.into_iter().map(|id| id.unwrap().0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (3..3 + RACERS as u64).collect::<Vec<_>>(), "without a key each call makes one");
}

async fn a_large_state_is_read_as_written(store: &dyn CampaignStore) {
    let tenant = fresh_tenant("campaign-large");
    let state = |size: u32| -> Vec<u8> { (0..size).map(|at| (at % 251) as u8).collect() };
    let id = store.create(&tenant, None, b"d", &state(70_000)).await.unwrap();
    let mut read = store.load(&tenant, id).await.unwrap().unwrap();
    assert_eq!(read.value.state, state(70_000), "a state may be large from the beginning");
    let members = state(1_400_000);
    for (size, members) in [(1_200_000, Some(&members[..])), (3, None), (600_000, None)] {
        store.put(&tenant, id, read.revision, members, &state(size)).await.unwrap();
        read = store.load(&tenant, id).await.unwrap().unwrap();
        assert_eq!(read.value.state, state(size), "a state of {size} octets");
        assert_eq!(read.value.members.len(), 1_400_000, "and the members beside it");
        assert_eq!(store.list(&tenant).await.unwrap()[0].value.state, state(size), "also in a list");
        let head = store.load_head(&tenant, id).await.unwrap().unwrap().value.state;
        assert!(head.len() >= state(size).len().min(65_536), "a head has the first 64 KiB");
        assert!(state(size).starts_with(&head), "and they are the state's");
    }
    assert_eq!(read.value.members, members);
}

async fn one_of_many_racing_writes_wins(store: &dyn CampaignStore) {
    let tenant = fresh_tenant("campaign-race");
    let id = store.create(&tenant, None, b"d", b"s").await.unwrap();
    for _ in 0..10 {
        let read = store.load(&tenant, id).await.unwrap().unwrap();
        let states: Vec<[u8; 1]> = (0..RACERS as u8).map(|racer| [racer]).collect();
        let calls = states.iter().map(|state| store.put(&tenant, id, read.revision, None, state)).collect();
        let results = race(calls).await;
        let won: Vec<_> = results.iter().zip(&states).filter(|(result, _)| result.is_ok()).collect();
        assert_eq!(won.len(), 1, "exactly one of racing writes wins");
        assert_eq!(store.load(&tenant, id).await.unwrap().unwrap().value.state, won[0].1);
    }
}

async fn tenants_are_apart(store: &dyn CampaignStore) {
    let (tenant, other) = (fresh_tenant("campaign-a"), fresh_tenant("campaign-b"));
    let id = store.create(&tenant, Some("key"), b"d", b"s").await.unwrap();
    let revision = store.load(&tenant, id).await.unwrap().unwrap().revision;
    assert!(store.load(&other, id).await.unwrap().is_none());
    assert!(store.list(&other).await.unwrap().is_empty());
    assert_kind(store.put(&other, id, revision, None, b"x").await, ErrorKind::Conflict, "tenants are apart");
    assert_eq!(store.create(&other, Some("key"), b"other", b"s").await.unwrap(), CampaignId(1));
    assert_eq!(store.load(&tenant, id).await.unwrap().unwrap().value.definition, b"d");
}
