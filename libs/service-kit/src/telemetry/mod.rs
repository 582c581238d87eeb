//! Logs and traces. A log line is one fixed sentence, with facts as fields, to standard error; traces leave by OTLP.

mod format;
mod level;
pub mod otlp;

use std::io::IsTerminal as _;

use tracing_subscriber::{
    EnvFilter,
    fmt::{self, format::JsonFields},
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

use self::format::WithTrace;
use crate::settings::{LogFormat, TelemetrySettings};

pub use level::{FOR_MAX, Level, LevelError, LevelWish, LogLevel, follow_hang_ups, log_level};

/// Starts logging for the whole process. A second call changes nothing.
///
/// # Errors
///
/// When the level cannot be read; settings that were loaded have been checked for that.
pub fn init(settings: &TelemetrySettings) -> Result<(), String> {
    let (filter, handle) = reload::Layer::new(parse_filter(&settings.level)?);
    let is_human = match settings.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let begun = if is_human {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let format = WithTrace::human(fmt::format().with_ansi(colours));
        let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
        registry.with(layer.event_format(format)).try_init()
    } else {
        let json = fmt::format().json().flatten_event(true).with_current_span(true).with_span_list(false);
        let layer = fmt::layer().fmt_fields(JsonFields::new()).event_format(WithTrace::json(json));
        registry.with(layer.with_writer(std::io::stderr)).try_init()
    };
    // An error says that a subscriber is there already, which is what was asked for.
    if begun.is_ok() {
        LogLevel::begin(handle, &settings.level);
    }
    Ok(())
}

/// Reads a level such as `info` or `info,session_service=debug`.
pub(crate) fn parse_filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(level).map_err(|error| {
        format!("expected a level such as info or info,session_service=debug, got {level}: {error}")
    })
}
