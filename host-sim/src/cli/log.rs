//! The log on standard error: lines for people or JSON objects for programs, in both without secrets.
//!
//! What an extension logs passes here, too, and may quote anybody; [`host_sim::redaction`] says what is not written.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::ValueEnum;
use host_sim::redaction::{REDACTED, is_secret, redact};
use host_sim::telemetry::spans::Spans;
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::arguments::Options;

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people
    #[default]
    Text,
    /// A JSON object with time, level, target, message, fields and spans
    Json,
}

impl LogFormat {
    /// Reads a format as it is typed.
    pub(crate) fn of(word: &OsStr) -> Option<Self> {
        Self::from_str(word.to_str()?, false).ok()
    }
}

/// Sends the log to standard error, where `RUST_LOG` overrides the options, and keeps spans for a collector, if there is one.
pub(crate) fn install(options: &Options, spans: Option<&Arc<Spans>>) {
    let level = match options.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    subscriber(options.log_format.unwrap_or_default(), filter, spans).init();
}

fn subscriber(format: LogFormat, filter: EnvFilter, spans: Option<&Arc<Spans>>) -> impl Subscriber + Send + Sync {
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = match format {
        LogFormat::Text => log.fmt_fields(Fields(LogFormat::Text)).with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => log.fmt_fields(Fields(LogFormat::Json)).event_format(JsonLines).boxed(),
    };
    // A layer without a filter of its own, though it is none, wants everything that the others do not: then every span and event
    // of every extension is made and carried to this program, to be dropped here.
    let collected = if spans.is_some() { LevelFilter::INFO } else { LevelFilter::OFF };
    let spans = spans.map(|spans| spans.layer()).with_filter(collected);
    tracing_subscriber::registry().with(log.with_filter(filter)).with(spans)
}

/// Writes fields without secrets.
struct Fields(LogFormat);

/// Writes an event as a JSON object on a line.
struct JsonLines;

/// Fields as they may be written, in their order.
#[derive(Default)]
struct Collected(Map<String, Json>);

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut collected = Collected::default();
        fields.record(&mut collected);
        match self.0 {
            LogFormat::Json => write!(writer, "{}", Json::Object(collected.0)),
            LogFormat::Text => write!(writer, "{}", collected.text()),
        }
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let mut collected = Collected::default();
        if self.0 == LogFormat::Json
            && let Ok(Json::Object(held)) = serde_json::from_str(&current.fields)
        {
            collected.0 = held;
        }
        fields.record(&mut collected);
        match self.0 {
            LogFormat::Json => current.fields = Json::Object(collected.0).to_string(),
            LogFormat::Text => {
                let gap = if current.fields.is_empty() { "" } else { " " };
                let _ = write!(current.fields, "{gap}{}", collected.text());
            }
        }
        Ok(())
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Collected::default();
        event.record(&mut fields);
        let message = fields.0.shift_remove("message").unwrap_or(Json::Null);
        let spans = context.event_scope().into_iter().flat_map(|scope| scope.from_root());
        let spans: Vec<Json> = spans
            .map(|span| {
                let extensions = span.extensions();
                let held = extensions.get::<FormattedFields<N>>().map_or("{}", |held| held.fields.as_str());
                json!({"name": span.name(), "fields": serde_json::from_str(held).unwrap_or(Json::Null)})
            })
            .collect();
        let metadata = event.metadata();
        let time = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let line = json!({"time": time, "level": metadata.level().as_str(), "target": metadata.target(),
            "message": message, "fields": fields.0, "spans": spans});
        writeln!(writer, "{line}")
    }
}

impl Collected {
    fn put(&mut self, field: &Field, value: impl FnOnce() -> Json) {
        let value = if is_secret(field.name()) { REDACTED.into() } else { value() };
        self.0.insert(field.name().to_owned(), value);
    }

