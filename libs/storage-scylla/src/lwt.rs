//! Conditional writes ("lightweight transactions"), and what came of one whose answer was lost.
//!
//! An answer may be lost although the write was done. Who needs to know reads the row at serial consistency: that
//! ends whatever is in flight in the partition first. To tell its own write from another's with the same number,
//! a writer puts a [`Stamp`] into the row.

use std::time::Instant;

use scylla::value::{CqlValue, Row};
use storage::{ErrorKind, StoreError};

use crate::{
    Scylla,
    error::{Failed, failed},
    statement::{Cql, Kind, Values},
};

/// What came of a conditional write.
#[derive(Debug)]
pub(crate) enum Lwt {
    /// It was done.
    Applied,
    /// Its condition did not hold; the row as it was found.
    NotApplied(LwtRow),
    /// Not known.
    Unknown(Unknown),
}

/// A conditional write of which it is not known whether it was done.
#[derive(Debug)]
pub(crate) struct Unknown {
    /// Whether its coordinator said that it gave up. Then a serial read that does not find the write says that it
    /// never will be done; otherwise it may be done a moment later.
    pub(crate) settled: bool,
    /// [`ErrorKind::TimedOut`], with the cause.
    pub(crate) error: StoreError,
}

/// The row that a conditional write found. Cassandra answers only the columns of the condition, or of the whole row
/// for `IF NOT EXISTS`, or none where there is no row; Scylla answers all columns, null where there is no row.
#[derive(Debug, Default)]
pub(crate) struct LwtRow(Vec<(String, CqlValue)>);

impl LwtRow {
    /// A column that has a value.
    pub(crate) fn value(&self, column: &str) -> Option<&CqlValue> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value)
    }

    /// A `bigint` that has a value.
    pub(crate) fn bigint(&self, column: &str) -> Option<i64> {
        self.value(column)?.as_bigint()
    }

    /// An `int` that has a value.
    pub(crate) fn int(&self, column: &str) -> Option<i32> {
        self.value(column)?.as_int()
    }

    /// A `text` that has a value.
    pub(crate) fn text(&self, column: &str) -> Option<&str> {
        self.value(column)?.as_text().map(String::as_str)
    }
}

impl Scylla {
    /// Runs a conditional write once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] where it is certain that nothing was written.
    pub(crate) async fn lwt(
        &self,
        operation: &'static str,
        cql: &Cql,
        values: impl Values,
    ) -> Result<Lwt, StoreError> {
        debug_assert_eq!(cql.kind, Kind::Conditional, "{}", cql.text);
        let prepared = self.prepared(operation, cql).await?;
        let begun = Instant::now();
        let result = match self.session().execute_unpaged(&prepared, values).await {
            Ok(result) => result,
            Err(error) => {
                let settled = match failed(&error) {
                    Failed::Undone => {
                        let error = StoreError::unavailable(operation, error);
                        self.measured(begun, Some(&error));
                        return Err(error);
                    }
                    Failed::InDoubt => true,
                    Failed::InFlight => false,
                };
                let error = StoreError { kind: ErrorKind::TimedOut, operation, source: Some(error.into()) };
                self.measured(begun, Some(&error));
                return Ok(Lwt::Unknown(Unknown { settled, error }));
            }
        };
        self.measured(begun, None);
        let corrupt = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::corrupt(operation, error);
        let rows = result.into_rows_result().map_err(|error| corrupt(error.into()))?;
        let row: Row = rows.first_row().map_err(|error| corrupt(error.into()))?;
        let named = rows.column_specs().iter().zip(row.columns);
        let mut applied = None;
        let mut found = LwtRow::default();
        for (column, value) in named {
            match (column.name(), value) {
                ("[applied]", Some(CqlValue::Boolean(value))) => applied = Some(value),
                (name, Some(value)) => found.0.push((name.to_owned(), value)),
                (_, None) => {}
            }
        }
        match applied {
            Some(true) => Ok(Lwt::Applied),
            Some(false) => Ok(Lwt::NotApplied(found)),
            None => Err(StoreError::corrupt(operation, "the answer does not say whether it was applied")),
        }
    }

