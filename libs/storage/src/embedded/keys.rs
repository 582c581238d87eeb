//! Keys of the engine. Each begins with the tenant, its length first, so that no tenant's keys are a prefix
//! of another's; numbers are big-endian, so that the order of keys is theirs.

use campaign::CampaignId;
use dm_protocol::DevId;

use crate::{StoreError, TenantId};

/// Octets of the name of a tenant, of a session or of an idempotency key at most.
pub(crate) const NAME_MAX: usize = 255;

/// The beginning of all keys of a tenant.
pub(crate) fn tenant(operation: &'static str, tenant: &TenantId) -> Result<Vec<u8>, StoreError> {
    let name = tenant.0.as_bytes();
    let Ok(length) = u8::try_from(name.len()) else {
        let reason = format!("expected a tenant of at most {NAME_MAX} octets, got {}", name.len());
        return Err(StoreError::too_large(operation, reason));
    };
    let mut key = Vec::with_capacity(64);
    key.push(length);
    key.extend_from_slice(name);
    Ok(key)
}

/// A device's key. A name holds no control character, so with [`DEVICE_END`] after it no device's keys are a prefix of another's.
pub(crate) fn device(
    operation: &'static str,
    tenant_id: &TenantId,
    device: &DevId,
) -> Result<Vec<u8>, StoreError> {
    let name = device.as_str().as_bytes();
    if name.len() > DEVICE_NAME_MAX || name.contains(&DEVICE_END) {
        let reason =
            format!("expected a device name of at most {DEVICE_NAME_MAX} octets, got {}", name.len());
        return Err(StoreError::too_large(operation, reason));
    }
    let mut key = tenant(operation, tenant_id)?;
    key.extend_from_slice(name);
    Ok(key)
}

/// The key of what is kept under a number of the tenant's.
pub(crate) fn ordinal(
    operation: &'static str,
    tenant_id: &TenantId,
    ordinal: u32,
) -> Result<Vec<u8>, StoreError> {
    let mut key = tenant(operation, tenant_id)?;
    key.extend_from_slice(&ordinal.to_be_bytes());
    Ok(key)
}

/// A device's key and [`DEVICE_END`]: the beginning of the keys of what it has many of.
pub(crate) fn device_end(
    operation: &'static str,
    tenant_id: &TenantId,
    name: &DevId,
) -> Result<Vec<u8>, StoreError> {
    let mut key = device(operation, tenant_id, name)?;
    key.push(DEVICE_END);
    Ok(key)
}

/// Octets of a device's name at most: 128 characters of four.
const DEVICE_NAME_MAX: usize = 512;

/// Stands between a device's name and what follows it in a key.
pub(crate) const DEVICE_END: u8 = 0;

/// The beginning of all keys of a campaign.
pub(crate) fn campaign(
    operation: &'static str,
    tenant_id: &TenantId,
    campaign: CampaignId,
) -> Result<Vec<u8>, StoreError> {
    let mut key = tenant(operation, tenant_id)?;
    key.extend_from_slice(&campaign.0.to_be_bytes());
    Ok(key)
}

/// `prefix` and what follows.
pub(crate) fn with(prefix: &[u8], rest: &[u8]) -> Vec<u8> {
    [prefix, rest].concat()
}

/// The smallest key above all that begin with `prefix`; `None` when there is none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|&octet| octet != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

/// The number that ends a key.
pub(crate) fn last_u64(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|octets| u64::from_be_bytes(*octets))
}

/// The number that ends a key.
pub(crate) fn last_u32(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|octets| u32::from_be_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::after_prefix;

    #[test]
    fn the_end_of_a_prefix_is_above_all_that_begin_with_it() {
        for (prefix, want) in
            [(&b"ab"[..], Some(&b"ac"[..])), (&[1, 255], Some(&[2])), (&[255, 255], None), (&[], None)]
        {
            assert_eq!(after_prefix(prefix).as_deref(), want, "prefix {prefix:?}");
        }
    }
}
