use campaign::CampaignId;

use super::{RACERS, assert_kind, fresh_tenant, race};
use crate::{ErrorKind, StartStore, Started};

/// The laws of [`StartStore`].
pub async fn start_store_laws(store: &dyn StartStore) {
    starts_are_numbered_from_one_without_gaps(store).await;
    one_of_many_racing_starts_wins(store).await;
}

fn started(campaign: u64) -> Started {
    Started { campaign: CampaignId(campaign), members: vec![campaign as u8; 300_000], state: b"s".to_vec() }
}

async fn starts_are_numbered_from_one_without_gaps(store: &dyn StartStore) {
    let (tenant, other) = (fresh_tenant("starts-a"), fresh_tenant("starts-b"));
    assert_eq!(store.last_start(&tenant).await.unwrap(), 0);
    assert_eq!(store.start(&tenant, 1).await.unwrap(), None);
    let claim = "a start is appended behind the last one only";
    for number in [0, 2, u64::MAX] {
        let apart = store.append_start(&tenant, number, &started(7)).await;
        assert_kind(apart, ErrorKind::Conflict, claim);
    }
    for number in 1..=20 {
        store.append_start(&tenant, number, &started(number + 6)).await.unwrap();
        assert_eq!(store.last_start(&tenant).await.unwrap(), number);
        assert_kind(store.append_start(&tenant, number, &started(9)).await, ErrorKind::Conflict, claim);
    }
    assert_eq!(store.start(&tenant, 2).await.unwrap(), Some(started(8)), "a start is read as written");
    assert_eq!(store.start(&tenant, 21).await.unwrap(), None);
    assert_eq!(store.last_start(&other).await.unwrap(), 0, "tenants are apart");
}

async fn one_of_many_racing_starts_wins(store: &dyn StartStore) {
    let tenant = fresh_tenant("starts-race");
    for number in 1..=5 {
        let starts: Vec<Started> = (0..RACERS as u64).map(started).collect();
        let calls = starts.iter().map(|start| store.append_start(&tenant, number, start)).collect();
        let results = race(calls).await;
        let won: Vec<_> = results.iter().zip(&starts).filter(|(result, _)| result.is_ok()).collect();
        assert_eq!(won.len(), 1, "exactly one of racing starts wins");
        assert_eq!(store.start(&tenant, number).await.unwrap().as_ref(), Some(won[0].1));
    }
}