    /// Runs a conditional write, and where its answer is lost asks `was_it_done` (a serial read that looks for the
    /// writer's own stamp) what came of it. Answers whether it was applied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`] where it stays unknown.
    pub(crate) async fn lwt_resolved<F>(
        &self,
        operation: &'static str,
        cql: &Cql,
        values: impl Values,
        was_it_done: impl FnOnce() -> F + Send,
    ) -> Result<bool, StoreError>
    where
        F: Future<Output = Result<Done, StoreError>> + Send,
    {
        match self.lwt(operation, cql, values).await? {
            Lwt::Applied => Ok(true),
            Lwt::NotApplied(_) => Ok(false),
            Lwt::Unknown(unknown) => match was_it_done().await {
                Ok(Done::Ours) => Ok(true),
                Ok(Done::Never) => Ok(false),
                Ok(Done::NotYet) if unknown.settled => Ok(false),
                // It may be done yet, or someone has written over it: what came of it is lost.
                Ok(Done::NotYet | Done::Overwritten) => Err(unknown.error),
                Err(error) => {
                    tracing::debug!(operation, %error, "outcome of a conditional write stays unknown");
                    Err(unknown.error)
                }
            },
        }
    }
}

/// What a serial read says of a conditional write whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// The row is as we wrote it.
    Ours,
    /// Another write took our place: ours was not and will not be done.
    Never,
    /// The row is as it was before.
    NotYet,
    /// The row has moved on by more than one write, which cannot be told apart.
    Overwritten,
}

/// A revision that tells its writer: a count of writes, and 24 random bits in which two writers of the same count
/// differ. It fits a `bigint` and a [`storage::Revision`], and grows with every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(pub(crate) u64);

/// Bits of a stamp that are random.
const RANDOM_BITS: u32 = 24;

impl Stamp {
    /// The first write of a row.
    pub(crate) fn first(operation: &'static str) -> Result<Self, StoreError> {
        Self(0).next(operation)
    }

    /// The write after this one.
    pub(crate) fn next(self, operation: &'static str) -> Result<Self, StoreError> {
        let random = getrandom::u32().map_err(|error| StoreError::unavailable(operation, error))?;
        let count = (self.count() + 1) << RANDOM_BITS;
        Ok(Self(count | u64::from(random >> (u32::BITS - RANDOM_BITS))))
    }

    /// How many writes there were, this one included. Also a timestamp of CQL for what follows from the row: the
    /// later write wins wherever it lands, however late.
    pub(crate) fn count(self) -> u64 {
        self.0 >> RANDOM_BITS
    }

    /// As a `bigint`.
    pub(crate) fn as_bigint(self) -> i64 {
        // The upper bit is never reached: counts end at 39 bits.
        self.0.cast_signed()
    }

    /// From a `bigint`.
    pub(crate) fn from_bigint(stored: i64) -> Self {
        Self(stored.cast_unsigned())
    }

    /// What a serial read that found `found` says of a write of this stamp over `before` (`None`: over no row).
    pub(crate) fn judge(self, before: Option<Self>, found: Option<Self>) -> Done {
        match found {
            Some(found) if found == self => Done::Ours,
            found if found == before => Done::NotYet,
            Some(found) if found.count() == self.count() => Done::Never,
            _ => Done::Overwritten,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_grows_and_tells_its_writer() {
        let first = Stamp::first("test").unwrap();
        assert_eq!(first.count(), 1);
        let (ours, theirs) = (first.next("test").unwrap(), Stamp(first.0 + (1 << RANDOM_BITS) + 1));
        assert!(ours > first);
        assert_eq!(ours.count(), 2);
        let later = theirs.next("test").unwrap();
        for (found, want) in [
            (Some(ours), Done::Ours),
            (Some(first), Done::NotYet),
            (Some(Stamp(ours.0 ^ 1)), Done::Never),
            (Some(later), Done::Overwritten),
            (None, Done::Overwritten),
        ] {
            assert_eq!(ours.judge(Some(first), found), want, "{found:?}");
        }
        assert_eq!(first.judge(None, None), Done::NotYet);
        assert_eq!(Stamp::from_bigint(ours.as_bigint()), ours);
    }
}
