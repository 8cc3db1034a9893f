//! Log lines on standard error: text for people, or one JSON object a line. Secrets are hidden in both, and each JSON
//! line names the pipeline, and what its thread says of itself (node, lane), at the top level.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::live::above_the_lines;
use crate::secret;

/// The pipeline of this process: also lines of threads that a library started name it.
static PIPELINE: OnceLock<String> = OnceLock::new();

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Whether it is text.
    pub fn is_text(self) -> bool {
        match self {
            Self::Auto => io::stderr().is_terminal(),
            Self::Text => true,
            Self::Json => false,
        }
    }
}

/// Standard error, aware of the live lines.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above_the_lines(|| io::stderr().write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The same without secrets: a line comes in one piece.
struct Hidden;

impl Write for Hidden {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        Stderr.write_all(secret::hide(&line).as_bytes()).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for Stderr {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl MakeWriter<'_> for Hidden {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// Starts logging to standard error. `RUST_LOG` filters it as usual; the default is `info`. Panics are lines too.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    // A second start (in tests) keeps the first logger.
    let _ = if format.is_text() {
        let builder = builder.with_writer(Hidden).with_target(false);
        builder.with_ansi(io::stderr().is_terminal()).compact().try_init()
    } else {
        builder.with_writer(Stderr).fmt_fields(JsonFields::new()).event_format(Json).try_init()
    };
    std::panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let backtrace = std::backtrace::Backtrace::capture();
    let shown = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
    let backtrace = shown.then(|| tracing::field::display(backtrace));
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    if thread == crate::format::container::THREAD {
        // It becomes an error that names the file.
        tracing::debug!(backtrace, thread, "{panic}");
        return;
    }
    tracing::error!(backtrace, thread, "{panic}");
}

/// From here on every JSON line names this pipeline.
pub fn name(pipeline: &str) {
    // Only one is run in a process.
    let _ = PIPELINE.set(pipeline.to_owned());
}

/// One JSON object a line.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Map::new();
        line.insert("timestamp".into(), time.into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        if let Some(pipeline) = PIPELINE.get() {
            line.insert("pipeline".into(), pipeline.as_str().into());
        }
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str());
            if let Some(Ok(Value::Object(fields))) = fields.map(serde_json::from_str) {
                line.extend(fields);
            }
        }
        event.record(&mut Fields(&mut line));
        line.insert("target".into(), event.metadata().target().into());
        line.values_mut().for_each(hide);
        writeln!(writer, "{}", Value::Object(line))
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let std::borrow::Cow::Owned(hidden) = secret::hide(text) {
                *text = hidden;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(fields) => fields.values_mut().for_each(hide),
        _ => {}
    }
}

/// A field whose name begins so holds JSON as text, because an event's fields are flat: it becomes that value, under
/// the name without this.
const NESTED: &str = "json.";

/// Fields of an event into an object.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let nested = field.name().strip_prefix(NESTED);
        match nested.and_then(|name| Some((name, serde_json::from_str::<Value>(value).ok()?))) {
            Some((name, nested)) => drop(self.0.insert(name.to_owned(), nested)),
            None => self.put(field, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged meanwhile, as JSON.
    fn logged(work: impl FnOnce()) -> String {
        let kept = Kept::default();
        let made = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || made.clone())
            .fmt_fields(JsonFields::new())
            .event_format(Json)
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_panic_is_a_line_without_the_secrets_of_its_message() {
        const SECRET: &str = "wombat-of-the-panic";
        let (own, before) = (std::thread::current().id(), std::panic::take_hook());
        // Other tests run at the same time: their panics are theirs.
        std::panic::set_hook(Box::new(move |panic| match std::thread::current().id() == own {
            true => log_panic(panic),
            false => before(panic),
        }));
        let panics = || {
            logged(|| {
                let message = format!("cannot log in with {SECRET}");
                assert!(std::panic::catch_unwind(|| panic!("{message}")).is_err());
            })
        };
        assert!(panics().contains(SECRET), "before it is known to be one, it is there");
        secret::keep(SECRET);
        let text = panics();
        assert!(text.contains("cannot log in with ***") && !text.contains(SECRET), "{text}");
    }

    #[test]
    fn json_in_a_field_is_a_value_and_hides_its_secrets() {
        secret::keep("numbat-in-an-object");
        let sums = r#"{"a":[{"n":1,"name":"of numbat-in-an-object"}]}"#;
        let text = logged(|| tracing::info!(json.sums = sums, json.half = "{\"a\":", plain = "{}", "done"));
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["sums"], serde_json::json!({ "a": [{ "n": 1, "name": "of ***" }] }));
        assert_eq!((&line["json.half"], &line["plain"]), (&Value::from("{\"a\":"), &Value::from("{}")));
    }

    #[test]
    fn a_line_is_one_object_with_what_its_thread_says() {
        secret::keep("quokka-smile");
        let text = logged(|| {
            let span = tracing::error_span!("stage", pipeline = "p", stage = "s", lane = 3usize);
            span.in_scope(|| {
                tracing::warn!(rows = 7, offset = -1, text = "a\"quokka-smile\"b", "it {}", "said\nso");
            });
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        let wanted = [
            ("level", Value::from("WARN")),
            ("pipeline", "p".into()),
            ("stage", "s".into()),
            ("lane", 3.into()),
            ("rows", 7.into()),
            ("offset", (-1).into()),
            ("text", "a\"***\"b".into()),
            ("message", "it said\nso".into()),
        ];
        for (name, value) in wanted {
            assert_eq!(line[name], value, "{name} in {text}");
        }
    }
}
