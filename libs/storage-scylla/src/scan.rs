//! Whole tables, by ranges of tokens: in parallel, at a pace, and resumable.
//!
//! A statement of a scan names the partition key twice:
//!
//! ```text
//! const ALL: Cql = Cql::read("SELECT tenant, id FROM device WHERE token(tenant, id) > ? AND token(tenant, id) <= ?");
//! let mut position = ScanPosition::start(PARTS);
//! let mut pages = scylla.scan_table::<(String, String)>("scan devices", &ALL, &position, pace);
//! while let Some(page) = pages.try_next().await? {
//!     // ... use page.rows ...
//!     position.took(&page);
//! }
//! ```
//!
//! A scan sees each row that is there from its beginning to its end at least once; of a part that was not finished it
//! sees rows again when it is resumed.

use std::{collections::BTreeSet, fmt, num::NonZeroU32, str::FromStr, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use scylla::response::{PagingState, PagingStateResponse};
use storage::StoreError;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    Scylla,
    statement::{Cql, OwnedRow},
};

/// Tokens above `after`, up to and with `through`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRange {
    /// The token before the first.
    pub after: i64,
    /// The last token.
    pub through: i64,
}

/// The ring in `parts` ranges of the same size, which together are all tokens. (No partition has the smallest token.)
pub fn token_ranges(parts: NonZeroU32) -> impl Iterator<Item = TokenRange> {
    (0..parts.get()).map(move |part| token_range(part, parts))
}

fn token_range(part: u32, parts: NonZeroU32) -> TokenRange {
    let bound = |part: u32| {
        // Less than 2^64 above the smallest token, so it is a token.
        let above = (u128::from(part) * u128::from(u64::MAX)) / u128::from(parts.get());
        i64::try_from(i128::from(i64::MIN) + above.cast_signed()).unwrap_or(i64::MAX)
    };
    TokenRange { after: bound(part), through: bound(part + 1) }
}

/// How fast a scan may go.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Ranges read at once.
    pub parallel: usize,
    /// Rows a second at most, all ranges together; none is as fast as it goes.
    pub rows_per_second: Option<NonZeroU32>,
}

/// How far a scan has come. As text it can be kept and parsed again: the number of parts, the first part that is not
/// finished, and what is finished above it, such as `256:17,19,20`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPosition {
    parts: NonZeroU32,
    /// All parts below are finished.
    below: u32,
    /// Finished parts above.
    finished: BTreeSet<u32>,
}

/// Some rows of a scan.
#[derive(Debug)]
pub struct ScanPage<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The part that ends with this page.
    finishes: Option<u32>,
}

impl ScanPosition {
    /// The beginning of a scan in so many parts: some hundreds, so that one is read within seconds.
    pub fn start(parts: NonZeroU32) -> Self {
        Self { parts, below: 0, finished: BTreeSet::new() }
    }

    /// Notes that the rows of a page have been dealt with.
    pub fn took<T>(&mut self, page: &ScanPage<T>) {
        let Some(part) = page.finishes else { return };
        self.finished.insert(part);
        while self.finished.remove(&self.below) {
            self.below += 1;
        }
    }

    /// Whether all parts are finished.
    pub fn is_finished(&self) -> bool {
        self.below >= self.parts.get()
    }

    /// Parts finished, and all of them: for a line of progress.
    pub fn progress(&self) -> (u32, u32) {
        let above = u32::try_from(self.finished.len()).unwrap_or(u32::MAX);
        (self.below.saturating_add(above), self.parts.get())
    }

    fn left(&self) -> Vec<u32> {
        (self.below..self.parts.get()).filter(|part| !self.finished.contains(part)).collect()
    }
}

impl fmt::Display for ScanPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.parts, self.below)?;
        self.finished.iter().try_for_each(|part| write!(f, ",{part}"))
    }
}

/// A position that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("expected a position such as 256:17,19,20, got {0:?}")]
pub struct ScanPositionError(String);

impl FromStr for ScanPosition {
    type Err = ScanPositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (parts, done) = text.split_once(':')?;
            let mut numbers = done.split(',').map(str::parse::<u32>);
            let (parts, below) = (parts.parse::<NonZeroU32>().ok()?, numbers.next()?.ok()?);
            let finished = numbers.collect::<Result<BTreeSet<u32>, _>>().ok()?;
            let above = finished.iter().all(|part| (below + 1..parts.get()).contains(part));
            (below <= parts.get() && above).then_some(Self { parts, below, finished })
        };
        read().ok_or_else(|| ScanPositionError(text.to_owned()))
    }
}

