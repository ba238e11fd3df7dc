//! Answers about runtimes.

use std::fmt::Write;

use hypermesh_abi::records::Response;
use serde_json::{Value as Json, json};

use super::size;
use crate::ops::runtime::{Installed, Runtime};
use crate::vm::julia::{Julia, Origin};

pub(in crate::extension) fn runtimes(runtimes: &[Runtime]) -> Response {
    let mut text = String::new();
    for runtime in runtimes {
        let mark = if runtime.is_chosen { "*" } else { " " };
        let image = if runtime.image.is_some() { "starts at once" } else { "no image" };
        let julia = &runtime.julia;
        let _ = writeln!(
            text,
            "{mark} julia {:<8} {:<10} {image:<14} {}",
            julia.version,
            origin(julia),
            julia.root.display()
        );
    }
    if runtimes.is_empty() {
        text = "there is no Julia on this node; `catalog runtime install julia` installs one\n".into();
    }
    Response { data: json!({"runtimes": runtimes.iter().map(of_runtime).collect::<Vec<_>>()}), text }
}

pub(in crate::extension) fn runtime_installed(installed: &Installed) -> Response {
    let Installed { runtime, was_there, no_image } = installed;
    let verb = if *was_there { "was there" } else { "installed" };
    let mut text = format!("julia {} {verb}, in {}\n", runtime.julia.version, runtime.julia.root.display());
    match (&runtime.image, no_image) {
        (Some(image), _) => {
            let _ = writeln!(text, "  image  {}", image.display());
        }
        (None, Some(reason)) => {
            let _ = writeln!(text, "  image  none, so workers start slowly: {reason}");
        }
        (None, None) => text.push_str("  image  none was asked for; workers start slowly\n"),
    }
    let data = json!({"runtimes": [of_runtime(runtime)], "installed": !was_there, "no_image": no_image});
    Response { data, text }
}

pub(in crate::extension) fn runtime_removed(julia: &Julia, bytes: u64) -> Response {
    let text = format!("julia {} removed, {} given back\n", julia.version, size(bytes));
    Response { data: json!({"removed": julia.version.to_string(), "bytes": bytes}), text }
}

fn of_runtime(runtime: &Runtime) -> Json {
    let julia = &runtime.julia;
    json!({"name": "julia", "version": julia.version.to_string(), "origin": origin(julia), "path": julia.root,
        "program": julia.program, "image": runtime.image, "chosen": runtime.is_chosen})
}

fn origin(julia: &Julia) -> &'static str {
    match julia.origin {
        Origin::Configured => "configured",
        Origin::Home => "home",
        Origin::Path => "path",
        Origin::Juliaup => "juliaup",
    }
}
