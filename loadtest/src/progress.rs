//! What a running fleet has done so far.

use std::time::Duration;

use serde::Serialize;

/// A picture of the fleet, for progress bars.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// Devices of the fleet.
    pub devices: u32,
    /// Devices in a session or a download at this moment.
    pub active: u32,
    /// Devices that have an update accepted and not reported.
    pub updating: u32,
    /// Devices that reported success, and the server took the report.
    pub updated: u32,
    /// Devices whose last report was a failure.
    pub failed: u32,
    /// Devices that went silent for ever.
    pub silent: u32,
    /// Sessions that came to a good end.
    pub sessions: u64,
    /// Sessions that did not.
    pub sessions_broken: u64,
    /// Messages answered.
    pub messages: u64,
    /// Answers that were 503: the server asked to come later.
    pub turned_away: u64,
    /// Octets of packages.
    pub downloaded_octets: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// Over the last second or so.
    pub sessions_per_s: f64,
    /// Over the last second or so.
    pub messages_per_s: f64,
}
