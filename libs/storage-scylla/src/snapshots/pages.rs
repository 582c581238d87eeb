//! Pages in the tables `pages` and `page_bases`.
//!
//! A page is stored whole or by what it adds to a base. Bases are apart and always whole, so that no page is ever
//! stored by another that is stored by it, whoever writes them again; a page that becomes a base is stored by itself,
//! which takes some forty octets. The base is part of a row's key: whoever writes a page again by another base adds a
//! row and takes nothing from the one that is there, so a write that reached one replica alone harms nobody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use storage::{
    SnapshotId, StoreError, TenantId,
    merkle::{
        self, NewPage,
        ahead::FetchPages,
        pack::{self, Stored},
    },
};

use super::Inner;
use crate::statement::Cql;

const LOAD: Cql = Cql::read("SELECT stored FROM pages WHERE tenant = ? AND id = ?");
const LOAD_BASE: Cql = Cql::read("SELECT octets FROM page_bases WHERE tenant = ? AND id = ?");
const LOAD_LIKENESS: Cql = Cql::read("SELECT base FROM page_likeness WHERE tenant = ? AND likeness = ?");
const STORE: Cql =
    Cql::write("INSERT INTO pages (tenant, id, base, refs, stored) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?");
const STORE_BASE: Cql =
    Cql::write("INSERT INTO page_bases (tenant, id, octets) VALUES (?, ?, ?) USING TIMESTAMP ?");
const STORE_LIKENESS: Cql = Cql::write("INSERT INTO page_likeness (tenant, likeness, base) VALUES (?, ?, ?)");

/// Requests of one call in flight.
const CONCURRENT: usize = 16;
/// How long a process believes what it read of the index of likeness.
const LIKENESS_FRESH: Duration = Duration::from_secs(300);

/// What stands before an id in the keys of what is kept in memory.
const PAGE: u8 = 0;
const BASE: u8 = 1;
const LIKENESS: u8 = 2;

/// The pages of one tenant.
pub(super) struct TenantPages<'a> {
    pub(super) inner: &'a Inner,
    pub(super) operation: &'static str,
    pub(super) tenant: &'a TenantId,
}

/// A page that others are stored by.
struct Base {
    id: SnapshotId,
    octets: Arc<[u8]>,
}

