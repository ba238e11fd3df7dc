//! What the documentation of a package of 200 functions costs: reading its sources, finding names, and writing a page, in each
//! format and without running anything. The sources are in Lua and in Julia, each function with parameters, text and an example.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "target.rs"]
mod target;

use std::time::{Duration, Instant};

use catalog::digest::Digest;
use catalog::docgen::{Draft, Format};
use catalog::package::{self, Package, PackageFile, source};

/// Milliseconds that the documentation may take at the median.
const DOCUMENT_MS_MAX: f64 = 300.0;
const FUNCTIONS: usize = 200;
const ROUNDS: usize = 15;

fn main() {
    let mut slowest = Duration::ZERO;
    for (language, package, file) in
        [("lua", parse("lua-library", "main.lua"), lua()), ("julia", parse("julia-library", "main.jl"), julia())]
    {
        for format in [Format::Html, Format::Markdown, Format::Json, Format::Text, Format::Pdf] {
            let mut bytes = 0;
            let took = median(|| {
                let draft = Draft::read(package.clone(), Digest::of(b"archive"), std::slice::from_ref(&file));
                assert_eq!(draft.items.iter().filter(|item| item.name.starts_with("f")).count(), FUNCTIONS);
                bytes = draft.finish(&[]).pages(format).iter().map(|page| page.bytes.len()).sum::<usize>();
            });
            println!(
                "{FUNCTIONS} functions of {language} as {:<8} {:>7.1} ms, {bytes} bytes",
                format.as_str(),
                took.as_secs_f64() * 1e3
            );
            slowest = slowest.max(took);
        }
    }
    let slowest = slowest.as_secs_f64() * 1e3;
    target::at_most("documentation of 200 functions, slowest format", slowest, DOCUMENT_MS_MAX, "ms");
}

fn parse(kind: &str, main: &str) -> Package {
    let manifest = format!(
        "apiVersion: catalog.v1\nmetadata: {{name: bench, version: 1.0.0}}\nspec: {{type: {kind}, content: {{main: {main}}}}}\n"
    );
    package::parse(&manifest, source::Format::Yaml, "package.yaml").expect("valid").0
}

fn lua() -> PackageFile {
    let functions: String = (0..FUNCTIONS)
        .map(|at| {
            format!(
                "--- Does the {at}th thing to a number, and says so with *stress* and `code`.\n--- ```lua\n--- return \
                 require(\"bench\").f{at}(1, 2)\n--- ```\n---@param a number what it is done to\n---@param b? number how \
                 often\n---@return number what came of it\nfunction M.f{at}(a, b)\n  for i = 1, b or 1 do a = a + i end\n  \
                 return a\nend\n\n"
            )
        })
        .collect();
    file("main.lua", format!("--- Things.\nlocal M = {{}}\n\n{functions}return M\n"))
}

fn julia() -> PackageFile {
    let functions: String = (0..FUNCTIONS)
        .map(|at| {
            format!(
                "\"\"\"\n    f{at}(a, b)\n\nDoes the {at}th thing to a number, with *stress* and `code`.\n\n# Arguments\n- \
                 `a`: what it is done to\n- `b`: how often\n\n```jldoctest\njulia> f{at}(1, 2)\n4\n```\n\"\"\"\nfunction \
                 f{at}(a::Real, b::Int = 1)::Float64\n    for i in 1:b\n        a += i\n    end\n    return a\nend\n\n"
            )
        })
        .collect();
    file("main.jl", format!("\"Things.\"\nmodule Bench\n\n{functions}end\n"))
}

fn file(path: &str, text: String) -> PackageFile {
    PackageFile { path: path.parse().expect("a path"), bytes: text.into_bytes() }
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}
