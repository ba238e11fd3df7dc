//! The root of a library: the one symbol a host looks up, and the constructor behind it.

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::RStr;

use super::error::AbiResult;
use super::extension::ExtensionBox;
use super::host_services::HostBox;
use super::message::Bag;

/// The root module of an extension library.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ExtensionModRef)))]
#[sabi(missing_field(panic))]
pub struct ExtensionMod {
    /// The extension's id, such as `catalog`; must equal the id in the manifest.
    pub id: RStr<'static>,
    /// The extension's version (semver).
    pub version: RStr<'static>,
    /// The compiler and contract version it was built with, for messages.
    pub build_info: RStr<'static>,
    /// Says whether panics unwind; a library built with `panic = "abort"` is refused.
    pub panic_unwinds: bool,
    /// Constructs the extension from [`crate::records::CreateOptions`].
    ///
    /// Thread: one that may block. State: becomes Initializing. Owns: the host owns the extension, the extension its
    /// clone of the services. Since: 1.0.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(host: HostBox, options: Bag) -> AbiResult<ExtensionBox>,
}

impl RootModule for ExtensionModRef {
    abi_stable::declare_root_module_statics! {ExtensionModRef}

    const BASE_NAME: &'static str = "hypermesh_extension";
    const NAME: &'static str = "hypermesh_extension";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