impl TenantPages<'_> {
    fn key(&self, kind: u8, id: &[u8]) -> Vec<u8> {
        [&[kind], id, self.tenant.0.as_bytes()].concat()
    }

    fn tenant(&self) -> &str {
        &self.tenant.0
    }

    /// Stores pages, those that seem to be there too: a collection may have judged them already. `anew` also those
    /// that this process wrote lately.
    pub(super) async fn store_all(&self, pages: &[NewPage], anew: bool) -> Result<(), StoreError> {
        let writes: Vec<_> = pages.iter().map(|page| self.store(page, anew)).collect();
        stream::iter(writes).buffer_unordered(CONCURRENT).try_collect().await
    }

    async fn store(&self, page: &NewPage, anew: bool) -> Result<(), StoreError> {
        let key = self.key(PAGE, &page.id.0);
        if !anew && self.was_written_lately(&key) {
            return Ok(());
        }
        let began = Instant::now();
        match page.likeness.filter(|_| pack::is_worth_a_base(&page.octets)) {
            None => self.put(page, None, &pack::whole(&page.octets)).await?,
            Some(likeness) => self.store_by_base(page, likeness, anew).await?,
        }
        self.inner.written.keep(&key, began);
        Ok(())
    }

    async fn store_by_base(&self, page: &NewPage, likeness: [u128; 2], anew: bool) -> Result<(), StoreError> {
        for like in likeness {
            if let Some(base) = self.base_like(like).await?
                && let Some(packed) = pack::delta(&page.octets, base.id, &base.octets)
            {
                self.put_base(&base, anew).await?;
                return self.put(page, Some(base.id), &packed).await;
            }
        }
        // Nothing stored is much like it: it becomes the base of what comes after it.
        let base = Base { id: page.id, octets: page.octets.as_slice().into() };
        let Some(packed) = pack::delta(&page.octets, page.id, &page.octets) else {
            return self.put(page, None, &pack::whole(&page.octets)).await;
        };
        self.put_base(&base, anew).await?;
        self.put(page, Some(page.id), &packed).await?;
        for like in likeness {
            let like = like.to_be_bytes();
            let row = (self.tenant(), &like[..], &page.id.0[..]);
            self.inner.scylla.write(self.operation, &STORE_LIKENESS, row).await?;
            self.inner.likeness.keep(&self.key(LIKENESS, &like), (page.id, Instant::now()));
        }
        Ok(())
    }

    async fn put(&self, page: &NewPage, base: Option<SnapshotId>, stored: &[u8]) -> Result<(), StoreError> {
        let refs = merkle::refs(&page.octets).map_err(|error| error.into_store_error(self.operation))?;
        let refs: Option<Vec<u8>> = (!refs.is_empty()).then(|| refs.iter().flat_map(|id| id.0).collect());
        let base = base.as_ref().map_or(&[][..], |base| &base.0);
        let refs = scylla::value::MaybeUnset::from_option(refs);
        let row = (self.tenant(), &page.id.0[..], base, refs, stored, now_us());
        self.inner.scylla.write(self.operation, &STORE, row).await
    }

    async fn put_base(&self, base: &Base, anew: bool) -> Result<(), StoreError> {
        let key = self.key(BASE, &base.id.0);
        if !anew && self.was_written_lately(&key) {
            return Ok(());
        }
        let began = Instant::now();
        let row = (self.tenant(), &base.id.0[..], &base.octets[..], now_us());
        self.inner.scylla.write(self.operation, &STORE_BASE, row).await?;
        self.inner.cache.keep(key.clone(), Arc::clone(&base.octets));
        self.inner.written.keep(&key, began);
        Ok(())
    }

    fn was_written_lately(&self, key: &[u8]) -> bool {
        let lately = self.inner.options.lately();
        self.inner.written.find(key).is_some_and(|written| written.elapsed() < lately)
    }

    /// The base that the index names for pages of a likeness. The index may name one that is gone.
    async fn base_like(&self, likeness: u128) -> Result<Option<Base>, StoreError> {
        let likeness = likeness.to_be_bytes();
        let key = self.key(LIKENESS, &likeness);
        let known = self.inner.likeness.find(&key).filter(|(_, read)| read.elapsed() < LIKENESS_FRESH);
        let id = match known {
            Some((id, _)) => id,
            None => {
                let keys = (self.tenant(), &likeness[..]);
                let row: Option<(Vec<u8>,)> =
                    self.inner.scylla.row(self.operation, &LOAD_LIKENESS, keys).await?;
                let Some((id,)) = row else { return Ok(None) };
                let id = super::id(self.operation, &id)?;
                self.inner.likeness.keep(&key, (id, Instant::now()));
                id
            }
        };
        let octets = self.base(id).await?;
        if octets.is_none() {
            self.inner.likeness.forget(&key);
        }
        Ok(octets.map(|octets| Base { id, octets }))
    }

    async fn base(&self, id: SnapshotId) -> Result<Option<Arc<[u8]>>, StoreError> {
        let key = self.key(BASE, &id.0);
        if let Some(octets) = self.inner.cache.find(&key) {
            return Ok(Some(octets));
        }
        let keys = (self.tenant(), &id.0[..]);
        let row: Option<(Vec<u8>,)> = self.inner.scylla.row(self.operation, &LOAD_BASE, keys).await?;
        let Some((octets,)) = row else { return Ok(None) };
        let octets: Arc<[u8]> = octets.into();
        self.inner.cache.keep(key, Arc::clone(&octets));
        Ok(Some(octets))
    }

    async fn page(&self, id: SnapshotId) -> Result<Option<(SnapshotId, Arc<[u8]>)>, StoreError> {
        let key = self.key(PAGE, &id.0);
        if let Some(octets) = self.inner.cache.find(&key) {
            return Ok(Some((id, octets)));
        }
        let keys = (self.tenant(), &id.0[..]);
        let rows: Vec<(Vec<u8>,)> = self.inner.scylla.rows(self.operation, &LOAD, keys).await?;
        let corrupt = |error: merkle::MerkleError| error.into_store_error(self.operation);
        for (stored,) in rows {
            match pack::parse(&stored).map_err(corrupt)? {
                Stored::Whole(octets) => {
                    let octets: Arc<[u8]> = octets.into();
                    self.inner.cache.keep(key, Arc::clone(&octets));
                    return Ok(Some((id, octets)));
                }
                Stored::Delta { base, packed } => {
                    // The base of a row that a collection found on none of the replicas it asked may be gone;
                    // then there is another row, or the page is garbage.
                    let Some(base) = self.base(base).await? else { continue };
                    let octets = pack::unpack(packed, &base).map_err(corrupt)?;
                    return Ok(Some((id, octets.into())));
                }
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl FetchPages for TenantPages<'_> {
    async fn fetch(&self, ids: &[SnapshotId]) -> Result<Vec<(SnapshotId, Arc<[u8]>)>, StoreError> {
        let reads: Vec<_> = ids.iter().map(|id| self.page(*id)).collect();
        let pages = stream::iter(reads).buffer_unordered(CONCURRENT);
        pages.try_filter_map(|page| std::future::ready(Ok(page))).try_collect().await
    }
}

/// Microseconds since 1970: the timestamp of what is written now.
fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}
