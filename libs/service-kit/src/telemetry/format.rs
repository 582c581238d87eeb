//! Log lines that say which trace they belong to.

use std::fmt::{self, Write as _};

use trace::Traceparent;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// A format with `trace_id` and `span_id` at the end of a line, where the line is part of a trace.
pub(super) struct WithTrace<F> {
    inner: F,
    is_json: bool,
}

impl<F> WithTrace<F> {
    pub(super) fn json(inner: F) -> Self {
        Self { inner, is_json: true }
    }

    pub(super) fn human(inner: F) -> Self {
        Self { inner, is_json: false }
    }

    /// Adds the context to a line that is written.
    fn append(&self, line: &mut String, context: Traceparent) -> fmt::Result {
        let end = line.trim_end().len();
        line.truncate(end);
        let (trace, span) = (Hex(&context.trace), Hex(&context.span));
        if !self.is_json {
            // What a person searches for; the span is found in the trace.
            return writeln!(line, " trace_id={trace}");
        }
        if line.pop() != Some('}') {
            return Err(fmt::Error);
        }
        let comma = if line.ends_with('{') { "" } else { "," };
        writeln!(line, "{comma}\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}")
    }
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(position) = trace::current() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        self.append(&mut line, position)?;
        writer.write_str(&line)
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_its_trace_in_either_form() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context: Traceparent = text.parse().unwrap();
        let append = |format: WithTrace<()>, line: &str| {
            let mut line = line.to_owned();
            format.append(&mut line, context).map(|()| line)
        };
        let ids = r#""trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331"}"#;
        let json = |line| append(WithTrace::json(()), line);
        assert_eq!(json("{\"a\":1}\n").unwrap(), format!("{{\"a\":1,{ids}\n"));
        assert_eq!(json("{}\n").unwrap(), format!("{{{ids}\n"));
        assert!(json("no object\n").is_err());
        let human = append(WithTrace::human(()), "INFO serving roles=all\n").unwrap();
        assert_eq!(human, "INFO serving roles=all trace_id=0af7651916cd43dd8448eb211c80319c\n");
    }
}
