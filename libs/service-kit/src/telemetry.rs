//! Logs: one fixed sentence an event, facts as fields, to standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::settings::{LogFormat, TelemetrySettings};

/// Starts logging for the whole process. A second call changes nothing.
///
/// # Errors
///
/// When the level cannot be read; settings that were loaded have been checked for that.
pub fn init(settings: &TelemetrySettings) -> Result<(), String> {
    let filter = parse_filter(&settings.level)?;
    let is_human = match settings.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter);
    // The error says that a subscriber is there already, which is what was asked for.
    let _ = if is_human {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(colours)).try_init()
    } else {
        let layer = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
        registry.with(layer.with_writer(std::io::stderr)).try_init()
    };
    Ok(())
}

/// Reads a level such as `info` or `info,session_service=debug`.
pub(crate) fn parse_filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(level).map_err(|error| {
        format!("expected a level such as info or info,session_service=debug, got {level}: {error}")
    })
}
