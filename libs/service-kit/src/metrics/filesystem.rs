//! Room on the disk of the data directory.

use std::path::PathBuf;

use super::Metrics;

/// Shows how large the filesystem of the data directory is, and what is free of it for this process. A directory that
/// cannot be asked about shows as not-a-number.
pub fn show_filesystem(metrics: &Metrics, directory: PathBuf) {
    let of = directory.clone();
    metrics.gauge_of(
        "dm_data_filesystem_size_bytes",
        "Size of the filesystem that the data directory is on.",
        &[],
        move || room(&of).map_or(f64::NAN, |(size, _)| size),
    );
    metrics.gauge_of(
        "dm_data_filesystem_avail_bytes",
        "What is free of the filesystem that the data directory is on.",
        &[],
        move || room(&directory).map_or(f64::NAN, |(_, avail)| avail),
    );
}

/// Octets in all, and octets free for who is not root.
fn room(directory: &std::path::Path) -> Option<(f64, f64)> {
    let found = rustix::fs::statvfs(directory).ok()?;
    let unit = found.f_frsize as f64;
    Some((found.f_blocks as f64 * unit, found.f_bavail as f64 * unit))
}
