//! The one exported symbol, made without a line of `unsafe` in the author's crate.

use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::RStr;

use super::call::Host;
use super::guard::guard;
use super::{Extension, instance};
use crate::contract::error::AbiResult;
use crate::contract::extension::ExtensionBox;
use crate::contract::host_services::HostBox;
use crate::contract::message::Bag;
use crate::contract::root::{ExtensionMod, ExtensionModRef};

/// Exports an extension from a `cdylib`, and gives `extension_root()` to hosts that link the crate instead.
#[macro_export]
macro_rules! export_extension {
    ($extension:ty) => {
        #[cfg(not(panic = "unwind"))]
        compile_error!("an extension must be built with panic = \"unwind\", or a panic in it would end the host");

        /// Gives the extension's root module to a host that links this crate.
        pub fn extension_root() -> $crate::contract::root::ExtensionModRef {
            $crate::sdk::root_module::<$extension>()
        }

        const _: () = {
            extern "C" fn load() -> $crate::abi_stable::library::RootModuleResult {
                $crate::sdk::load_root(extension_root)
            }

            #[allow(unsafe_code, reason = "an exported symbol is how a host finds the extension")]
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: $crate::abi_stable::library::LibHeader = $crate::sdk::library_header(load);
        };
    };
}

/// Makes the root module of an extension.
pub fn root_module<E: Extension>() -> ExtensionModRef {
    ExtensionMod {
        id: RStr::from_str(E::ID),
        version: RStr::from_str(E::VERSION),
        build_info: RStr::from_str(concat!("hypermesh-abi ", env!("CARGO_PKG_VERSION"))),
        panic_unwinds: cfg!(panic = "unwind"),
        create: create::<E>,
    }
    .leak_into_prefix()
}

/// Runs the function that makes the root module, as the loader of abi_stable does.
pub fn load_root(root: fn() -> ExtensionModRef) -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(root)
}

/// Makes the header that the exported symbol holds.
#[expect(unsafe_code, reason = "abi_stable leaves it to the caller that constructor and module type belong together")]
pub const fn library_header(load: extern "C" fn() -> RootModuleResult) -> LibHeader {
    // SAFETY: `load` is the one function that `export_extension!` passes here, which answers what `load_root` made of
    // an `ExtensionModRef`.
    unsafe { LibHeader::from_constructor::<ExtensionModRef>(load, CheckTypeLayout::Yes) }
}

extern "C" fn create<E: Extension>(host: HostBox, options: Bag) -> AbiResult<ExtensionBox> {
    guard(move || instance::create::<E>(Host::new(host), options.decode()?))
}
