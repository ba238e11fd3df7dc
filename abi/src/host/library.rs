//! Opens an extension library: the symbol, the two-way layout check, the version, the constructor.
//!
//! The library must have been verified before: its constructors run inside [`open`]. It is never closed again, since
//! code of a closed library may still be reached from values it gave out, and thread-local destructors pin it anyway.

use std::mem::ManuallyDrop;
use std::path::Path;

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityError, AbiInstabilityErrors, CheckingGlobals, check_layout_compatibility_with_globals,
};
use abi_stable::library::{AbiHeaderRef, LibHeader, LibraryError, ROOT_MODULE_LOADER_NAME, RootModule};
use abi_stable::sabi_types::VersionNumber;
use abi_stable::type_layout::{TLFieldOrFunction, TypeLayout};

use super::loaded::Extension;
use super::services::Services;
use crate::contract::message::Bag;
use crate::contract::root::ExtensionModRef;
use crate::records::CreateOptions;
use crate::{Code, Error};

/// The root module of an opened or linked library.
#[derive(Clone, Copy)]
pub struct Root {
    module: ExtensionModRef,
}

/// A library that is no extension this host can load. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The dynamic linker refused it.
    #[error("the dynamic linker refused the library: {reason}")]
    Link {
        /// What the linker says.
        reason: String,
    },
    /// It has no root symbol.
    #[error("the library exports no HyperMesh extension (symbol `{ROOT_MODULE_LOADER_NAME}` is missing)")]
    NoRootSymbol,
    /// Its header comes from an unknown version of the vtable layer.
    #[error("the library's header is not of this contract: {reason}")]
    Header {
        /// What differs.
        reason: String,
    },
    /// Its major version differs from the host's.
    #[error("the library was built for contract {library}, this host speaks {host}")]
    Version {
        /// The library's contract.
        library: String,
        /// The host's contract.
        host: String,
    },
    /// A type differs.
    #[error("the library's contract differs from this host's {place}")]
    Layout {
        /// Where, and what was expected and found.
        place: String,
    },
    /// Its root function failed.
    #[error("the library's root function failed: {reason}")]
    RootFunction {
        /// What it said.
        reason: String,
    },
    /// A panic in it would end the host.
    #[error("the library was built with panic = \"abort\"; rebuild it with panic = \"unwind\"")]
    PanicAbort,
}

/// Opens a verified library by path (usually `/proc/self/fd/N`).
///
/// Thread: one that may block. The library stays mapped for the life of the process.
///
/// # Errors
/// Every reason that makes it no extension for this host.
#[expect(unsafe_code, reason = "loading code is what this function is for")]
pub fn open(path: &Path) -> Result<Root, OpenError> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: running the library's initialisers is the purpose; the caller has verified the bytes behind `path`.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| link_error(&error))?;
    // Its initialisers have run, so it stays mapped even if it turns out to be no extension.
    let library = ManuallyDrop::new(library);
    let header = {
        // SAFETY: the symbol is a `LibHeader`, whose first field is the `AbiHeader` that `upgrade` checks before
        // anything else of it is believed.
        let symbol = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME.as_bytes()) };
        *symbol.map_err(|_| OpenError::NoRootSymbol)?
    };
    admit(header.upgrade().map_err(|error| OpenError::Header { reason: header_reason(&error) })?)
}

/// Decides by its header whether a library fits this host, and takes its root module.
///
/// # Errors
/// As [`open`], but for what the dynamic linker says.
#[doc(hidden)]
#[expect(unsafe_code, reason = "the root module is believed after its layout was checked")]
pub fn admit(header: &'static LibHeader) -> Result<Root, OpenError> {
    let found =
        VersionNumber::new(header.version_strings()).map_err(|e| OpenError::Header { reason: e.to_string() })?;
    let expected = VersionNumber::new(ExtensionModRef::VERSION_STRINGS)
        .map_err(|error| OpenError::Header { reason: error.to_string() })?;
    if found.major != expected.major {
        return Err(OpenError::Version { library: found.to_string(), host: expected.to_string() });
    }
    let layout = header.layout().ok_or_else(|| OpenError::Header { reason: "it has no type layout".into() })?;
    let host = <ExtensionModRef as StableAbi>::LAYOUT;
    // The check is one-way: whatever the interface has, the implementation must have. The older side is the interface.
    let older_library = (found.minor, found.patch) < (expected.minor, expected.patch);
    let (interface, implementation) = if older_library { (layout, host) } else { (host, layout) };
    fits(interface, implementation)?;
    // SAFETY: the layout was checked in the lines above.
    let module = unsafe { header.init_root_module_with_unchecked_layout::<ExtensionModRef>() }
        .map_err(|error| OpenError::RootFunction { reason: one_line(&error.to_string()) })?;
    if module.panic_unwinds() { Ok(Root { module }) } else { Err(OpenError::PanicAbort) }
}

