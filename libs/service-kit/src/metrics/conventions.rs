//! What names and labels of metrics must be like: Prometheus' conventions, and bounds that keep series few.
//!
//! Checked where a metric is made, in builds with debug assertions: a name that breaks them fails the first test that
//! makes it.

/// What our own names begin with. `process_` is what every Prometheus client calls the same things.
const PREFIXES: [&str; 2] = ["dm_", "process_"];

/// Units that are not base units, and what says nothing beside the kind.
const SUFFIXES_REFUSED: [&str; 15] = [
    "_ms",
    "_us",
    "_ns",
    "_milliseconds",
    "_microseconds",
    "_minutes",
    "_hours",
    "_days",
    "_kilobytes",
    "_megabytes",
    "_octets",
    "_bucket",
    "_sum",
    "_counter",
    "_gauge",
];

/// Labels without a bound: whose values come with devices, campaigns and sessions, or from outside.
const LABELS_REFUSED: [&str; 10] = [
    "device",
    "device_id",
    "campaign",
    "campaign_id",
    "session",
    "session_id",
    "address",
    "path",
    "le",
    "quantile",
];

/// Says what is wrong with a metric of this name, meaning and these labels.
pub(super) fn check(name: &str, help: &str, labels: &[&str]) -> Result<(), String> {
    let refuse = |why: &str| Err(why.to_owned());
    if !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return refuse("expected a name that begins with dm_");
    }
    if !is_snake_case(name) {
        return refuse("expected lower-case words joined by _");
    }
    if let Some(suffix) = SUFFIXES_REFUSED.iter().find(|suffix| name.ends_with(*suffix)) {
        return Err(format!("expected a base unit (seconds, bytes) and no kind in the name, got {suffix}"));
    }
    if !help.ends_with('.') {
        return refuse("expected a meaning that is a sentence");
    }
    for label in labels {
        if !is_snake_case(label) {
            return Err(format!("expected a label of lower-case words joined by _, got {label}"));
        }
        if LABELS_REFUSED.contains(label) {
            return Err(format!("expected labels with a closed set of values, got {label}"));
        }
    }
    Ok(())
}

fn is_snake_case(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.starts_with(|first: char| first.is_ascii_lowercase()) && text.split('_').all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_held_to_the_conventions() {
        for (name, help, labels, ok) in [
            ("dm_messages_total", "Messages.", &["direction", "result"][..], true),
            ("process_open_fds", "Open files.", &[], true),
            ("dm_tls_certificate_expiry_timestamp_seconds", "When it ends.", &["listener"], true),
            ("flotilla_messages_total", "Messages.", &[], false),
            ("dm_messageDuration", "Time.", &[], false),
            ("dm__messages", "Messages.", &[], false),
            ("dm_wait_ms", "Time.", &[], false),
            ("dm_sent_kilobytes", "Size.", &[], false),
            ("dm_messages_total", "Messages", &[], false),
            ("dm_messages_total", "Messages.", &["device_id"], false),
            ("dm_campaign_devices", "Devices.", &["campaign"], false),
            ("dm_messages_total", "Messages.", &["Result"], false),
        ] {
            assert_eq!(check(name, help, labels).is_ok(), ok, "{name} {help} {labels:?}");
        }
    }
}
