//! Takes spans and events of extensions and gives them to this program's own `tracing` subscriber.
//!
//! `tracing` wants static metadata, so each callsite of an extension is leaked once. Callsites are told apart by their
//! content and not by their address, or every new generation of a library would leak all of them again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use hypermesh_abi::records::{Callsite, Fields};
use tracing::callsite::Identifier;
use tracing::field::{FieldSet, Value};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Span};
use tracing_core::{Callsite as CallsiteTrait, Kind};

/// Callsites that are remembered; what a runaway extension registers beyond is not traced.
const CALLSITES_MAX: usize = 16_384;
/// Spans open at the same time; what is opened beyond is not traced.
const SPANS_MAX: usize = 65_536;
/// Fields of one span or event that are passed on.
const FIELDS_MAX: usize = 16;

static BRIDGE: LazyLock<Mutex<Bridge>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Bridge {
    callsites: BTreeMap<Callsite, u64>,
    metadata: Vec<&'static Metadata<'static>>,
    spans: HashMap<u64, Span>,
    next_span: u64,
}

/// A callsite of an extension, leaked. Its interest is asked anew each time, since that is what filters by level need.
struct Leaked {
    metadata: std::sync::OnceLock<Metadata<'static>>,
}

impl CallsiteTrait for Leaked {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get().expect("set before the callsite is given to anyone")
    }
}

/// Registers a callsite; answers its number from 1, or 0 if there are too many.
pub(crate) fn register(callsite: Callsite) -> u64 {
    let mut bridge = bridge();
    if let Some(known) = bridge.callsites.get(&callsite) {
        return *known;
    }
    if bridge.metadata.len() >= CALLSITES_MAX {
        return 0;
    }
    let metadata = leak(&callsite);
    bridge.metadata.push(metadata);
    let number = bridge.metadata.len() as u64;
    bridge.callsites.insert(callsite, number);
    number
}

/// Says whether anybody listens.
///
/// A registry whose layers have filters of their own says yes to everything when it is asked `enabled`, since it lets each layer
/// decide later; only what it answers for the callsite is what they say together.
pub(crate) fn enabled(callsite: u64) -> bool {
    let listens = |metadata| {
        tracing::dispatcher::get_default(|dispatch| {
            let interest = dispatch.register_callsite(metadata);
            interest.is_always() || interest.is_sometimes() && dispatch.enabled(metadata)
        })
    };
    metadata(callsite).is_some_and(listens)
}

/// Opens a span; answers its number, or 0.
pub(crate) fn open_span(callsite: u64, parent: u64, fields: &Fields) -> u64 {
    let Some(metadata) = metadata(callsite) else { return 0 };
    // Filters of single layers decide when they are asked, and a span that is made unasked gets the decision on another.
    if !tracing::dispatcher::get_default(|dispatch| dispatch.enabled(metadata)) {
        return 0;
    }
    let parent = span(parent);
    let opened = with_values(metadata, fields, |values| match parent.and_then(|parent| parent.id()) {
        Some(parent) => Span::child_of(parent, metadata, values),
        None => Span::new_root(metadata, values),
    });
    keep(opened)
}

/// Gives an open span of the host a number that extensions can name as a parent.
pub(crate) fn keep(span: Span) -> u64 {
    let mut bridge = bridge();
    if span.is_disabled() || bridge.spans.len() >= SPANS_MAX {
        return 0;
    }
    bridge.next_span += 1;
    let number = bridge.next_span;
    bridge.spans.insert(number, span);
    number
}

/// Closes a span.
pub(crate) fn close_span(number: u64) {
    // The span is dropped after the lock, since that runs the subscriber.
    let closed = bridge().spans.remove(&number);
    drop(closed);
}

/// Emits an event.
pub(crate) fn event(callsite: u64, parent: u64, fields: &Fields) {
    let Some(metadata) = metadata(callsite) else { return };
    if !tracing::dispatcher::get_default(|dispatch| dispatch.enabled(metadata)) {
        return;
    }
    let parent = span(parent).and_then(|parent| parent.id());
    with_values(metadata, fields, |values| Event::child_of(parent, metadata, values));
}

fn bridge() -> MutexGuard<'static, Bridge> {
    BRIDGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn metadata(callsite: u64) -> Option<&'static Metadata<'static>> {
    bridge().metadata.get((callsite as usize).checked_sub(1)?).copied()
}

fn span(number: u64) -> Option<Span> {
    bridge().spans.get(&number).cloned()
}

