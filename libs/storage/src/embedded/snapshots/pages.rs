//! Pages in the engine, whole or by a base, and the bases that are used again and again in memory.

use std::sync::Arc;

use crate::{
    Marks, SnapshotId, StoreError,
    embedded::{
        commit::Batch,
        engine::{Engine, Space},
    },
    merkle::{
        NewPage, PageCache, Pages,
        pack::{self, Stored},
    },
};

/// What stands after the tenant in the key of a page.
pub(crate) const PAGE: u8 = 0;
/// What stands after the tenant in the key of a likeness, whose record is the id of a base.
pub(crate) const LIKENESS: u8 = 1;

/// A page that others are stored by, and its octets.
type Base = (SnapshotId, Arc<[u8]>);

/// The pages of one tenant.
pub(crate) struct TenantPages<'a> {
    pub(super) engine: &'a Engine,
    pub(super) cache: &'a PageCache,
    pub(super) operation: &'static str,
    pub(super) prefix: Vec<u8>,
    /// Of the collection that runs meanwhile.
    pub(super) marks: Option<&'a Marks>,
}

impl TenantPages<'_> {
    fn page_key(&self, id: SnapshotId) -> Vec<u8> {
        [&self.prefix[..], &[PAGE], &id.0].concat()
    }

    fn likeness_key(&self, likeness: u128) -> Vec<u8> {
        [&self.prefix[..], &[LIKENESS], &likeness.to_be_bytes()].concat()
    }

    /// Adds a page to what is written, unless it is there.
    pub(super) fn store(&self, page: &NewPage, batch: &mut Batch) -> Result<(), StoreError> {
        let key = self.page_key(page.id);
        if let Some(marks) = self.marks {
            marks.insert(&key);
            // The collection may have gone by: what this page is stored by is in use again too.
            if let Some(stored) = self.engine.read(self.operation, Space::Blobs, &key)? {
                self.mark_base(&stored)?;
                return Ok(());
            }
        } else if self.engine.has(self.operation, Space::Blobs, &key)? {
            return Ok(());
        }
        let likeness = page.likeness.filter(|_| pack::is_worth_a_base(&page.octets));
        let Some(likeness) = likeness else {
            batch.put(Space::Blobs, key, pack::whole(&page.octets));
            return Ok(());
        };
        for like in likeness {
            if let Some((base, base_octets)) = self.base_of(like)?
                && let Some(packed) = pack::delta(&page.octets, base, &base_octets)
            {
                self.mark_base(&packed)?;
                batch.put(Space::Blobs, key, packed);
                return Ok(());
            }
        }
        // Nothing stored is much like it: it becomes the base of what comes after it.
        for like in likeness {
            batch.put(Space::Blobs, self.likeness_key(like), page.id.0.to_vec());
        }
        batch.put(Space::Blobs, key, pack::whole(&page.octets));
        Ok(())
    }

    /// Marks what a page is stored by, while a collection runs.
    fn mark_base(&self, stored: &[u8]) -> Result<(), StoreError> {
        let Some(marks) = self.marks else { return Ok(()) };
        let parsed = pack::parse(stored).map_err(|error| error.into_store_error(self.operation))?;
        if let Stored::Delta { base, .. } = parsed {
            marks.insert(&self.page_key(base));
        }
        Ok(())
    }

    fn base_of(&self, likeness: u128) -> Result<Option<Base>, StoreError> {
        let stored = self.engine.read(self.operation, Space::Blobs, &self.likeness_key(likeness))?;
        let Some(stored) = stored else { return Ok(None) };
        let base = <[u8; 20]>::try_from(&*stored)
            .map(SnapshotId)
            .map_err(|error| StoreError::corrupt(self.operation, error))?;
        Ok(Some((base, self.base(base)?)))
    }

    /// The octets of a page as it is stored.
    pub(crate) fn unpack(&self, stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        match pack::parse(stored).map_err(|error| error.into_store_error(self.operation))? {
            Stored::Whole(octets) => Ok(octets.to_vec()),
            Stored::Delta { base, packed } => pack::unpack(packed, &self.base(base)?)
                .map_err(|error| error.into_store_error(self.operation)),
        }
    }

    /// A page that is stored whole.
    fn base(&self, id: SnapshotId) -> Result<Arc<[u8]>, StoreError> {
        let key = self.page_key(id);
        if let Some(octets) = self.cache.find(&key) {
            return Ok(octets);
        }
        let corrupt = |what: &'static str| StoreError::corrupt(self.operation, what);
        let stored = self
            .engine
            .read(self.operation, Space::Blobs, &key)?
            .ok_or_else(|| corrupt("the base of a page is not there"))?;
        let parsed = pack::parse(&stored).map_err(|error| error.into_store_error(self.operation))?;
        let Stored::Whole(octets) = parsed else {
            return Err(corrupt("the base of a page is not stored whole"));
        };
        let octets: Arc<[u8]> = octets.into();
        self.cache.keep(key, Arc::clone(&octets));
        Ok(octets)
    }
}

impl Pages for TenantPages<'_> {
    fn load(&self, id: SnapshotId) -> Result<Option<Vec<u8>>, StoreError> {
        let key = self.page_key(id);
        if let Some(octets) = self.cache.find(&key) {
            return Ok(Some(octets.to_vec()));
        }
        let Some(stored) = self.engine.read(self.operation, Space::Blobs, &key)? else {
            return Ok(None);
        };
        self.unpack(&stored).map(Some)
    }
}
