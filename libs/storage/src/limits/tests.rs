use std::{num::NonZeroU32, sync::Arc, time::Duration};

use dm_protocol::DevId;

use super::{table::Table, *};
use crate::{
    StoreError,
    faults::{FaultPlan, Faulty},
    laws,
};

#[tokio::test]
async fn memory_keeps_the_laws() {
    laws::limit_store_laws(&MemoryLimits::new()).await;
}

#[test]
fn a_table_forgets_the_oldest_and_stays_small() {
    let table: Table<u32, u32> = Table::new(1000);
    for key in 0..100_000 {
        table.with(&key, |value| *value += 1);
        // Used all the time, so it is never forgotten.
        table.with(&7_000_000, |value| *value += 1);
    }
    assert!(table.len() <= 2 * 1008, "{} entries", table.len());
    assert_eq!(table.look(&7_000_000, |value| *value), Some(100_000));
    assert_eq!(table.look(&3, |value| *value), None);
}

/// A store that counts calls.
#[derive(Default)]
struct Counting {
    inner: MemoryLimits,
    calls: std::sync::atomic::AtomicU32,
}

#[async_trait]
impl LimitStore for Counting {
    async fn take(&self, key: &LimitKey, rate: Rate, n: NonZeroU32, r: u32) -> Result<Grant, StoreError> {
        self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.inner.take(key, rate, n, r).await
    }

    async fn attempts(&self, key: &LimitKey) -> Result<Attempts, StoreError> {
        self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.inner.attempts(key).await
    }

    async fn fail(&self, key: &LimitKey, policy: &AttemptPolicy) -> Result<Attempts, StoreError> {
        self.inner.fail(key, policy).await
    }

    async fn succeed(&self, key: &LimitKey, keep: Duration) -> Result<(), StoreError> {
        self.inner.succeed(key, keep).await
    }
}

fn rate(uses: u32, period: Duration) -> Rate {
    Rate { uses: NonZeroU32::new(uses).unwrap(), period }
}

fn nobody() -> Away {
    Arc::new(|| {})
}

fn address() -> LimitKey {
    LimitKey::new(&TenantId::default(), Scope::Address, "192.0.2.1")
}

