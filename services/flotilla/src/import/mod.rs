//! Rosters of devices: read row by row, never whole.

mod rows;

pub(crate) use rows::{BadRow, Roster, RosterFormat};
