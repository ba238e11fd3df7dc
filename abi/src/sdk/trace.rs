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

#[derive(Default)]
struct Bridge {
    callsites: RwLock<HashMap<Identifier, u64>>,
}

/// The host of the newest instance of this library that was not stopped. The bridge and the panic hook are there for ever,
/// and must not keep the services of a host that is done with the library.
static HOST: RwLock<Option<Host>> = RwLock::new(None);

/// The host's id of a span of this library.
struct HostSpan(u64);

/// Restores the parent that was in force before.
pub(super) struct ParentGuard(u64);

thread_local! {
    static PARENT: Cell<u64> = const { Cell::new(0) };
}

/// Installs the bridge for this copy of `tracing`, unless a subscriber is there already, and lets it speak to a host.
pub(super) fn install(host: Host) {
    *HOST.write().unwrap_or_else(PoisonError::into_inner) = Some(host);
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Bridge::default()));
}

/// Lets go of a host, if it is the one that is spoken to.
pub(super) fn forget(host: &Host) {
    let forgotten = HOST.write().unwrap_or_else(PoisonError::into_inner).take_if(|current| current.same(host));
    // Dropped after the lock, since that may run code of the host.
    drop(forgotten);
}

/// Gives the host to speak to.
pub(super) fn host() -> Option<Host> {
    HOST.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        let (Some(host), Ok(bag)) = (host(), Bag::encode(&describe(metadata))) else { return 0 };
        let callsite = host.services().trace_register(bag);
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
        let enabled = host().is_some_and(|host| host.services().trace_enabled(callsite));
        if enabled { Interest::always() } else { Interest::never() }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let (Some(host), Some(span)) = (host(), context.span(id)) else { return };
        let mut fields = Collected::default();
        attributes.record(&mut fields);
        let parent = Self::parent(span.parent());
        let callsite = self.callsite(attributes.metadata());
        let opened = host.services().trace_span(callsite, parent, fields.into_bag());
        span.extensions_mut().insert(HostSpan(opened));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(host) = host() else { return };
        let mut fields = Collected::default();
        event.record(&mut fields);
        let parent = Self::parent(context.event_span(event));
        host.services().trace_event(self.callsite(event.metadata()), parent, fields.into_bag());
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id)
            && let Some(opened) = span.extensions().get::<HostSpan>()
            && let Some(host) = host()
        {
            host.services().trace_close(opened.0);
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
