//! Statements: what each is allowed to do when it fails, prepared once, and the few ways they are run.
//!
//! A module of a store keeps its statements as constants:
//!
//! ```text
//! const LOAD: Cql = Cql::read("SELECT state FROM campaign WHERE tenant = ? AND id = ?");
//! let row: Option<(Vec<u8>,)> = scylla.row("load campaign", &LOAD, (tenant, id)).await?;
//! ```

use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use scylla::{
    deserialize::row::DeserializeRow,
    response::{PagingState, PagingStateResponse, query_result::QueryRowsResult},
    serialize::row::SerializeRow,
};
use storage::StoreError;

use crate::{
    Scylla,
    error::{read_failed, write_failed},
};

/// What a statement may do when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A read: tried again on another node, and asked of a second one when the first is slow.
    Read,
    /// A read that ends conditional writes in flight first, so that it says how they ended.
    SerialRead,
    /// A write that may be done twice: tried again on another node when the connection breaks.
    Write,
    /// A conditional write: never tried again by itself.
    Conditional,
}

/// A statement of CQL and its kind. Tables are named without the keyspace; see [`Cql::within`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cql {
    pub(crate) text: &'static str,
    pub(crate) kind: Kind,
    /// Rows of a page.
    pub(crate) page_rows: i32,
}

/// Rows of a page where the statement does not say.
const PAGE_ROWS: i32 = 1000;

impl Cql {
    const fn new(text: &'static str, kind: Kind) -> Self {
        Self { text, kind, page_rows: PAGE_ROWS }
    }

    /// See [`Kind::Read`].
    pub(crate) const fn read(text: &'static str) -> Self {
        Self::new(text, Kind::Read)
    }

    /// See [`Kind::SerialRead`].
    pub(crate) const fn serial_read(text: &'static str) -> Self {
        Self::new(text, Kind::SerialRead)
    }

    /// See [`Kind::Write`]: writing it twice must be as writing it once.
    pub(crate) const fn write(text: &'static str) -> Self {
        Self::new(text, Kind::Write)
    }

    /// See [`Kind::Conditional`].
    pub(crate) const fn conditional(text: &'static str) -> Self {
        Self::new(text, Kind::Conditional)
    }

    /// The same by pages of that many rows, where rows are large.
    pub(crate) const fn by_pages_of(self, rows: i32) -> Self {
        Self { page_rows: rows, ..self }
    }

    /// Its text with the keyspace before each table that is named without one: Cassandra warns of prepared statements that
    /// leave it to the connection.
    pub(crate) fn within(&self, keyspace: &str) -> String {
        let mut text = String::with_capacity(self.text.len() + 4 * keyspace.len());
        let mut names_table = false;
        for word in self.text.split_inclusive(' ') {
            if names_table && !word.contains('.') {
                text.extend([keyspace, "."]);
            }
            text.push_str(word);
            names_table = matches!(word, "FROM " | "INTO " | "UPDATE ");
        }
        text
    }
}

/// A row that owns what it holds.
pub(crate) trait OwnedRow: for<'f, 'm> DeserializeRow<'f, 'm> + Send + 'static {}
impl<T> OwnedRow for T where T: for<'f, 'm> DeserializeRow<'f, 'm> + Send + 'static {}

/// Values of a statement.
pub(crate) trait Values: SerializeRow + Send + Sync {}
impl<T: SerializeRow + Send + Sync> Values for T {}

impl Scylla {
    /// The only row, or the first of a page.
    pub(crate) async fn row<T: OwnedRow>(
        &self,
        operation: &'static str,
        cql: &Cql,
        values: impl Values,
    ) -> Result<Option<T>, StoreError> {
        let (page, _) = self.page(operation, cql, &values, PagingState::start()).await?;
        page.maybe_first_row::<T>().map_err(|error| StoreError::corrupt(operation, error))
    }

