//! Lets the types of this copy say that they belong to `hypermesh-abi`, as those of a library built with 1.0 do.

fn main() {
    // The layout checker compares the name of the package a type comes from; two packages of one name in a workspace
    // would make every `-p hypermesh-abi` ambiguous.
    println!("cargo::rustc-env=CARGO_PKG_NAME=hypermesh-abi");
    println!("cargo::rerun-if-changed=build.rs");
}