    /// Writes the message and then the other fields, as people read them.
    fn text(&self) -> String {
        let message = self.0.get("message").and_then(Json::as_str).map(shown);
        let others = self.0.iter().filter(|(name, _)| *name != "message");
        let others = others.map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name}={}", shown(text)),
            None => format!("{name}={value}"),
        });
        message.into_iter().chain(others).collect::<Vec<_>>().join(" ")
    }
}

impl Visit for Collected {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, || redact(&format!("{value:?}")).into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, || redact(value).into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, || value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, || value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, || value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, || value.into());
    }
}

/// Gives a text in one line, without what a terminal would obey.
fn shown(text: &str) -> String {
    text.replace('\n', "; ").chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{Level, Metadata};
    use tracing_core::Kind;
    use tracing_core::callsite::DefaultCallsite;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(format: LogFormat, work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let log = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(lines.clone());
        match format {
            LogFormat::Text => {
                let log = log.fmt_fields(Fields(format)).with_ansi(false).finish();
                tracing::subscriber::with_default(log, work);
            }
            LogFormat::Json => {
                let log = log.fmt_fields(Fields(format)).event_format(JsonLines).finish();
                tracing::subscriber::with_default(log, work);
            }
        }
        let bytes = lines.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    fn work() {
        let span = tracing::info_span!("request", verb = "run", token = "s3cret", late = tracing::field::Empty);
        let _inside = span.enter();
        span.record("late", 7);
        span.record("late", "hmjoin1.n1.aa.s3cret");
        tracing::warn!(count = 3, api_key = 9_876, peer = ?"x\u{1b}[2J", "cannot ask http://me:s3cret@host/a");
    }

    #[test]
    fn what_nobody_wants_to_see_is_told_so_at_its_callsite() {
        static CALLSITE: DefaultCallsite = DefaultCallsite::new(&METADATA);
        static METADATA: Metadata<'static> = tracing_core::metadata! {
            name: "poll", target: "plugin", level: Level::DEBUG, fields: &[], callsite: &CALLSITE, kind: Kind::SPAN
        };
        let spans = Arc::default();
        let interest = |level, spans: Option<&Arc<Spans>>| {
            let dispatch = tracing::Dispatch::new(subscriber(LogFormat::Text, EnvFilter::new(level), spans));
            dispatch.register_callsite(&METADATA)
        };
        assert!(interest("warn", None).is_never() && interest("info", Some(&spans)).is_never());
        assert!(!interest("debug", None).is_never(), "and who asks for it gets it");
    }

    #[test]
    fn a_line_is_a_json_object_without_secrets() {
        let text = logged(LogFormat::Json, work);
        let line: Json = serde_json::from_str(&text).expect("one object on one line");
        assert!(!text.contains("s3cret") && !text.contains("9876"), "{text}");
        assert!(OffsetDateTime::parse(line["time"].as_str().expect("a time"), &Rfc3339).is_ok());
        assert_eq!(line["message"], "cannot ask http://[redacted]@host/a");
        assert_eq!(
            (&line["level"], &line["fields"]),
            (&json!("WARN"), &json!({"count": 3, "api_key": REDACTED, "peer": "\"x\\u{1b}[2J\""}))
        );
        let fields = json!({"verb": "run", "token": REDACTED, "late": REDACTED});
        assert_eq!(line["spans"], json!([{"name": "request", "fields": fields}]));
    }

    #[test]
    fn a_line_for_people_has_no_secrets_either() {
        let text = logged(LogFormat::Text, work);
        assert!(!text.contains("s3cret") && !text.contains("9876") && text.lines().count() == 1, "{text}");
        let message = "cannot ask http://[redacted]@host/a count=3 api_key=[redacted] peer=\"x\\u{1b}[2J\"";
        assert!(
            text.contains(message) && text.contains("request{verb=run token=[redacted] late=7 late=[redacted]}"),
            "{text}"
        );
        let text = logged(LogFormat::Text, || tracing::warn!("a\nb\u{1b}c"));
        assert!(text.ends_with("a; b\u{fffd}c\n"), "{text}");
    }
}
