//! The SDK: write a plain async Rust trait, export it with one line, and never see an `abi_stable` type.
//!
//! Generated code around the trait keeps these promises, whatever the author writes:
//!
//! - no panic leaves the library: every entry runs under `catch_unwind` and answers `PANIC`;
//! - every future is polled inside the extension's own tokio runtime, whatever executor the host polls it with;
//! - requests run as tasks of that runtime, are cancelled when the host drops the call, when its deadline passes and
//!   when the extension stops;
//! - panics and `tracing` events reach the host's log;
//! - requests are counted and refused unless the extension is running.
//!
//! ```
//! use hypermesh_abi::records::{Description, Metadata, Response, Verb};
//! use hypermesh_abi::{Error, export_extension, sdk};
//!
//! struct Hello;
//!
//! impl sdk::Extension for Hello {
//!     const ID: &'static str = "hello";
//!     const VERSION: &'static str = env!("CARGO_PKG_VERSION");
//!
//!     fn create(_host: sdk::Host, _options: sdk::CreateOptions) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!
//!     fn describe(&self) -> Description {
//!         let verbs = vec![Verb { name: "greet".into(), summary: "Greets".into(), ..Verb::default() }];
//!         Description { metadata: Metadata { name: "Hello".into(), ..Metadata::default() }, verbs }
//!     }
//!
//!     async fn request(&self, _call: sdk::Call, _verb: &str, _params: serde_json::Value) -> Result<Response, Error> {
//!         Ok(Response { data: serde_json::json!({"greeting": "hello"}), text: "hello\n".into() })
//!     }
//! }
//!
//! export_extension!(Hello);
//! # fn main() {}
//! ```

mod call;
mod contribution;
mod export;
mod guard;
mod instance;
mod trace;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::Error;
pub use crate::contract::message::CallCtx;
pub use crate::records::CreateOptions;
use crate::records::{Description, Health, Metric, Response, ValidationReport};
pub(crate) use call::monotonic_ns;
pub use call::{Call, Host, LeaseGuard};
pub use contribution::{AssetAdapter, PackageHandler, Registration, VmExecutor};
#[doc(hidden)]
pub use export::{library_header, load_root, root_module};

/// An extension, as its author writes it.
///
/// Methods take `&self` and may run at the same time on several threads.
pub trait Extension: Sized + Send + Sync + 'static {
    /// The id that the manifest names.
    const ID: &'static str;
    /// The semantic version.
    const VERSION: &'static str;

    /// Constructs the extension; must not start work or take locks that another generation may hold.
    ///
    /// # Errors
    /// Whatever makes the configuration unusable.
    fn create(host: Host, options: CreateOptions) -> Result<Self, Error>;

    /// Describes the extension. The SDK fills in `metadata.id` and `metadata.version`.
    fn describe(&self) -> Description;

    /// Offers contributions.
    ///
    /// # Errors
    /// Any error leaves the host without all of them.
    fn register(self: &Arc<Self>, registration: &mut Registration<'_>) -> Result<(), Error> {
        let _ = registration;
        Ok(())
    }

    /// Takes up work, with what the generation before handed over, if any.
    ///
    /// # Errors
    /// Whatever keeps it from working; the host then keeps or restores the generation before.
    fn activate(&self, call: Call, handover: Option<Json>) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (call, handover);
        async { Ok(()) }
    }

    /// Lets go of exclusive things. No request is in flight when it is called.
    ///
    /// # Errors
    /// Whatever could not be let go of; the extension goes on running then.
    fn quiesce(&self, call: Call) -> impl Future<Output = Result<Json, Error>> + Send {
        let _ = call;
        async { Ok(Json::Null) }
    }

    /// Answers a verb.
    ///
    /// # Errors
    /// `UNSUPPORTED` ([`unknown_verb`]) for a verb it does not know, and whatever the verb says.
    fn request(&self, call: Call, verb: &str, params: Json) -> impl Future<Output = Result<Response, Error>> + Send;

    /// Reports figures besides those the SDK counts.
    fn figures(&self) -> BTreeMap<String, Json> {
        BTreeMap::new()
    }

    /// Reports metrics for those who watch the node, besides what the SDK and the host count; `figures` are those of the same
    /// moment.
    fn metrics(&self, _figures: &BTreeMap<String, Json>) -> Vec<Metric> {
        Vec::new()
    }

    /// Reports health.
    fn health(&self) -> impl Future<Output = Health> + Send {
        async { Health::Healthy }
    }

    /// Checks configuration, grants and files.
    fn validate(&self) -> impl Future<Output = ValidationReport> + Send {
        async { ValidationReport::default() }
    }

    /// Gives what a new instance needs. The SDK adds version, time and checksum.
    ///
    /// # Errors
    /// Whatever keeps the state from being read.
    fn export_state(&self) -> impl Future<Output = Result<Json, Error>> + Send {
        async { Ok(Json::Null) }
    }

    /// Takes over a state whose version and checksum the SDK has checked.
    ///
    /// # Errors
    /// Whatever is wrong with it; nothing has changed then.
    fn import_state(&self, state: Json) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = state;
        async { Ok(()) }
    }

    /// Answers a method of the growth lane.
    ///
    /// # Errors
    /// `UNSUPPORTED` for a number it does not know.
    fn invoke(&self, call: Call, id: u32, payload: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, Error>> + Send {
        let _ = (call, payload);
        async move { Err(Error::new(crate::Code::UNSUPPORTED, format!("method {id} is not known to this extension"))) }
    }

    /// Ends. Called once, after everything in flight was cancelled.
    fn stop(&self) {}
}

/// Makes the error for a verb that the extension does not have.
pub fn unknown_verb(verb: &str) -> Error {
    Error::new(crate::Code::UNSUPPORTED, format!("verb `{verb}` is not known to this extension"))
}
