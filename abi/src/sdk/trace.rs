//! Sends this library's `tracing` spans and events to the host, so that they nest under the host's spans.
//!
//! A library has its own copy of `tracing`'s dispatcher. Whether anybody listens to a callsite is asked once and cached
//! by `tracing` itself until the host calls `trace_rebuild`, so a disabled event costs no call across the boundary.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{PoisonError, RwLock};

use tracing_core::callsite::Identifier;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id};
use tracing_core::{Event, Interest, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::call::Host;
use crate::Bag;
use crate::records::{Callsite, Fields};

struct Bridge {
    host: Host,
    callsites: RwLock<HashMap<Identifier, u64>>,
}

/// The host's id of a span of this library.
struct HostSpan(u64);

/// Restores the parent that was in force before.
pub(super) struct ParentGuard(u64);

thread_local! {
    static PARENT: Cell<u64> = const { Cell::new(0) };
}

/// Installs the bridge for this copy of `tracing`; does nothing if a subscriber is there already.
pub(super) fn install(host: Host) {
    let bridge = Bridge { host, callsites: RwLock::default() };
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(bridge));
}

/// Makes the host's span the parent of what this thread traces until the guard is dropped.
pub(super) fn enter_parent(parent: u64) -> ParentGuard {
    ParentGuard(PARENT.replace(parent))
}

/// Polls a future under the host's span.
pub(super) async fn under<F: Future>(parent: u64, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let _parent = enter_parent(parent);
        Pin::as_mut(&mut future).poll(context)
    })
    .await
}

impl Drop for ParentGuard {
    fn drop(&mut self) {
        PARENT.set(self.0);
    }
}

impl Bridge {
    fn callsite(&self, metadata: &'static Metadata<'static>) -> u64 {
        let key = metadata.callsite();
        if let Some(known) = self.callsites.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return *known;
        }
        let callsite = Bag::encode(&describe(metadata)).map_or(0, |bag| self.host.services().trace_register(bag));
        self.callsites.write().unwrap_or_else(PoisonError::into_inner).insert(key, callsite);
        callsite
    }

    fn parent<S>(span: Option<tracing_subscriber::registry::SpanRef<'_, S>>) -> u64
    where
        S: for<'lookup> LookupSpan<'lookup>,
    {
        span.and_then(|span| span.extensions().get::<HostSpan>().map(|host| host.0)).unwrap_or_else(|| PARENT.get())
    }
}

impl<S> Layer<S> for Bridge
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let callsite = self.callsite(metadata);
        if self.host.services().trace_enabled(callsite) { Interest::always() } else { Interest::never() }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Collected::default();
        attributes.record(&mut fields);
        let parent = Self::parent(span.parent());
        let callsite = self.callsite(attributes.metadata());
        let host = self.host.services().trace_span(callsite, parent, fields.into_bag());
        span.extensions_mut().insert(HostSpan(host));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Collected::default();
        event.record(&mut fields);
        let parent = Self::parent(context.event_span(event));
        self.host.services().trace_event(self.callsite(event.metadata()), parent, fields.into_bag());
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id)
            && let Some(host) = span.extensions().get::<HostSpan>()
        {
            self.host.services().trace_close(host.0);
        }
    }
}

#[derive(Default)]
struct Collected(Fields);

impl Collected {
    fn into_bag(self) -> Bag {
        Bag::encode(&self.0).unwrap_or_default()
    }
}

impl Visit for Collected {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.values.push((field.name().into(), value.into()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.values.push((field.name().into(), format!("{value:?}")));
    }
}

fn describe(metadata: &Metadata<'_>) -> Callsite {
    Callsite {
        is_span: metadata.is_span(),
        level: match *metadata.level() {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            Level::DEBUG => 4,
            Level::TRACE => 5,
        },
        name: metadata.name().into(),
        target: metadata.target().into(),
        file: metadata.file().map(Into::into),
        line: metadata.line(),
        fields: metadata.fields().iter().map(|field| field.name().into()).collect(),
    }
}
