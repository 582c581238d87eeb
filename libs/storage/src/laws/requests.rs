use campaign::CampaignId;

use super::{RACERS, fresh_tenant, race};
use crate::{RequestId, RequestStore};

const CAMPAIGN: CampaignId = CampaignId(1);

/// The laws of [`RequestStore`].
pub async fn request_store_laws(store: &dyn RequestStore) {
    a_request_waits_until_it_is_answered(store).await;
    asking_and_answering_twice_is_once(store).await;
    mailboxes_are_apart(store).await;
}

fn id(number: u8) -> RequestId {
    let mut octets = [0xff; 16];
    octets[0] = number;
    RequestId(octets)
}

async fn a_request_waits_until_it_is_answered(store: &dyn RequestStore) {
    let tenant = fresh_tenant("requests-wait");
    assert!(store.asked(&tenant, CAMPAIGN).await.unwrap().is_empty());
    for number in [3, 1, 200] {
        store.ask(&tenant, CAMPAIGN, id(number), &[number]).await.unwrap();
    }
    let asked = store.asked(&tenant, CAMPAIGN).await.unwrap();
    let want = [1, 3, 200].map(|number| (id(number), vec![number]));
    assert_eq!(asked, want, "requests wait in the order of their ids");
    assert_eq!(store.answered(&tenant, CAMPAIGN, id(3)).await.unwrap(), None);
    store.answer(&tenant, CAMPAIGN, id(3), b"done").await.unwrap();
    assert_eq!(store.answered(&tenant, CAMPAIGN, id(3)).await.unwrap().as_deref(), Some(&b"done"[..]));
    let asked = store.asked(&tenant, CAMPAIGN).await.unwrap();
    assert_eq!(
        asked.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [id(1), id(200)],
        "an answered one does not"
    );
    for number in [1, 3, 200] {
        store.forget(&tenant, CAMPAIGN, id(number)).await.unwrap();
    }
    assert!(store.asked(&tenant, CAMPAIGN).await.unwrap().is_empty());
    assert_eq!(store.answered(&tenant, CAMPAIGN, id(3)).await.unwrap(), None, "nor is a forgotten one known");
    store.forget(&tenant, CAMPAIGN, id(3)).await.unwrap();
}

async fn asking_and_answering_twice_is_once(store: &dyn RequestStore) {
    let tenant = fresh_tenant("requests-once");
    store.ask(&tenant, CAMPAIGN, id(1), b"first").await.unwrap();
    store.ask(&tenant, CAMPAIGN, id(1), b"second").await.unwrap();
    assert_eq!(store.asked(&tenant, CAMPAIGN).await.unwrap(), [(id(1), b"first".to_vec())]);
    let answers: Vec<[u8; 1]> = (0..RACERS as u8).map(|racer| [racer]).collect();
    let calls = answers.iter().map(|answer| store.answer(&tenant, CAMPAIGN, id(1), answer)).collect();
    race(calls).await.into_iter().for_each(Result::unwrap);
    let first = store.answered(&tenant, CAMPAIGN, id(1)).await.unwrap().unwrap();
    store.answer(&tenant, CAMPAIGN, id(1), b"late").await.unwrap();
    assert_eq!(
        store.answered(&tenant, CAMPAIGN, id(1)).await.unwrap(),
        Some(first),
        "the first answer stays"
    );
    store.ask(&tenant, CAMPAIGN, id(1), b"again").await.unwrap();
    assert!(store.asked(&tenant, CAMPAIGN).await.unwrap().is_empty(), "what was answered is not asked again");
    store.answer(&tenant, CAMPAIGN, id(2), b"to nobody").await.unwrap();
    assert_eq!(
        store.answered(&tenant, CAMPAIGN, id(2)).await.unwrap(),
        None,
        "what nobody asked has no answer"
    );
    assert!(store.asked(&tenant, CAMPAIGN).await.unwrap().is_empty());
}

async fn mailboxes_are_apart(store: &dyn RequestStore) {
    let (tenant, other) = (fresh_tenant("requests-a"), fresh_tenant("requests-b"));
    store.ask(&tenant, CampaignId(1), id(1), b"one").await.unwrap();
    store.ask(&tenant, CampaignId(256), id(1), b"two").await.unwrap();
    assert!(store.asked(&other, CampaignId(1)).await.unwrap().is_empty(), "tenants are apart");
    assert_eq!(store.asked(&tenant, CampaignId(256)).await.unwrap(), [(id(1), b"two".to_vec())]);
    store.answer(&tenant, CampaignId(256), id(1), b"done").await.unwrap();
    assert_eq!(
        store.asked(&tenant, CampaignId(1)).await.unwrap(),
        [(id(1), b"one".to_vec())],
        "so are campaigns"
    );
}