impl Scylla {
    /// Reads what a scan has left, some ranges at once. Dropping the stream ends the scan.
    pub(crate) fn scan_table<T: OwnedRow>(
        &self,
        operation: &'static str,
        cql: &'static Cql,
        position: &ScanPosition,
        pace: Pace,
    ) -> BoxStream<'static, Result<ScanPage<T>, StoreError>> {
        let (scylla, parts) = (self.clone(), position.parts);
        let limit = Arc::new(RateLimit::new(pace.rows_per_second));
        stream::iter(position.left())
            .flat_map_unordered(pace.parallel.max(1), move |part| {
                scylla.clone().scan_part(operation, cql, (part, parts), Arc::clone(&limit))
            })
            .boxed()
    }

    fn scan_part<T: OwnedRow>(
        self,
        operation: &'static str,
        cql: &'static Cql,
        (part, parts): (u32, NonZeroU32),
        limit: Arc<RateLimit>,
    ) -> BoxStream<'static, Result<ScanPage<T>, StoreError>> {
        let range = token_range(part, parts);
        stream::try_unfold(Some(PagingState::start()), move |from| {
            let (scylla, limit) = (self.clone(), Arc::clone(&limit));
            async move {
                let Some(from) = from else { return Ok(None) };
                let values = (range.after, range.through);
                let (rows, next) = scylla.page_of(operation, cql, &values, from).await?;
                limit.wait(rows.len()).await;
                let next = match next {
                    PagingStateResponse::HasMorePages { state } => Some(state),
                    PagingStateResponse::NoMorePages => None,
                };
                let finishes = next.is_none().then_some(part);
                Ok(Some((ScanPage { rows, finishes }, next)))
            }
        })
        .boxed()
    }
}

/// So many rows a second, whoever reads them.
struct RateLimit {
    rows_per_second: Option<NonZeroU32>,
    next: Mutex<Instant>,
}

impl RateLimit {
    fn new(rows_per_second: Option<NonZeroU32>) -> Self {
        Self { rows_per_second, next: Mutex::new(Instant::now()) }
    }

    /// Waits until the rows read before are paid for, and charges these.
    async fn wait(&self, rows: usize) {
        let Some(rate) = self.rows_per_second else { return };
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let until = {
            let mut next = self.next.lock().await;
            let until = (*next).max(Instant::now());
            *next = until + Duration::from_secs(1) * rows / rate.get();
            until
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: u32) -> NonZeroU32 {
        NonZeroU32::new(parts).unwrap()
    }

    #[test]
    fn ranges_are_all_tokens_each_once() {
        for count in [1, 2, 3, 7, 256, 100_000] {
            let ranges: Vec<TokenRange> = token_ranges(parts(count)).collect();
            assert_eq!(ranges.len(), count as usize);
            assert_eq!((ranges[0].after, ranges[ranges.len() - 1].through), (i64::MIN, i64::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].through == pair[1].after));
            assert!(ranges.iter().all(|range| range.after < range.through));
        }
    }

    #[test]
    fn a_position_is_the_same_after_its_text() {
        let mut position = ScanPosition::start(parts(6));
        assert_eq!(position.to_string(), "6:0");
        for (part, text) in [(2, "6:0,2"), (0, "6:1,2"), (1, "6:3"), (5, "6:3,5"), (4, "6:3,4,5"), (3, "6:6")]
        {
            position.took(&ScanPage::<()> { rows: Vec::new(), finishes: Some(part) });
            position.took(&ScanPage::<()> { rows: Vec::new(), finishes: None });
            assert_eq!(position.to_string(), text);
            assert_eq!(text.parse::<ScanPosition>().unwrap(), position);
        }
        assert!(position.is_finished() && position.left().is_empty());
        for wrong in ["", "6", "0:0", "6:7", "6:3,3", "6:3,6", "6:a", "6:1,b"] {
            assert!(wrong.parse::<ScanPosition>().is_err(), "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rows_come_at_the_pace_asked_for() {
        let limit = RateLimit::new(NonZeroU32::new(100));
        let started = Instant::now();
        for _ in 0..5 {
            limit.wait(50).await;
        }
        assert_eq!(started.elapsed().as_millis(), 2000, "the first page waits for none before it");
    }
}
