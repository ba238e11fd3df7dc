//! The example packages of `manifests/packages`: they are valid, resolve among each other, pass every analyser, and
//! compute what they promise. A plain Lua state with a small `require` stands in for the sandbox of a higher layer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlua::{Function, Lua, Table, Value};

use super::{Package, PackageFile, read, read_files};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/packages")
}

pub(super) fn all() -> BTreeMap<String, (Package, Vec<PackageFile>)> {
    let entries = std::fs::read_dir(directory()).expect("the examples are there");
    entries
        .map(|entry| {
            let path = entry.expect("is readable").path();
            let (package, warnings) = read(&path).unwrap_or_else(|faults| panic!("{}: {faults}", path.display()));
            assert!(warnings.is_empty(), "{}: {warnings:?}", path.display());
            let files = read_files(&path, &package).unwrap_or_else(|faults| panic!("{faults}"));
            (package.name.to_string(), (package, files))
        })
        .collect()
}

/// Runs a package's default entry function and gives its result and what it printed; both live as long as the state.
fn run(lua: &Lua, name: &str) -> (Table, String) {
    let packages = all();
    let modules = lua.create_table().expect("is a table");
    for (package, files) in packages.values() {
        for file in files {
            let module = if file.path == package.content.main {
                package.name.to_string()
            } else {
                format!("{}.{}", package.name, file.path.stem())
            };
            modules.set(module, lua.create_string(&file.bytes).expect("is text")).expect("is set");
        }
    }
    lua.globals().set("modules", modules).expect("is set");
    let prelude = r#"
        local modules, loaded, load, printed = modules, {}, load, {}
        os, io, debug = nil, nil, nil
        function print(...) printed[#printed + 1] = table.concat({ ... }, "\t") end
        function require(name)
            if loaded[name] == nil then
                local source = modules[name] or error("no module " .. name)
                loaded[name] = assert(load(source, "=" .. name))()
            end
            return loaded[name]
        end
        return function(name)
            local entry = require(name)
            local result = (type(entry) == "table" and entry.main or entry)()
            return result, table.concat(printed, "\n")
        end
    "#;
    let runner: Function = lua.load(prelude).eval().expect("the prelude runs");
    runner.call(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn number(table: &Table, key: &str) -> f64 {
    match table.get(key).expect("is there") {
        Value::Integer(value) => value as f64,
        Value::Number(value) => value,
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn every_dependency_is_among_the_examples_and_one_chain_has_three_levels() {
    let packages = all();
    assert!(packages.len() >= 9);
    let depth = |name: &str| {
        fn depth(packages: &BTreeMap<String, (Package, Vec<PackageFile>)>, name: &str) -> usize {
            let dependencies = packages[name].0.dependencies.iter();
            1 + dependencies
                .map(|dependency| {
                    let (found, _) = &packages[dependency.name.as_str()];
                    assert!(dependency.requirement.matches(&found.version), "{name} needs {}", dependency.name);
                    depth(packages, dependency.name.as_str())
                })
                .max()
                .unwrap_or(0)
        }
        depth(&packages, name)
    };
    assert_eq!((depth("ray-tracer"), depth("monte-carlo"), depth("vec3")), (3, 3, 1));
}

#[test]
fn the_ray_tracer_renders_its_scene() {
    let lua = Lua::new();
    let (result, printed) = run(&lua, "ray-tracer");
    let image: String = result.get("image").expect("is text");
    assert_eq!(image, printed);
    assert_eq!(image.lines().count(), 28);
    assert!(image.lines().all(|line| line.len() == 72));
    assert!(image.contains(['@', '%']) && image.contains('.') && image.contains(' '), "{image}");
    let (hits, brightness) = (number(&result, "hits"), number(&result, "brightness"));
    assert!(hits > 900.0 && hits < 2016.0 && brightness > 0.1 && brightness < 0.9, "{hits} {brightness}\n{image}");
}

#[test]
fn the_calculator_agrees_with_known_answers() {
    let lua = Lua::new();
    let (result, _) = run(&lua, "financial-calculator");
    // 250,000 at 4.5 % over 300 months: r = 0.00375, payment = P·r / (1 − (1 + r)^−300) = 1389.58.
    assert_eq!(number(&result, "payment"), 1389.58);
    // −1000 + 300/1.08 + 420/1.08² + 680/1.08³ = 177.67; the rate of return solves the same sum for 0.
    assert!((number(&result, "npv") - 177.67).abs() < 0.01, "{}", number(&result, "npv"));
    let rate = number(&result, "irr");
    assert!(
        (-1000.0 + 300.0 / (1.0 + rate) + 420.0 / (1.0 + rate).powi(2) + 680.0 / (1.0 + rate).powi(3)).abs() < 1e-6
    );
    let years: Table = result.get("years").expect("is a list");
    assert_eq!(number(&years.get::<Table>(25).expect("25 years"), "balance"), 0.0);
}

#[test]
fn the_other_programs_agree_with_known_answers() {
    let lua = Lua::new();
    let (primes, _) = run(&lua, "prime-sieve");
    // π(200,000) = 17,984.
    assert_eq!((number(&primes, "count"), number(&primes, "largest")), (17_984.0, 199_999.0));
    let lua = Lua::new();
    let (option, printed) = run(&lua, "monte-carlo");
    // Black and Scholes: S 100, K 105, r 3 %, σ 20 %, 1 year.
    assert!((number(&option, "exact") - 7.1282).abs() < 0.001, "{}", number(&option, "exact"));
    assert!(option.get::<bool>("is_consistent").expect("is a truth value") && printed.contains('#'), "{printed}");
    let lua = Lua::new();
    let (fractal, _) = run(&lua, "mandelbrot");
    // The area of the set is 1.5066 (Förstemann 2012); 2,280 points see it within a few per cent.
    assert!((number(&fractal, "area") - 1.5066).abs() < 0.15, "{}", number(&fractal, "area"));
}