/// Checks that whatever `interface` has, `implementation` has in the same place and shape.
///
/// # Errors
/// [`OpenError::Layout`] with the first difference.
#[doc(hidden)]
pub fn fits(interface: &'static TypeLayout, implementation: &'static TypeLayout) -> Result<(), OpenError> {
    // Fresh globals: the shared ones keep pointers into every library checked before and make results depend on order.
    check_layout_compatibility_with_globals(interface, implementation, &CheckingGlobals::new())
        .map_err(|errors| OpenError::Layout { place: first_difference(&errors) })
}

impl Root {
    /// Takes the root module of an extension that is linked into this program.
    pub fn linked(module: ExtensionModRef) -> Self {
        Self { module }
    }

    /// Gives the extension's id.
    pub fn id(&self) -> &'static str {
        self.module.id().as_str()
    }

    /// Gives the extension's version.
    pub fn version(&self) -> &'static str {
        self.module.version().as_str()
    }

    /// Gives the contract version it was built with, for messages.
    pub fn build_info(&self) -> &'static str {
        self.module.build_info().as_str()
    }

    /// Constructs the extension.
    ///
    /// Thread: one that may block.
    ///
    /// # Errors
    /// Whatever the constructor says; `PANIC` if it panicked.
    pub fn create(&self, services: std::sync::Arc<dyn Services>, options: &CreateOptions) -> Result<Extension, Error> {
        let create = self.module.create();
        let made = create(super::share(services), Bag::encode(options)?).into_result().map_err(Error::from);
        made.map(Extension::new).map_err(|mut error| {
            if error.code == Code::INTERNAL {
                error.code = Code::INITIALIZATION_FAILED;
            }
            error
        })
    }
}

fn link_error(error: &libloading::Error) -> OpenError {
    let source = std::error::Error::source(error).map(ToString::to_string);
    OpenError::Link { reason: one_line(&source.unwrap_or_else(|| error.to_string())) }
}

fn header_reason(error: &LibraryError) -> String {
    match error {
        LibraryError::InvalidAbiHeader(found) => {
            format!("vtable layer {}.{} is not known here", found.abi_major, found.abi_minor)
        }
        other => one_line(&other.to_string()),
    }
}

/// Names the first difference in one line; the checker's own report runs to thousands.
fn first_difference(errors: &AbiInstabilityErrors) -> String {
    // The checker lists every type on the way to a difference; only the last one says what differs.
    let Some((error, what)) = errors.errors.iter().find_map(|error| Some((error, error.errs.first()?))) else {
        return "in a way the checker does not name".into();
    };
    let path = place(error);
    let at = if path.is_empty() { "at its root".to_owned() } else { format!("at {}", path.join(" > ")) };
    format!("{at}: {}", difference(what))
}

/// Gives the way to a difference as an author would: trait, method, argument.
fn place(error: &AbiInstabilityError) -> Vec<String> {
    let mut path = Vec::new();
    for step in &error.stack_trace {
        // A function is named by the field that holds it.
        let TLFieldOrFunction::Field(field) = step.expected else { continue };
        if let Some(object) = field.layout().name().strip_suffix("_TO") {
            path = vec![object.to_owned()];
            continue;
        }
        match field.name() {
            "0" | "obj" | "vtable" => {}
            "__returns" => path.push("its answer".into()),
            name => match name.strip_prefix("param_") {
                Some(number) => path.push(format!("argument {number} ({})", field.layout().name())),
                None => path.push(name.into()),
            },
        }
    }
    path
}

fn difference(error: &AbiInstability) -> String {
    let pair = |expected: String, found: String| format!("expected {}, found {}", short(&expected), short(&found));
    match error {
        AbiInstability::Name(e) => pair(e.expected.to_string(), e.found.to_string()),
        AbiInstability::FieldCountMismatch(e) => pair(format!("{} fields", e.expected), format!("{} fields", e.found)),
        AbiInstability::UnexpectedField(e) => pair(e.expected.to_string(), e.found.to_string()),
        AbiInstability::Size(e) => pair(format!("{} bytes", e.expected), format!("{} bytes", e.found)),
        AbiInstability::Package(e) => pair(format!("package {}", e.expected), format!("package {}", e.found)),
        AbiInstability::PackageVersion(e) => pair(e.expected.to_string(), e.found.to_string()),
        other => short(&format!("{other:?}")),
    }
}

fn short(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.chars().count() <= CHARS_MAX { line.into() } else { line.chars().take(CHARS_MAX).chain(['…']).collect() }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
