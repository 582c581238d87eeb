use std::{num::NonZeroU32, time::Duration};

use super::{RACERS, fresh_tenant, race};
use crate::{
    TenantId,
    limits::{AttemptPolicy, Attempts, Grant, LimitKey, LimitStore, Rate, Scope},
};

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn key(tenant: &TenantId, scope: Scope, name: &str) -> LimitKey {
    LimitKey::new(tenant, scope, name)
}

/// The laws of [`LimitStore`]. Takes some seconds: uses have to come back, and locks to end.
pub async fn limit_store_laws(store: &dyn LimitStore) {
    no_more_uses_are_given_than_there_are(store).await;
    racing_takers_get_each_use_once(store).await;
    uses_come_back_evenly(store).await;
    failures_lock_for_longer_each_time(store).await;
    failures_are_forgotten_after_their_window(store).await;
    a_success_ends_a_lock_and_is_remembered(store).await;
    keys_are_apart(store).await;
}

/// What `ask` hears of a tenant of its own, where it is done within `limit`: when the machine held it up for longer, its answers are about
/// another moment, and it asks again.
async fn within<T>(limit: Duration, name: &str, mut ask: impl AsyncFnMut(TenantId) -> T) -> T {
    for _ in 0..100 {
        let begun = std::time::Instant::now();
        let heard = ask(fresh_tenant(name)).await;
        if begun.elapsed() < limit {
            return heard;
        }
    }
    panic!("expected {name} to be asked within {limit:?} once in 100 times")
}

async fn no_more_uses_are_given_than_there_are(store: &dyn LimitStore) {
    let key = key(&fresh_tenant("limit-take"), Scope::Address, "192.0.2.1");
    let rate = Rate { uses: number(10), period: Duration::from_secs(3600) };
    let take = async |wanted, reserve| store.take(&key, rate, number(wanted), reserve).await.unwrap();
    assert_eq!(take(4, 3).await, Grant::Uses(number(4)), "as many as were wanted");
    assert_eq!(take(4, 3).await, Grant::Uses(number(3)), "as many as there are above the reserve");
    let Grant::NoneFor(wait) = take(1, 3).await else { panic!("the reserve is left alone") };
    assert!((355..=361).contains(&wait.as_secs()), "one use comes back in 360 s, got {wait:?}");
    assert_eq!(take(9, 0).await, Grant::Uses(number(3)), "the reserve is there for others");
    let Grant::NoneFor(wait) = take(1, 0).await else { panic!("there are no more") };
    assert!((355..=361).contains(&wait.as_secs()), "{wait:?}");
    let Grant::NoneFor(wait) = take(1, 3).await else { panic!("there are no more") };
    assert!((1430..=1441).contains(&wait.as_secs()), "four have to come back first, got {wait:?}");
}

async fn racing_takers_get_each_use_once(store: &dyn LimitStore) {
    let key = key(&fresh_tenant("limit-race"), Scope::Tenant, "");
    let rate = Rate { uses: number(100), period: Duration::from_secs(3600) };
    let mut given = 0;
    for _ in 0..20 {
        let takes = (0..RACERS).map(|_| store.take(&key, rate, number(1), 0)).collect();
        for grant in race(takes).await {
            given += match grant.unwrap() {
                Grant::Uses(uses) => uses.get(),
                Grant::NoneFor(_) => 0,
            };
        }
    }
    assert_eq!(given, 100, "each use is given once");
}

async fn uses_come_back_evenly(store: &dyn LimitStore) {
    let rate = Rate { uses: number(4), period: Duration::from_secs(2) };
    let empty = async |tenant: &TenantId| {
        let key = key(tenant, Scope::Device, "IMEI:1");
        assert_eq!(store.take(&key, rate, number(9), 0).await.unwrap(), Grant::Uses(number(4)));
        key
    };
    // The first is there again after 0.5 s, the fourth after 2 s.
    let at_once = within(Duration::from_millis(400), "limit-empty", async |tenant| {
        store.take(&empty(&tenant).await, rate, number(1), 0).await.unwrap()
    });
    let at_once = at_once.await;
    assert!(matches!(at_once, Grant::NoneFor(_)), "{at_once:?}");
    let later = within(Duration::from_millis(1900), "limit-refill", async |tenant| {
        let key = empty(&tenant).await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        store.take(&key, rate, number(9), 0).await.unwrap()
    });
    // Two came back; a third, where the machine was slow.
    match later.await {
        Grant::Uses(uses) => {
            assert!((2..=3).contains(&uses.get()), "{uses} came back in 1.2 s of 2 a second");
        }
        Grant::NoneFor(wait) => panic!("nothing came back, {wait:?} more"),
    }
}