    /// All rows, page after page: for partitions of a known bound.
    pub(crate) async fn rows<T: OwnedRow>(
        &self,
        operation: &'static str,
        cql: &Cql,
        values: impl Values,
    ) -> Result<Vec<T>, StoreError> {
        let mut rows = Vec::new();
        let mut from = PagingState::start();
        loop {
            let (page, next) = self.page_of(operation, cql, &values, from).await?;
            rows.extend(page);
            match next {
                PagingStateResponse::HasMorePages { state } => from = state,
                PagingStateResponse::NoMorePages => return Ok(rows),
            }
        }
    }

    /// One page of rows.
    pub(crate) async fn page_of<T: OwnedRow>(
        &self,
        operation: &'static str,
        cql: &Cql,
        values: &impl Values,
        from: PagingState,
    ) -> Result<(Vec<T>, PagingStateResponse), StoreError> {
        let (page, next) = self.page(operation, cql, values, from).await?;
        let corrupt = |error| StoreError::corrupt(operation, error);
        let typed = page.rows::<T>().map_err(|error| StoreError::corrupt(operation, error))?;
        let rows = typed.collect::<Result<Vec<T>, _>>().map_err(corrupt)?;
        Ok((rows, next))
    }

    /// All rows as they come: for what may be large. The next page is read while this one is used.
    pub(crate) async fn stream<T: OwnedRow>(
        &self,
        operation: &'static str,
        cql: &Cql,
        values: impl Values,
    ) -> Result<BoxStream<'static, Result<T, StoreError>>, StoreError> {
        let prepared = self.prepared(operation, cql).await?;
        let pager = self
            .session()
            .execute_iter(prepared, values)
            .await
            .map_err(|error| StoreError::unavailable(operation, error))?;
        let rows = pager.rows_stream::<T>().map_err(|error| StoreError::corrupt(operation, error))?;
        Ok(rows.map_err(move |error| StoreError::unavailable(operation, error)).boxed())
    }

    /// A write that may be done twice.
    pub(crate) async fn write(
        &self,
        operation: &'static str,
        cql: &Cql,
        values: impl Values,
    ) -> Result<(), StoreError> {
        debug_assert_eq!(cql.kind, Kind::Write, "{}", cql.text);
        let prepared = self.prepared(operation, cql).await?;
        let begun = Instant::now();
        let done = self.session().execute_unpaged(&prepared, values).await;
        let done = done.map(|_| ()).map_err(|error| write_failed(operation, error));
        self.measured(begun, done.as_ref().err());
        done
    }

    async fn page(
        &self,
        operation: &'static str,
        cql: &Cql,
        values: &(impl Values + ?Sized),
        from: PagingState,
    ) -> Result<(QueryRowsResult, PagingStateResponse), StoreError> {
        debug_assert!(matches!(cql.kind, Kind::Read | Kind::SerialRead), "{}", cql.text);
        let prepared = self.prepared(operation, cql).await?;
        let begun = Instant::now();
        let done = self.session().execute_single_page(&prepared, values, from).await;
        let done = done.map_err(|error| read_failed(operation, error));
        self.measured(begun, done.as_ref().err());
        let (result, next) = done?;
        let rows = result.into_rows_result().map_err(|error| StoreError::corrupt(operation, error))?;
        Ok((rows, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_a_statement_is_one_of_the_keyspace() {
        for (text, want) in [
            ("SELECT key FROM system.local", "SELECT key FROM system.local"),
            ("SELECT a FROM device WHERE b = ?", "SELECT a FROM ks.device WHERE b = ?"),
            (
                "INSERT INTO start (a) VALUES (?) IF NOT EXISTS",
                "INSERT INTO ks.start (a) VALUES (?) IF NOT EXISTS",
            ),
            (
                "BEGIN BATCH UPDATE trees USING TTL 9 SET a = ?; DELETE a FROM pages; APPLY BATCH",
                "BEGIN BATCH UPDATE ks.trees USING TTL 9 SET a = ?; DELETE a FROM ks.pages; APPLY BATCH",
            ),
        ] {
            assert_eq!(Cql::read(text).within("ks"), want);
        }
    }
}
