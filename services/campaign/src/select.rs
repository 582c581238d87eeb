//! Choosing members: one pass over the inventory, in blocks.

use std::{borrow::Cow, collections::HashMap};

use campaign::{DeviceFacts, Filter, Plan, Refusal, Selection};
use storage::{InventoryRow, StoreError, TenantId};

use crate::Stores;

/// Devices read at once: enough that the store works in long strides, few enough that memory stays small.
const BLOCK: usize = 8192;

/// Looks at every device and asks `taken` whether another campaign has it.
pub(crate) async fn select(
    stores: &Stores,
    tenant: &TenantId,
    plan: &Plan,
    taken: impl Fn(u32) -> bool + Send,
) -> Result<Selection, StoreError> {
    let mut selection = Selection::default();
    let mut from = 0;
    loop {
        let rows = stores.devices.scan_inventory(tenant, from, BLOCK).await?;
        let Some(last) = rows.last().map(|row| row.ordinal) else { return Ok(selection) };
        for row in &rows {
            match refusal(stores, tenant, plan, row).await? {
                Some(refusal) => selection.refuse(row.id.as_str(), refusal),
                None if taken(row.ordinal) => selection.refuse(row.id.as_str(), Refusal::InOtherCampaign),
                None => selection.admit(row.ordinal, &row.inventory.maker, &row.inventory.model),
            }
        }
        let Some(next) = last.checked_add(1) else { return Ok(selection) };
        from = next;
        // A million devices are a second of work; others on this thread come in between.
        tokio::task::yield_now().await;
    }
}

/// Why a device is not for this plan; `None`: it is.
pub(crate) async fn refusal(
    stores: &Stores,
    tenant: &TenantId,
    plan: &Plan,
    row: &InventoryRow,
) -> Result<Option<Refusal>, StoreError> {
    let target = &plan.definition.target;
    if row.inventory.firmware == plan.target_version {
        return Ok(Some(Refusal::AlreadyCurrent));
    }
    if target.tree.is_empty() {
        return Ok(matches(target, row, &|_| None));
    }
    // What the inventory alone refuses needs no read of a tree.
    let without_tree = matches(target, row, &|_| Some(Cow::Borrowed("")));
    if let Some(refusal) = without_tree.filter(|refusal| *refusal != Refusal::TreeValue) {
        return Ok(Some(refusal));
    }
    let values = tree_values(stores, tenant, target, row).await?;
    Ok(matches(target, row, &|address| values.get(address).map(|value| Cow::Borrowed(value.as_str()))))
}

fn matches<'a>(
    target: &Filter,
    row: &'a InventoryRow,
    tree: &'a dyn Fn(&str) -> Option<Cow<'a, str>>,
) -> Option<Refusal> {
    let facts = DeviceFacts {
        id: row.id.as_str(),
        maker: &row.inventory.maker,
        model: &row.inventory.model,
        firmware: &row.inventory.firmware,
        tags: &row.tags,
        tree,
    };
    target.matches(&facts).err()
}

/// The stored values that the target asks for, by the address it asks with: from the inventory where it has them,
/// from the snapshot where it has not.
async fn tree_values(
    stores: &Stores,
    tenant: &TenantId,
    target: &Filter,
    row: &InventoryRow,
) -> Result<HashMap<String, String>, StoreError> {
    let mut values = HashMap::new();
    let mut root = None;
    for address in target.tree_addresses() {
        let uri = address.strip_prefix("./").unwrap_or(address);
        let known = inventory_value(row, uri).filter(|value| !value.is_empty());
        if let Some(value) = known {
            values.insert(address.to_owned(), value.to_owned());
            continue;
        }
        if root.is_none() {
            root = Some(stores.snapshots.current(tenant, &row.id).await?);
        }
        let Some(Some(snapshot)) = root else { continue };
        if let Some(leaf) = stores.snapshots.leaf(tenant, snapshot.root, uri).await?
            && let Some(value) = leaf_text(&leaf)
        {
            values.insert(address.to_owned(), value);
        }
    }
    Ok(values)
}

fn inventory_value<'a>(row: &'a InventoryRow, uri: &str) -> Option<&'a str> {
    let inventory = &row.inventory;
    Some(match uri {
        "DevInfo/Man" => &inventory.maker,
        "DevInfo/Mod" => &inventory.model,
        "DevInfo/DmV" => &inventory.dm_version,
        "DevInfo/Lang" => &inventory.language,
        "DevDetail/FwV" => &inventory.firmware,
        "DevDetail/SwV" => &inventory.software,
        "DevDetail/HwV" => &inventory.hardware,
        other => inventory.more.get(other)?,
    })
}

fn leaf_text(leaf: &dm_tree::Leaf) -> Option<String> {
    std::str::from_utf8(&leaf.value).ok().map(Into::into)
}