const POLICY: AttemptPolicy = AttemptPolicy {
    failures_max: NonZeroU32::new(3).unwrap(),
    window: Duration::from_secs(60),
    lock: Duration::from_millis(400),
    lock_max: Duration::from_secs(60),
};

async fn fail_until_locked(store: &dyn LimitStore, key: &LimitKey, policy: &AttemptPolicy) -> Attempts {
    for failures in 1..policy.failures_max.get() {
        let attempts = store.fail(key, policy).await.unwrap();
        assert_eq!((attempts.failures, attempts.is_locked()), (failures, false), "counted, not locked yet");
    }
    store.fail(key, policy).await.unwrap()
}

async fn failures_lock_for_longer_each_time(store: &dyn LimitStore) {
    let locked = within(POLICY.lock, "limit-lock", async |tenant| {
        let key = key(&tenant, Scope::LoginPair, "IMEI:1\n192.0.2.1");
        assert!(store.attempts(&key).await.unwrap().is_none(), "nothing is known at first");
        let first = fail_until_locked(store, &key, &POLICY).await;
        (first, store.attempts(&key).await.unwrap(), key)
    });
    let (first, seen, key) = locked.await;
    assert!(first.is_locked() && first.locked_for <= POLICY.lock, "{first:?}");
    assert_eq!(first.failures, 0, "behind a lock the count begins anew");
    assert!(seen.is_locked(), "everybody sees the lock");
    tokio::time::sleep(POLICY.lock + Duration::from_millis(50)).await;
    assert!(!store.attempts(&key).await.unwrap().is_locked(), "a lock ends");
    let second = fail_until_locked(store, &key, &POLICY).await;
    assert!(second.locked_for > POLICY.lock && second.locked_for <= POLICY.lock * 2, "{second:?}");
    let short = AttemptPolicy { failures_max: number(1), lock_max: POLICY.lock, ..POLICY };
    for _ in 0..40 {
        let locked = store.fail(&key, &short).await.unwrap();
        assert!(locked.locked_for <= POLICY.lock, "no lock is longer than the longest");
    }
}

async fn failures_are_forgotten_after_their_window(store: &dyn LimitStore) {
    let policy = AttemptPolicy { window: Duration::from_millis(300), ..POLICY };
    let twice = within(policy.window, "limit-window", async |tenant| {
        let key = key(&tenant, Scope::LoginDevice, "IMEI:1");
        store.fail(&key, &policy).await.unwrap();
        (store.fail(&key, &policy).await.unwrap().failures, key)
    });
    let (failures, key) = twice.await;
    assert_eq!(failures, 2);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(store.fail(&key, &policy).await.unwrap().failures, 1, "those of before do not count");
}

async fn a_success_ends_a_lock_and_is_remembered(store: &dyn LimitStore) {
    let policy = AttemptPolicy { lock: Duration::from_secs(30), ..POLICY };
    let remembered = Duration::from_millis(700);
    let heard = within(remembered, "limit-success", async |tenant| {
        let key = key(&tenant, Scope::LoginPair, "IMEI:1\n192.0.2.1");
        assert!(fail_until_locked(store, &key, &policy).await.is_locked());
        store.succeed(&key, remembered).await.unwrap();
        (store.attempts(&key).await.unwrap(), store.fail(&key, &policy).await.unwrap(), key)
    });
    let (succeeded, failed, key) = heard.await;
    let known = Attempts { has_succeeded: true, ..Attempts::default() };
    assert_eq!(succeeded, known, "failures are forgotten, the success is not");
    assert!(failed.has_succeeded && failed.failures == 1, "{failed:?}");
    tokio::time::sleep(Duration::from_millis(800)).await;
    let attempts = store.attempts(&key).await.unwrap();
    assert!(!attempts.has_succeeded, "a success is remembered for its time");
    assert_eq!(attempts.failures, 1, "failures are kept for theirs");
}

async fn keys_are_apart(store: &dyn LimitStore) {
    let (tenant, other) = (fresh_tenant("limit-a"), fresh_tenant("limit-b"));
    let failed = key(&tenant, Scope::LoginDevice, "IMEI:1");
    fail_until_locked(store, &failed, &POLICY).await;
    for key in [
        key(&other, Scope::LoginDevice, "IMEI:1"),
        key(&tenant, Scope::LoginAddress, "IMEI:1"),
        key(&tenant, Scope::LoginDevice, "IMEI:11"),
        key(&tenant, Scope::LoginDevice, ""),
        key(&tenant, Scope::LoginDevice, "}{/%"),
    ] {
        assert!(store.attempts(&key).await.unwrap().is_none(), "{key:?}");
        store.fail(&key, &POLICY).await.unwrap();
        assert_eq!(store.attempts(&key).await.unwrap().failures, 1, "{key:?}");
    }
}
