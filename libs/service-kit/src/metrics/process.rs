//! The process, by the names that every Prometheus client uses. Only where there is a `/proc`.

use std::{fs, path::Path};

use super::Metrics;

/// Shows processor time, memory, open files and the start of this process. Does nothing on a system without `/proc`.
pub fn show_process(metrics: &Metrics) {
    if !Path::new("/proc/self/stat").exists() {
        return;
    }
    metrics.counter_of("process_cpu_seconds_total", "Processor time that the process has used.", &[], || {
        Stat::read().map_or(0.0, |stat| stat.cpu_seconds)
    });
    metrics.gauge_of("process_resident_memory_bytes", "Memory that the process holds.", &[], || {
        Stat::read().map_or(f64::NAN, |stat| stat.resident_bytes)
    });
    metrics.gauge_of("process_start_time_seconds", "When the process began.", &[], || {
        Stat::read().and_then(|stat| Some(boot_seconds()? + stat.started_seconds)).unwrap_or(f64::NAN)
    });
    metrics.gauge_of("process_open_fds", "Open files and connections.", &[], || {
        fs::read_dir("/proc/self/fd").map_or(f64::NAN, |entries| as_f64(entries.count() as u64))
    });
    metrics.gauge_of("process_max_fds", "Files and connections that may be open.", &[], || {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.map_or(f64::INFINITY, as_f64)
    });
}

/// What `/proc/self/stat` says.
struct Stat {
    cpu_seconds: f64,
    resident_bytes: f64,
    /// After the machine's start.
    started_seconds: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// See proc(5). The name of the program, in parentheses, may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, after_name) = text.rsplit_once(')')?;
        let field = |number: usize| after_name.split_whitespace().nth(number - 3)?.parse::<u64>().ok();
        let ticks = as_f64(rustix::param::clock_ticks_per_second());
        Some(Self {
            cpu_seconds: as_f64(field(14)? + field(15)?) / ticks,
            resident_bytes: as_f64(field(24)?) * as_f64(rustix::param::page_size() as u64),
            started_seconds: as_f64(field(22)?) / ticks,
        })
    }
}

/// When the machine began, in seconds since 1970.
fn boot_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn as_f64(value: u64) -> f64 {
    value as f64
}
