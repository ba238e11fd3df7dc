//! A package of WebAssembly from end to end, over both ways of loading Catalog.

use std::path::{Path, PathBuf};

use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};

use crate::programs;
use crate::support::block_on;

fn primes() -> PathBuf {
    programs::workspace().join("manifests/wasm/primes")
}

async fn ask(host: &Host, verb: &str, params: Json) -> Result<Json, Error> {
    host.request("catalog", verb, &params, RequestOptions::default()).await.map(|response| response.data)
}

/// Writes a package of one module.
fn package(parent: &Path, name: &str, module: &[u8]) -> PathBuf {
    let directory = programs::package(parent, name, "wasm-module", "", "");
    std::fs::remove_file(directory.join("main.lua")).expect("was there");
    let manifest = std::fs::read_to_string(directory.join("package.yaml")).expect("is there");
    std::fs::write(directory.join("package.yaml"), manifest.replace("main.lua", "main.wasm")).expect("written");
    std::fs::write(directory.join("main.wasm"), module).expect("written");
    directory
}

/// `HYPERMESH_UPDATE=1` writes the binary form anew.
#[test]
fn the_example_is_its_text_in_binary_form() {
    let module = wat::parse_file(primes().join("primes.wat")).unwrap_or_else(|error| panic!("{error}"));
    let binary = primes().join("primes.wasm");
    if std::env::var_os("HYPERMESH_UPDATE").is_some() {
        std::fs::write(&binary, &module).expect("is written");
    }
    assert!(std::fs::read(&binary).expect("is there") == module, "`{}` is of another text", binary.display());
}

#[test]
fn a_published_module_is_installed_and_run() {
    block_on(async {
        for is_linked in [true, false] {
            let home = programs::bare_home();
            let options = HostOptions { child: None, ..HostOptions::new(home.path().into()).expect("a home") };
            let host = Host::open(options).expect("opens");
            let bundle = home.path().join("bundle");
            let source = if is_linked {
                programs::linked(&json!({"vm": true}))
            } else {
                programs::install(&bundle, "vm: true");
                Source::Bundle(bundle)
            };
            host.load(source).await.expect("loads");
            let report = host.report().await;
            assert!(report[0].contributions.contains(&"hypermesh.wasm/1".to_owned()), "{:?}", report[0].contributions);
            job(&host, home.path()).await;
        }
    });
}

async fn job(host: &Host, home: &Path) {
    ask(host, "publish", json!({"directories": [primes()]})).await.expect("is published");
    ask(host, "install", json!({"packages": ["primes"]})).await.expect("is installed");
    let ran = ask(host, "run", json!({"package": "primes"})).await.expect("runs");
    assert_eq!((ran["value"].as_i64(), ran["state"].as_str()), (Some(78_498), Some("Completed")));
    assert_eq!(
        ran["stdout"].as_str().or(ran["output"]["stdout"].as_str()),
        Some("there are 78498 of them!\n"),
        "{ran}"
    );
    let count = |below: u32| json!({"package": "primes", "function": "count", "arguments": [below]});
    assert_eq!(ask(host, "run", count(100)).await.expect("runs")["value"], 25);
    let error = ask(host, "run", count(100_000_000)).await.expect_err("needs 96 MiB of 32");
    assert_eq!(error.code, Code::MEMORY_LIMIT, "{error}");
    let bad =
        package(home, "unlinked", &wat::parse_str("(module (import \"env\" \"log\" (func)))").expect("is a module"));
    let error = ask(host, "run", json!({"package": bad})).await.expect_err("imports what is not there");
    assert!(format!("{error:?}").contains("`log` of `env`"), "{error:?}");
    let checked = ask(host, "validate", json!({"directory": bad})).await;
    assert!(format!("{checked:?}").contains("`log` of `env`"), "{checked:?}");
    assert_eq!(host.asset_manager().leases(None).len(), 0);
}
