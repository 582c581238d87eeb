//! The report as a page: one file, no script, readable in the light and in the dark.

use std::fmt::Write as _;

use crate::{
    plot::{Curve, Plot, Scale},
    report::{Ending, FleetReport},
};

const STYLE: &str = include_str!("report.css");

pub(crate) fn page(report: &FleetReport) -> String {
    let mut out = String::with_capacity(64 * 1024);
    let title = format!("{} simulated devices", thousands(u64::from(report.devices)));
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Flotilla: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    header(&mut out, report, &title);
    tiles(&mut out, report);
    plots(&mut out, report);
    tables(&mut out, report);
    notes(&mut out, report);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn header(out: &mut String, report: &FleetReport, title: &str) {
    let ended = match report.ended_by {
        Ending::Cancelled => "ended when told to",
        Ending::Duration => "ended with its time",
        Ending::Settled => "ended with its last device settled",
    };
    let _ = write!(
        out,
        "<header>\n<h1>{title}</h1>\n<p>against <code>{}</code>, seed {}, from {} for {}; {ended}</p>\n</header>\n",
        escape(&report.url),
        report.seed,
        report.started.strftime("%Y-%m-%d %H:%M:%S UTC"),
        seconds(report.duration_ms),
    );
}

fn tiles(out: &mut String, report: &FleetReport) {
    let last = report.samples.last().cloned().unwrap_or_default();
    let exec = report.execs.max_per_correlator;
    let tiles = [
        ("Updated", thousands(u64::from(last.updated)), "devices with success reported", ""),
        ("Failed", thousands(u64::from(last.failed)), "devices whose last report was a failure", ""),
        ("Sessions", format!("{:.0}/s", report.sessions.per_s), "mean of the run", ""),
        ("Peak", format!("{:.0}/s", report.sessions.per_s_peak), "sessions in the best interval", ""),
        ("Median answer", micros(report.latency_us.p50), "message to answer", ""),
        ("99 % answer", micros(report.latency_us.p99), "message to answer", ""),
        (
            "Execs an attempt",
            exec.to_string(),
            if exec > 1 { "an attempt ran twice" } else { "the most any device saw" },
            if exec > 1 { " bad" } else { "" },
        ),
    ];
    out.push_str("<section class=\"tiles\">\n");
    for (name, value, what, class) in tiles {
        let _ = writeln!(
            out,
            "<div class=\"tile{class}\"><span>{name}</span><strong>{value}</strong><small>{what}</small></div>"
        );
    }
    out.push_str("</section>\n");
}

fn plots(out: &mut String, report: &FleetReport) {
    let row_s = report.sample_ms as f64 / 1_000.0;
    let at = |index: usize| (index + 1) as f64 * row_s;
    let over_time = |value: &dyn Fn(&crate::report::Sample) -> f64| -> Vec<(f64, f64)> {
        report.samples.iter().enumerate().map(|(index, sample)| (at(index), value(sample))).collect()
    };
    let is_busy = |sample: &crate::report::Sample| sample.p99_us > 0;
    let latency = |value: &dyn Fn(&crate::report::Sample) -> u64| -> Vec<(f64, f64)> {
        let rows = report.samples.iter().enumerate().filter(|(_, sample)| is_busy(sample));
        rows.map(|(index, sample)| (at(index), value(sample) as f64 / 1_000.0)).collect()
    };
    out.push_str("<section class=\"plots\">\n");
    let mut finish = vec![(0.0, 0.0)];
    finish.extend(over_time(&|sample| f64::from(sample.updated)));
    let mut failed = vec![(0.0, 0.0)];
    failed.extend(over_time(&|sample| f64::from(sample.failed)));
    figure(
        out,
        "Finish curve",
        "devices that reported an end, over seconds",
        &Plot {
            unit: "devices",
            x_unit: "s",
            x: Scale::Linear,
            y: Scale::Linear,
            curves: vec![Curve::new("updated", 1, finish), Curve::new("failed", 2, failed)],
        },
    );
    figure(
        out,
        "Work",
        "per second, over seconds",
        &Plot {
            unit: "/s",
            x_unit: "s",
            x: Scale::Linear,
            y: Scale::Linear,
            curves: vec![
                Curve::new("sessions", 1, over_time(&|sample| sample.sessions as f64 / row_s)),
                Curve::new("messages", 3, over_time(&|sample| sample.messages as f64 / row_s)),
                Curve::new("errors", 2, over_time(&|sample| sample.errors as f64 / row_s)),
            ],
        },
    );
    figure(
        out,
        "Time of an answer",
        "milliseconds, over seconds",
        &Plot {
            unit: "ms",
            x_unit: "s",
            x: Scale::Linear,
            y: Scale::Log,
            curves: vec![
                Curve::new("median", 1, latency(&|sample| sample.p50_us)),
                Curve::new("99 %", 2, latency(&|sample| sample.p99_us)),
            ],
        },
    );
    let percentiles = |curve: &[(f64, u64)]| -> Vec<(f64, f64)> {
        // The axis counts nines, so that the rare slow answers have room.
        let nines = |percentile: f64| -((100.0 - percentile) / 100.0).log10();
        curve.iter().map(|&(percentile, us)| (nines(percentile), us.max(1) as f64 / 1_000.0)).collect()
    };
    figure(
        out,
        "Percentiles of an answer's time",
        "milliseconds, over the share of answers that were faster",
        &Plot {
            unit: "ms",
            x_unit: "",
            x: Scale::Nines,
            y: Scale::Log,
            curves: vec![
                Curve::new("answer", 1, percentiles(&report.latency_us.curve)),
                Curve::new("with the generator's wait", 3, percentiles(&report.latency_with_wait_us.curve)),
            ],
        },
    );
    out.push_str("</section>\n");
}

fn figure(out: &mut String, title: &str, what: &str, plot: &Plot) {
    let _ = writeln!(out, "<figure>\n<figcaption><b>{title}</b> <span>{what}</span></figcaption>");
    plot.draw(out);
    out.push_str("</figure>\n");
}

fn tables(out: &mut String, report: &FleetReport) {
    out.push_str("<section class=\"tables\">\n");
    let count = |(name, count): (&String, &u64)| (name.clone(), thousands(*count));
    table(out, "What became of the devices", report.outcomes.iter().map(count));
    table(out, "Versions, by the devices' own trees", report.versions.iter().map(count));
    let codes = report.reports.iter().map(|(code, count)| (code.to_string(), thousands(*count)));
    table(out, "Reports the server took, by result code", codes);
    table(out, "Faults injected", report.faults_injected.iter().map(count));
    table(out, "Answers by HTTP status", report.answers.iter().map(count));
    table(out, "Sessions that broke", report.sessions.broken.iter().map(count));
    let (downloads, execs) = (&report.downloads, &report.execs);
    let rows = [
        ("whole and good", thousands(downloads.done)),
        ("SHA-256 checked", thousands(downloads.digests_checked)),
        ("without a digest to check", thousands(downloads.digests_unknown)),
        ("resumed after a break", thousands(downloads.resumed)),
        ("given up", thousands(downloads.failed)),
        ("octets", thousands(downloads.octets)),
    ];
    table(out, "Packages", rows.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let rows = [
        ("orders (correlator and operation)", thousands(execs.orders)),
        ("Execs received", thousands(execs.received)),
        ("most for one order", execs.max_per_correlator.to_string()),
    ];
    table(
        out,
        "Execs, by the devices' own counters",
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)),
    );
    for (name, latency) in
        [("Answer", &report.latency_us), ("With the generator's wait", &report.latency_with_wait_us)]
    {
        let rows = [
            ("answers", thousands(latency.count)),
            ("mean", micros(latency.mean as u64)),
            ("50 %", micros(latency.p50)),
            ("90 %", micros(latency.p90)),
            ("99 %", micros(latency.p99)),
            ("99.9 %", micros(latency.p999)),
            ("largest", micros(latency.max)),
        ];
        table(out, name, rows.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    let models = report.models.iter().flat_map(|(model, versions)| {
        versions.iter().map(move |(version, count)| (format!("{model}: {version}"), thousands(*count)))
    });
    table(out, "Versions by model", models);
    let notes = report.notes.iter().cloned();
    table_of(out, "wide", "Beside the fleet", notes);
    out.push_str("</section>\n");
}

fn table(out: &mut String, title: &str, rows: impl Iterator<Item = (String, String)>) {
    table_of(out, "narrow", title, rows);
}

fn table_of(out: &mut String, class: &str, title: &str, rows: impl Iterator<Item = (String, String)>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let _ = writeln!(out, "<div class=\"{class}\"><h2>{title}</h2>\n<table>");
    for (name, value) in rows {
        let _ = writeln!(out, "<tr><td>{}</td><td>{}</td></tr>", escape(&name), escape(&value));
    }
    out.push_str("</table></div>\n");
}

fn notes(out: &mut String, report: &FleetReport) {
    out.push_str(
        "<section class=\"notes\">\n<h2>How to read the times</h2>\n<p>A device sends its next message only after the \
         answer to the one before, and the generator runs a bounded number of devices at a time. A slow server thus \
         slows its own load down, and the plain percentiles leave out the messages that were never sent meanwhile \
         (coordinated omission). “With the generator's wait” adds to the first message of each visit the time that \
         its device stood in the queue after its visit was due, so that no such time is lost.</p>\n",
    );
    if !report.execs.repeated.is_empty() {
        out.push_str("<h2>Orders that came more than once</h2>\n<ul>\n");
        for line in &report.execs.repeated {
            let _ = writeln!(out, "<li><code>{}</code></li>", escape(line));
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</section>\n");
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `12,345`
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn seconds(ms: u64) -> String {
    match ms {
        0..120_000 => format!("{:.1} s", ms as f64 / 1e3),
        _ => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
    }
}