#[tokio::test(start_paused = true)]
async fn two_front_ends_admit_no_more_than_the_rate_and_most_of_it_without_a_call() {
    let store = Arc::new(Counting::default());
    let fronts = [Limiter::new(store.clone(), nobody()), Limiter::new(store.clone(), nobody())];
    let (rate, mut admitted, mut asked) = (rate(640, Duration::from_secs(3600)), 0, 0);
    for turn in 0..2000 {
        asked += 1;
        let front = &fronts[turn % 2];
        if front.admit(&address(), rate, Claim::Begun).await.is_ok() {
            admitted += 1;
        }
    }
    // A front-end may sit on a lease that it does not come to spend.
    assert!((600..=640).contains(&admitted), "{admitted} of 640 admitted");
    let calls = store.calls.load(std::sync::atomic::Ordering::Relaxed);
    assert!(calls < 60, "{calls} calls for {asked} requests");
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_goes_on_when_new_ones_are_refused() {
    let limiter = Limiter::new(Arc::new(MemoryLimits::new()), nobody());
    let rate = rate(100, Duration::from_secs(3600));
    let mut of_new = 0;
    let refused = loop {
        match limiter.admit(&address(), rate, Claim::New).await {
            Ok(()) => of_new += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(of_new, 75, "new ones may have three quarters");
    assert!((36..=75).contains(&refused.retry_after_seconds), "{refused:?}");
    let mut of_begun = 0;
    while limiter.admit(&address(), rate, Claim::Begun).await.is_ok() {
        of_begun += 1;
    }
    assert_eq!(of_begun, 25, "the rest is for what has begun");
    let waits: std::collections::BTreeSet<u64> = {
        let mut waits = std::collections::BTreeSet::new();
        for _ in 0..20 {
            waits
                .insert(limiter.admit(&address(), rate, Claim::Begun).await.unwrap_err().retry_after_seconds);
        }
        waits
    };
    assert!(waits.len() > 10, "each is told another time: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_seldom_user_wastes_no_lease() {
    let store = Arc::new(MemoryLimits::new());
    let fronts: Vec<Limiter> = (0..8).map(|_| Limiter::new(store.clone(), nobody())).collect();
    let rate = rate(64, Duration::from_secs(24 * 3600));
    for turn in 0..60 {
        let admitted = fronts[turn % 8].admit(&address(), rate, Claim::Begun).await;
        assert!(admitted.is_ok(), "request {turn} of 64 a day");
        tokio::time::sleep(Duration::from_secs(11)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_leaves_each_process_its_own_count() {
    let plan = Arc::new(FaultPlan::new(1, 1000, 0));
    let store: Arc<dyn LimitStore> = Arc::new(MemoryLimits::new());
    let seen = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let away: Away = {
        let seen = seen.clone();
        Arc::new(move || {
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })
    };
    let limiter = Limiter::new(Arc::new(Faulty::new(store.clone(), plan.clone())), away);
    let mut admitted = 0;
    for _ in 0..200 {
        if limiter.admit(&address(), rate(50, Duration::from_secs(3600)), Claim::Begun).await.is_ok() {
            admitted += 1;
        }
    }
    assert_eq!(admitted, 50, "not everybody, and not nobody");
    assert!(seen.load(std::sync::atomic::Ordering::Relaxed) > 0, "it is seen");

    let logins = Logins::new(Arc::new(Faulty::new(store, plan.clone())), POLICY, nobody());
    let (tenant, device) = (TenantId::default(), DevId::parse("IMEI:1").unwrap());
    assert!(!logins.standing(&tenant, &device, "192.0.2.1").await.is_locked, "a device is let in");
    for _ in 0..3 {
        logins.failed(&tenant, Whose::Device(&device), "192.0.2.1").await;
    }
    assert!(logins.standing(&tenant, &device, "192.0.2.1").await.is_locked, "a guesser is not");
    plan.stop();
    assert!(!logins.standing(&tenant, &device, "192.0.2.1").await.is_locked, "then the store's word counts");
}

const POLICY: LoginPolicy = LoginPolicy {
    per_pair: NonZeroU32::new(3),
    per_device: NonZeroU32::new(10),
    per_address: NonZeroU32::new(20),
    window: Duration::from_secs(900),
    lock: Duration::from_secs(60),
    lock_max: Duration::from_secs(3600),
};

#[tokio::test(start_paused = true)]
async fn a_guesser_is_locked_out_and_the_device_elsewhere_is_not() {
    let store = Arc::new(MemoryLimits::new());
    let fronts = [Logins::new(store.clone(), POLICY, nobody()), Logins::new(store.clone(), POLICY, nobody())];
    let (tenant, device) = (TenantId::default(), DevId::parse("IMEI:1").unwrap());
    let standing =
        async |front: usize, address: &str| fronts[front].standing(&tenant, &device, address).await;
    for turn in 0..3 {
        assert!(!standing(turn % 2, "192.0.2.66").await.is_locked, "guess {turn}");
        fronts[turn % 2].failed(&tenant, Whose::Device(&device), "192.0.2.66").await;
    }
    for front in 0..2 {
        assert!(standing(front, "192.0.2.66").await.is_locked, "front-end {front} knows the guesser");
        assert!(!standing(front, "192.0.2.1").await.is_locked, "the device itself comes in");
    }
    // While it is guessed at, the device comes in, which is remembered.
    let own = standing(0, "192.0.2.1").await;
    fronts[0].succeeded(own, &tenant, &device, "192.0.2.1").await;

    // Guesses from many addresses lock the device for all that it did not come from.
    for address in 0..7 {
        fronts[0].failed(&tenant, Whose::Device(&device), format!("198.51.100.{address}")).await;
    }
    assert!(standing(1, "203.0.113.5").await.is_locked, "an address never seen");
    assert!(!standing(1, "192.0.2.1").await.is_locked, "the address of before");

    tokio::time::sleep(POLICY.lock + Duration::from_secs(2)).await;
    assert!(!standing(1, "203.0.113.5").await.is_locked, "a lock ends");
    assert!(!standing(1, "192.0.2.66").await.is_locked, "also the guesser's");
}

#[tokio::test(start_paused = true)]
async fn one_guess_at_each_of_many_devices_locks_the_address() {
    let logins = Logins::new(Arc::new(MemoryLimits::new()), POLICY, nobody());
    let tenant = TenantId::default();
    for number in 0..20 {
        let device = DevId::parse(&format!("IMEI:{number}")).unwrap();
        // Also names that nobody knows.
        let whose = if number % 2 == 0 { Whose::Device(&device) } else { Whose::Nobody };
        logins.failed(&tenant, whose, "192.0.2.66").await;
        // A fleet that moves here, with nonces of another server, is none that guesses.
        logins.failed(&tenant, Whose::NewDevice(&device), "192.0.2.67").await;
    }
    let device = DevId::parse("IMEI:77").unwrap();
    assert!(logins.standing(&tenant, &device, "192.0.2.66").await.is_locked);
    assert!(!logins.standing(&tenant, &device, "192.0.2.67").await.is_locked);
    let off = LoginPolicy { per_address: None, per_pair: None, per_device: None, ..POLICY };
    let logins = Logins::new(Arc::new(MemoryLimits::new()), off, nobody());
    for _ in 0..2000 {
        logins.failed(&tenant, Whose::Device(&device), "192.0.2.66").await;
    }
    assert!(!logins.standing(&tenant, &device, "192.0.2.66").await.is_locked, "bounds may be none");
}

#[tokio::test(start_paused = true)]
async fn a_visit_of_a_device_that_nobody_failed_for_costs_one_call() {
    let store = Arc::new(Counting::default());
    let logins = Logins::new(store.clone(), POLICY, nobody());
    let (tenant, device) = (TenantId::default(), DevId::parse("IMEI:1").unwrap());
    logins.standing(&tenant, &device, "192.0.2.1").await;
    let calls = || store.calls.load(std::sync::atomic::Ordering::Relaxed);
    let first = calls();
    for _ in 0..10 {
        let standing = logins.standing(&tenant, &device, "192.0.2.1").await;
        logins.succeeded(standing, &tenant, &device, "192.0.2.1").await;
    }
    assert_eq!((first, calls()), (2, 12), "the address is known, the device is asked for");
}
