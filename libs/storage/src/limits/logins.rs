//! Who is locked out after wrong credentials, and who is let through all the same (docs/decisions/0007).

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use dm_protocol::DevId;
use tokio::time::Instant;

use super::{AttemptPolicy, Attempts, Away, LimitKey, LimitStore, Scope, Watch, table::Table};
use crate::TenantId;

/// How long it is remembered that a device logged in from an address.
const KNOWN_KEEP: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a front-end believes what it knows of an address.
const ADDRESS_GRAIN: Duration = Duration::from_secs(1);
/// Addresses of which that is remembered.
const ADDRESSES: usize = 20_000;

/// When wrong credentials lock out. Each bound may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginPolicy {
    /// Wrong credentials of one device from one address.
    pub per_pair: Option<NonZeroU32>,
    /// Of one device from everywhere.
    pub per_device: Option<NonZeroU32>,
    /// From one address, of all devices.
    pub per_address: Option<NonZeroU32>,
    /// How long a wrong credential counts.
    pub window: Duration,
    /// The first lock.
    pub lock: Duration,
    /// The longest.
    pub lock_max: Duration,
}

impl LoginPolicy {
    fn of(&self, failures_max: NonZeroU32) -> AttemptPolicy {
        AttemptPolicy { failures_max, window: self.window, lock: self.lock, lock_max: self.lock_max }
    }

    fn is_off(&self) -> bool {
        self.per_pair.is_none() && self.per_device.is_none() && self.per_address.is_none()
    }
}

/// How a device that comes from an address stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// A password is not looked at now.
    pub is_locked: bool,
    /// There were failures of the device or from the address, and the pair is not known to be good: a login that goes
    /// well is worth remembering.
    wants_success: bool,
}

/// Whose credential was wrong.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// A device's.
    Device(&'a DevId),
    /// Of a device that was never here, so that it may be right and for another server. It does not count for the address: a
    /// fleet that moves here from elsewhere would lock itself out.
    NewDevice(&'a DevId),
    /// A name's that nobody knows.
    Nobody,
}

/// Locks out who guesses, over all processes that share the store.
pub struct Logins {
    watch: Watch,
    policy: LoginPolicy,
    addresses: Table<LimitKey, Option<(Instant, Attempts)>>,
}

impl Logins {
    /// Over a store. `away` is called for each answer that this process's own count gives.
    pub fn new(store: Arc<dyn LimitStore>, policy: LoginPolicy, away: Away) -> Self {
        Self { watch: Watch::new(store, away), policy, addresses: Table::new(ADDRESSES) }
    }

    /// How a device that comes from an address stands. One call where nobody failed, and none where that is known.
    pub async fn standing(
        &self,
        tenant: &TenantId,
        device: &DevId,
        address: impl std::fmt::Display,
    ) -> Standing {
        if self.policy.is_off() || self.watch.knows_no_failures() {
            return Standing::default();
        }
        let address = address.to_string();
        let device_key = LimitKey::new(tenant, Scope::LoginDevice, device.as_str());
        let (of_device, of_address) =
            tokio::join!(self.watch.attempts(&device_key), self.of_address(tenant, &address));
        if of_device.is_none() && of_address.is_none() {
            return Standing::default();
        }
        let pair = self.watch.attempts(&pair_key(tenant, device, &address)).await;
        let is_other_locked = of_device.is_locked() || of_address.is_locked();
        Standing {
            is_locked: pair.is_locked() || (is_other_locked && !pair.has_succeeded),
            wants_success: !pair.has_succeeded || pair.failures > 0,
        }
    }

    /// A wrong credential came.
    pub async fn failed(&self, tenant: &TenantId, whose: Whose<'_>, address: impl std::fmt::Display) {
        let address = address.to_string();
        let device = match whose {
            Whose::Device(device) | Whose::NewDevice(device) => Some(device),
            Whose::Nobody => None,
        };
        let mut failed = Vec::with_capacity(3);
        if let Some(device) = device {
            // The device's is there as soon as the pair's is: it is what tells that there is something to look at.
            let of_device = self.policy.per_device.or(self.policy.per_pair.map(|_| NonZeroU32::MAX));
            failed.push((LimitKey::new(tenant, Scope::LoginDevice, device.as_str()), of_device));
            failed.push((pair_key(tenant, device, &address), self.policy.per_pair));
        }
        let address_key = LimitKey::new(tenant, Scope::LoginAddress, address);
        let counts_for_all = !matches!(whose, Whose::NewDevice(_));
        failed.push((address_key.clone(), self.policy.per_address.filter(|_| counts_for_all)));
        for (key, failures_max) in failed {
            let Some(failures_max) = failures_max else { continue };
            let attempts = self.watch.fail(&key, &self.policy.of(failures_max)).await;
            if key == address_key {
                self.addresses.with(&address_key, |known| *known = Some((Instant::now(), attempts)));
            }
        }
    }

    /// The device proved itself.
    pub async fn succeeded(
        &self,
        standing: Standing,
        tenant: &TenantId,
        device: &DevId,
        address: impl std::fmt::Display,
    ) {
        if standing.wants_success {
            let key = pair_key(tenant, device, &address.to_string());
            self.watch.succeed(&key, KNOWN_KEEP).await;
        }
    }

    async fn of_address(&self, tenant: &TenantId, address: &str) -> Attempts {
        if self.policy.per_address.is_none() {
            return Attempts::default();
        }
        let key = LimitKey::new(tenant, Scope::LoginAddress, address);
        let now = Instant::now();
        let known = self.addresses.look(&key, |known| *known).flatten();
        if let Some((at, attempts)) = known
            && now.saturating_duration_since(at) < ADDRESS_GRAIN
        {
            return attempts;
        }
        let attempts = self.watch.attempts(&key).await;
        self.addresses.with(&key, |known| *known = Some((now, attempts)));
        attempts
    }
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// A device's name has no line break, so that no two pairs are one.
fn pair_key(tenant: &TenantId, device: &DevId, address: &str) -> LimitKey {
    LimitKey::new(tenant, Scope::LoginPair, format!("{}\n{address}", device.as_str()))
}
