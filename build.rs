//! Gives the shared library its soname, by which tools tell which contract line it belongs to.

fn main() {
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").unwrap_or_default();
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcatalog.so.{major}");
    println!("cargo::rerun-if-changed=build.rs");
}
