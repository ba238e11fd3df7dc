//! Spans of this process and of its extensions, kept from their end until they are sent.
//!
//! A layer of `tracing`: whatever opens a span, the host or an extension through it, is seen here. Values are strings, without
//! secrets, and cut; a span knows its parent and the trace that both are in.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::redaction::{REDACTED, is_secret, redact};

/// The most spans that wait to be sent; those beyond are dropped.
pub const SPANS_MAX: usize = 8_192;
/// The most characters of one value.
pub const VALUE_CHARS_MAX: usize = 1_024;
/// The field of a span that says that what it is about failed.
pub const ERROR: &str = "error";

/// Spans that have ended and were not sent yet.
#[derive(Debug, Default)]
pub struct Spans {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    ended: Vec<Ended>,
    dropped: u64,
}

/// Keeps spans of the subscriber that it is a layer of.
#[derive(Debug)]
pub struct SpanLayer(Arc<Spans>);

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: &'static str,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) attributes: Vec<(&'static str, String)>,
    pub(super) error: Option<String>,
}

impl Spans {
    /// Makes the layer that fills it.
    pub fn layer(self: &Arc<Self>) -> SpanLayer {
        SpanLayer(Arc::clone(self))
    }

    /// Takes what is there, and how many were dropped since the last time.
    pub(super) fn take(&self) -> (Vec<Ended>, u64) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        (waiting.ended, waiting.dropped)
    }

    fn put(&self, span: Ended) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.ended.len() < SPANS_MAX { waiting.ended.push(span) } else { waiting.dropped += 1 }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let random = uuid::Uuid::new_v4().into_bytes();
        let parent = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            extensions.get::<Ended>().map(|parent| (parent.trace, parent.id))
        });
        let now = SystemTime::now();
        let (trace, parent) = match parent {
            Some((trace, parent)) => (trace, Some(parent)),
            None => (uuid::Uuid::new_v4().into_bytes(), None),
        };
        let mut id = [0; 8];
        id.copy_from_slice(&random[..8]);
        let name = span.name();
        let mut kept = Ended { trace, id, parent, name, began: now, ended: now, attributes: Vec::new(), error: None };
        attributes.record(&mut kept);
        span.extensions_mut().insert(kept);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(kept) = span.extensions_mut().get_mut::<Ended>() {
            values.record(kept);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let kept = span.extensions_mut().remove::<Ended>();
        if let Some(kept) = kept {
            self.0.put(Ended { ended: SystemTime::now(), ..kept });
        }
    }
}

impl Visit for Ended {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value);
    }
}

impl Ended {
    fn keep(&mut self, field: &Field, value: &str) {
        let value = match is_secret(field.name()) {
            true => REDACTED.to_owned(),
            false => redact(value).chars().take(VALUE_CHARS_MAX).collect(),
        };
        if field.name() == ERROR {
            self.error = Some(value.clone());
        }
        match self.attributes.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, held)) => *held = value,
            None => self.attributes.push((field.name(), value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn recorded(work: impl FnOnce()) -> (Vec<Ended>, u64) {
        let spans = Arc::new(Spans::default());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(spans.layer()), work);
        spans.take()
    }

    #[test]
    fn spans_know_their_parents_and_hold_no_secret() {
        let (ended, dropped) = recorded(|| {
            let outer = tracing::info_span!("request", verb = "run", token = "s3cret", error = tracing::field::Empty);
            tracing::info_span!(parent: &outer, "load", place = "http://me:s3cret@host/", count = 3).in_scope(|| {});
            outer.record(ERROR, "NOT_FOUND");
        });
        let [inner, outer] = &ended[..] else { panic!("two spans: {ended:?}") };
        assert_eq!((inner.name, outer.name, dropped), ("load", "request", 0));
        assert_eq!((inner.trace, inner.parent, outer.parent), (outer.trace, Some(outer.id), None));
        assert_eq!(outer.error.as_deref(), Some("NOT_FOUND"));
        assert!(inner.began <= inner.ended && outer.began <= inner.began);
        let told = format!("{ended:?}");
        assert!(!told.contains("s3cret") && told.contains("(\"count\", \"3\")"), "{told}");
    }

    #[test]
    fn what_nobody_takes_is_bounded_and_counted() {
        let (ended, dropped) = recorded(|| {
            for _ in 0..SPANS_MAX + 3 {
                tracing::info_span!("one", text = "x".repeat(2 * VALUE_CHARS_MAX)).in_scope(|| {});
            }
        });
        assert_eq!((ended.len(), dropped, ended[0].attributes[0].1.len()), (SPANS_MAX, 3, VALUE_CHARS_MAX));
    }
}