fn leak(callsite: &Callsite) -> &'static Metadata<'static> {
    let text = |text: &str| -> &'static str { Box::leak(text.replace(char::is_control, "\u{fffd}").into_boxed_str()) };
    let leaked: &'static Leaked = Box::leak(Box::new(Leaked { metadata: std::sync::OnceLock::new() }));
    let fields: Vec<&'static str> = callsite.fields.iter().take(FIELDS_MAX).map(|name| text(name)).collect();
    let level = match callsite.level {
        1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        _ => Level::TRACE,
    };
    let metadata = leaked.metadata.get_or_init(|| {
        Metadata::new(
            text(&callsite.name),
            text(&callsite.target),
            level,
            callsite.file.as_deref().map(text),
            callsite.line,
            None,
            FieldSet::new(Box::leak(fields.into_boxed_slice()), Identifier(leaked)),
            if callsite.is_span { Kind::SPAN } else { Kind::EVENT },
        )
    });
    tracing_core::callsite::register(leaked);
    metadata
}

/// Calls with the values in an array of the one length that the public interface of `tracing` takes from us.
fn with_values<T>(
    metadata: &'static Metadata<'static>,
    fields: &Fields,
    call: impl FnOnce(&tracing::field::ValueSet<'_>) -> T,
) -> T {
    let set = metadata.fields();
    let Some(first) = set.iter().next() else { return call(&set.value_set::<[_; 0]>(&[])) };
    let mut known: Vec<_> = set.iter().take(FIELDS_MAX).collect();
    known.resize_with(FIELDS_MAX, || first.clone());
    let texts: [Option<&str>; FIELDS_MAX] = std::array::from_fn(|place| {
        // Places beyond the callsite's own fields repeat the first field without a value.
        let name = set.iter().nth(place)?;
        fields.values.iter().find(|(key, _)| key == name.name()).map(|(_, value)| value.as_str())
    });
    let displayed: [Option<tracing::field::DisplayValue<&str>>; FIELDS_MAX] =
        texts.map(|text| text.map(tracing::field::display));
    let values: [(&tracing::field::Field, Option<&dyn Value>); FIELDS_MAX] =
        std::array::from_fn(|place| (&known[place], displayed[place].as_ref().map(|value| value as &dyn Value)));
    call(&set.value_set(&values))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn events_of_an_extension_nest_under_spans_of_the_host() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .without_time()
            .with_ansi(false)
            .with_max_level(Level::INFO)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let request = tracing::info_span!("request", id = 42);
            let parent = keep(request);
            let callsite = |is_span, level, name: &str, fields: &[&str]| {
                let fields = fields.iter().map(ToString::to_string).collect();
                register(Callsite {
                    is_span,
                    level,
                    name: name.into(),
                    target: "plugin".into(),
                    fields,
                    ..Callsite::default()
                })
            };
            let fields = |pairs: &[(&str, &str)]| Fields {
                values: pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            };
            let span = open_span(callsite(true, 3, "resolve", &["package"]), parent, &fields(&[("package", "vec3")]));
            event(
                callsite(false, 3, "event", &["message", "count"]),
                span,
                &fields(&[("message", "done"), ("count", "3")]),
            );
            let quiet = callsite(false, 5, "event", &["message"]);
            assert!(!enabled(quiet));
            event(quiet, span, &fields(&[("message", "unheard")]));
            close_span(span);
            close_span(parent);
        });
        let text = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("text");
        assert_eq!(text, " INFO request{id=42}:resolve{package=vec3}: plugin: done count=3\n");
    }

    #[test]
    fn what_no_layer_wants_is_not_asked_for() {
        use tracing_subscriber::Layer as LayerOf;
        use tracing_subscriber::filter::LevelFilter;
        use tracing_subscriber::layer::SubscriberExt as _;
        use tracing_subscriber::registry::LookupSpan;

        let at = |level| register(Callsite { is_span: true, level, name: "level".into(), ..Callsite::default() });
        fn layer<S: tracing::Subscriber + for<'a> LookupSpan<'a>>(level: LevelFilter) -> impl LayerOf<S> {
            tracing_subscriber::fmt::layer().with_writer(std::io::sink).with_filter(level)
        }
        for (spans, heard) in [
            (LevelFilter::OFF, [true, false, false, false, false]),
            (LevelFilter::INFO, [true, true, true, false, false]),
        ] {
            // As the program has them: each layer with a filter of its own.
            let subscriber = tracing_subscriber::registry().with(layer(LevelFilter::ERROR)).with(layer(spans));
            tracing::subscriber::with_default(subscriber, || {
                assert_eq!([1, 2, 3, 4, 5].map(|level| enabled(at(level))), heard);
            });
        }
    }

    #[test]
    fn equal_callsites_share_a_number() {
        let callsite = Callsite { name: "same".into(), ..Callsite::default() };
        assert_eq!(register(callsite.clone()), register(callsite));
    }
}
