//! The request table: every verb with its parameters, and who answers it.

mod audit;
mod bench_vm;
mod doctor;
mod document;
mod inspect;
mod memory;
mod network;
mod owners;
mod parameters;
mod registry;
mod resolve;
mod run_file;
mod runs;
#[cfg(feature = "julia")]
mod runtime;
mod sandbox;
mod search;
mod store;
mod template;

use std::path::PathBuf;
use std::sync::Arc;

use hypermesh_abi::records::{Panel, Response, Verb};
use hypermesh_abi::sdk::Call;
use hypermesh_abi::{Code, Error};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use self::parameters::{
    Audit, Change, Directory, Feeds, ImportAdvisories, Info, List, ListAdvisories, Publish, Update, Verify, Yank,
};
use super::ports::CallHost;
use super::{CatalogExtension, answers};
use crate::ops::Catalog;
use crate::ops::audit::Scope;
use crate::ops::publish::{Mode, PublishOptions};
use crate::trust::policy::Confirmed;

/// Gives the request table.
pub(super) fn table() -> Vec<Verb> {
    let mut verbs = template::table();
    verbs.extend(table_of_authors());
    verbs.extend(search::table());
    verbs.extend(table_of_users());
    verbs.extend(runs::table());
    verbs.extend(memory::table());
    verbs.extend(table_of_auditors());
    verbs.extend(registry::table());
    verbs.extend(network::table());
    verbs.extend(inspect::table());
    verbs.extend(owners::table());
    verbs.push(document::verb());
    verbs.extend(store::table());
    #[cfg(feature = "julia")]
    verbs.extend(runtime::table());
    verbs.push(sandbox::verb());
    verbs.push(doctor::verb());
    verbs.push(bench_vm::verb());
    verbs
}

fn table_of_authors() -> Vec<Verb> {
    vec![
        Verb::new::<Directory>("validate", "Check a package without publishing it")
            .description(
                "Reads the manifest (package.yaml, .json or .toml) and every file it names, and reports all faults in \
                 one pass, each with its line, field and what to do. Six analysers then look for weaknesses, syntax, cost, \
                 licences, content and dependencies, with a score each; a critical finding is refused, as publishing \
                 would. Runs nothing of the package.",
            )
            .example("validate ./vec3", "check the package in a directory"),
        Verb::new::<Publish>("publish", "Publish packages on this node, all or none")
            .description(
                "Packs and publishes packages, each with a release statement that a publisher of this node signs with \
                 both keys. Versions never change once published. Dependencies must be published already or along with \
                 the packages. Each package becomes an asset of the host.",
            )
            .example("publish ./vec3 ./geometry", "publish two packages at once")
            .example("publish ./vec3 --dry-run", "check everything, publish nothing")
            .example("publish ./vec3 --publisher acme", "signed by another publisher of this node")
            .streaming(),
        Verb::new::<Yank>("yank", "Keep a version from being chosen, or allow it again")
            .description(
                "What is installed stays and what is locked still resolves; new choices pass the version over. The \
                 publisher says so in its feed.",
            )
            .example("yank vec3@1.0.0 --reason 'wrong cross product'", "with a reason that people see")
            .example("yank vec3@1.0.0 --undo", "take it back")
            .taking_away()
            .panel(Panel::new("release-action").about("package")),
        Verb::new::<Feeds>("feeds", "List publishers' feeds, or sign their heads anew")
            .description(
                "A feed is the numbered, chained list of what a publisher released. Its signed head counts for a week: \
                 who holds newer ones back is noticed.",
            )
            .example("feeds", "how far each goes, until when it counts, and its publisher's reputation")
            .example("feeds --renew", "for another week")
            .panel(Panel::new("table")),
    ]
}

fn table_of_users() -> Vec<Verb> {
    vec![
        Verb::new::<Info>("info", "Show everything about a package")
            .example("info ray-tracer", "the latest version")
            .example("info ray-tracer@1.0.0", "a certain version")
            .panel(Panel::new("package").about("package")),
        Verb::new::<List>("list", "List installed packages")
            .example("list", "what is installed")
            .example("list --outdated", "what has a newer version, or was yanked")
            .example("list --published", "what is published here")
            .panel(Panel::new("installed"))
            .panel(Panel::new("packages").with("published", true)),
        resolve::verb(),
        Verb::new::<Update>("update", "Update installed packages to newer versions")
            .description(
                "The strategy `safe` stays compatible with what is installed by the rules of semantic versioning; `latest` \
                 takes the newest versions that fit together, and notes what was asked for anew. Packages that are not \
                 named stay as they are where that is possible. `diff PKG` shows what a newer version changes.",
            )
            .example("update --dry-run", "show what would change")
            .example("update vec3", "one package, to a compatible version")
            .example("update --strategy latest", "everything, across major versions")
            .streaming()
            .panel(Panel::new("package-action").about("packages"))
            .panel(Panel::new("action")),
        Verb::new::<Change>("remove", "Remove packages and what only they needed")
            .example("remove ray-tracer", "refused while another package needs it")
            .streaming()
            .taking_away()
            .panel(Panel::new("package-action").about("packages")),
        Verb::new::<Verify>("verify", "Check every byte of installed packages")
            .example("verify", "everything")
            .example("verify vec3", "one package")
            .example("verify vec3 --explain", "who vouches for it, and why the policy lets it in or not")
            .streaming()
            .panel(Panel::new("provenance").about("packages").with("explain", true)),
    ]
}

fn table_of_auditors() -> Vec<Verb> {
    vec![
        Verb::new::<Audit>("audit", "Hold packages against the advisories of this node")
            .description(
                "Looks up every installed package, or the packages given with what they need, or those of a catalog.lock, \
                 in the advisories that were imported. Says what is known, how bad it is, which version mends it, and why \
                 the package is there. Fails if something is as bad as the level.",
            )
            .example("audit", "what is installed")
            .example("audit ray-tracer --level high", "what installing it would bring; fail from high on")
            .example("audit --lockfile ./catalog.lock --sarif audit.sarif", "a lockfile, for a code scanner")
            .example("audit --ignore 'HM-2026-0001=not reachable from here'", "all but one, for a reason")
            .streaming(),
        Verb::new::<ImportAdvisories>("advisories import", "Import advisories in the OSV format, all or none")
            .description(
                "Reads a record of the OSV schema, a directory of them, or a zip as OSV databases publish it. Records about \
                 the ecosystem `HyperMesh` are kept, others are counted. A later edition of a record replaces an earlier one.",
            )
            .example("advisories import ./advisories", "every *.json of a directory")
            .example("advisories import all.zip --replace", "a whole database; what it has no more is removed"),
        Verb::new::<ListAdvisories>("advisories list", "List advisories and how old they are")
            .example("advisories list", "all of them")
            .example("advisories list vec3", "those of a package")
            .panel(Panel::new("table")),
    ]
}

/// Answers a verb, and tells peers what is new through it.
pub(super) async fn answer(
    extension: &CatalogExtension,
    call: Call,
    verb: &str,
    params: Json,
) -> Result<Response, Error> {
    let host = CallHost::new(call.clone());
    let response = answer_alone(extension, call, verb, params).await?;
    match verb {
        "publish" | "yank" | "feeds" | "owner add" | "owner remove" => {
            extension.catalog()?.publish_to_peers(Arc::new(host)).await;
        }
        "install" | "update" | "remove" | "rollback" | "cache" => extension.catalog()?.archives_changed().await,
        _ => {}
    }
    Ok(response)
}

async fn answer_alone(extension: &CatalogExtension, call: Call, verb: &str, params: Json) -> Result<Response, Error> {
    match verb {
        "validate" => validate(extension, call, read(params)?).await,
        "publish" => publish(extension, call, read(params)?).await,
        "search" => search::search(extension, call, read(params)?).await,
        "index import" => search::import(extension, call, read(params)?).await,
        "info" => info(extension, call, read(params)?).await,
        "list" => list(extension, call, read(params)?).await,
        "resolve" => resolve::resolve(extension, call, read(params)?).await,
        "update" => update(extension, call, read(params)?).await,
        "remove" => remove(extension, call, read(params)?).await,
        "run" | "ps" | "logs" | "kill" | "receipt" => runs::answer(extension, call, verb, params).await,
        "memory list" | "memory read" | "memory write" | "memory add" | "memory swap" | "memory end" => {
            memory::answer(extension, call, verb, params).await
        }
        "verify" => verify(extension, call, read(params)?).await,
        "yank" => yank(extension, call, read(params)?).await,
        "feeds" => feeds(extension, call, read(params)?).await,
        "audit" => audit::audit(extension, call, read(params)?).await,
        "advisories import" => audit::import(extension, call, read(params)?).await,
        "advisories list" => audit::list(extension, call, read(params)?).await,
        "peers" | "sync" | "replicas" | "mirror add" | "mirror remove" | "mirror list" => {
            network::answer(extension, call, verb, params).await
        }
        "registry export" => registry::export(extension, call, read(params)?).await,
        "doc" => document::document(extension, call, read(params)?).await,
        "registry rebuild" => registry::rebuild(extension, call, read(params)?).await,
        "bench-vm" => bench_vm::bench_vm(extension, read(params)?).await,
        "doctor" => doctor::doctor(extension, call, read(params)?).await,
        "sandbox selftest" => sandbox::selftest(extension, read(params)?).await,
        "new" | "template list" | "template show" | "template update" => {
            template::answer(extension, call, verb, params).await
        }
        "registry status" => registry::status(extension, call, read(params)?).await,
        "why" | "tree" | "diff" | "licenses" | "sbom" | "recommend" | "rate" => {
            inspect::answer(extension, call, verb, params).await
        }
        "owner list" | "owner add" | "owner remove" => owners::answer(extension, call, verb, params).await,
        #[cfg(feature = "julia")]
        "runtime list" | "runtime install" | "runtime remove" => runtime::answer(extension, call, verb, params).await,
        _ => store::answer(extension, call, verb, params).await,
    }
}

async fn validate(extension: &CatalogExtension, call: Call, params: Directory) -> Result<Response, Error> {
    extension
        .blocking(call, move |catalog, _| Ok(answers::validated(&catalog.pack(&params.directory)?.publishable()?)))
        .await
}

async fn publish(extension: &CatalogExtension, call: Call, params: Publish) -> Result<Response, Error> {
    let Publish { directories, dry_run, publisher, confirm, compression } = params;
    let compression = store::compression(compression.as_deref())?;
    let options = PublishOptions { mode: mode(dry_run), publisher, confirmed: confirmed(confirm), compression };
    extension
        .blocking(call, move |catalog, host| {
            Ok(answers::published(&catalog.publish(&directories, &options, host)?, options.mode))
        })
        .await
}

async fn info(extension: &CatalogExtension, call: Call, params: Info) -> Result<Response, Error> {
    extension.blocking(call, move |catalog, host| Ok(answers::details(&catalog.info(&params.package, host)?))).await
}

async fn list(extension: &CatalogExtension, call: Call, params: List) -> Result<Response, Error> {
    let platform = call.host.identity().platform;
    extension
        .blocking(call, move |catalog, _| {
            if params.outdated {
                return Ok(answers::outdated(&catalog.outdated(&platform)?));
            }
            if params.published {
                return Ok(answers::releases(&catalog.published()?));
            }
            let (generation, lockfile) = catalog.list(&platform)?;
            Ok(answers::installed(generation, &lockfile))
        })
        .await
}

async fn update(extension: &CatalogExtension, call: Call, params: Update) -> Result<Response, Error> {
    let Update { packages, strategy, dry_run, confirm, offline } = params;
    let (mode, confirmed) = (mode(dry_run), confirmed(confirm));
    extension
        .blocking_as(CallHost::new(call).offline_if(offline), move |catalog, host| {
            Ok(answers::installation(&catalog.update(&packages, strategy, mode, confirmed, host)?, mode))
        })
        .await
}

async fn remove(extension: &CatalogExtension, call: Call, params: Change) -> Result<Response, Error> {
    let mode = mode(params.dry_run);
    extension
        .blocking(call, move |catalog, host| {
            Ok(answers::installation(&catalog.remove(&params.packages, mode, host)?, mode))
        })
        .await
}

async fn verify(extension: &CatalogExtension, call: Call, params: Verify) -> Result<Response, Error> {
    if params.explain {
        let explain =
            move |catalog: &Catalog, host: &CallHost| Ok(answers::explained(&catalog.explain(&params.packages, host)?));
        return extension.blocking(call, explain).await;
    }
    let findings = extension.blocking(call, move |catalog, host| catalog.verify(&params.packages, host)).await?;
    answers::verified(&findings)
}

async fn yank(extension: &CatalogExtension, call: Call, params: Yank) -> Result<Response, Error> {
    extension
        .blocking(call, move |catalog, host| {
            let reason = (!params.undo).then_some(params.reason.as_str());
            let (name, version) = catalog.yank(&params.package, reason, host)?;
            Ok(answers::yanked(name.as_str(), &version.to_string(), reason))
        })
        .await
}

async fn feeds(extension: &CatalogExtension, call: Call, params: Feeds) -> Result<Response, Error> {
    extension
        .blocking(call, move |catalog, host| {
            if params.renew {
                return Ok(answers::renewed(&catalog.renew_feeds(params.publisher.as_deref(), host)?));
            }
            let mut feeds = catalog.feeds(host)?;
            feeds.retain(|feed| params.publisher.as_ref().is_none_or(|wanted| *wanted == feed.publisher));
            Ok(answers::feeds(&feeds))
        })
        .await
}

fn read<T: DeserializeOwned>(params: Json) -> Result<T, Error> {
    serde_path_to_error::deserialize(params).map_err(|error| {
        let message = format!("parameter `{}`: {}", error.path(), error.inner());
        Error::new(Code::INVALID_ARGUMENT, message).help("the request table says which parameters a verb has")
    })
}

/// Reads which packages a verb is about.
fn scope(packages: Vec<String>, lockfile: Option<PathBuf>) -> Result<Scope, Error> {
    match (lockfile, packages) {
        (None, packages) if packages.is_empty() => Ok(Scope::Installed),
        (None, packages) => Ok(Scope::Packages(packages)),
        (Some(path), packages) if packages.is_empty() => Ok(Scope::Lockfile(path)),
        (Some(_), _) => {
            let message = "parameters `packages` and `lockfile` exclude each other";
            Err(Error::new(Code::INVALID_ARGUMENT, message).help("give packages or a lockfile, or neither"))
        }
    }
}

fn confirmed(confirm: bool) -> Confirmed {
    if confirm { Confirmed::Yes } else { Confirmed::No }
}

fn mode(dry_run: bool) -> Mode {
    if dry_run { Mode::DryRun } else { Mode::Commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_give_parameters_that_their_verbs_have() {
        let mut panels = 0;
        for verb in table() {
            let known = verb.parameters["properties"].as_object().cloned().unwrap_or_default();
            let required = verb.parameters["required"].as_array().cloned().unwrap_or_default();
            for panel in &verb.panels {
                panels += 1;
                let given: Vec<&String> = panel.subject.iter().chain(panel.with.keys()).collect();
                assert!(given.iter().all(|name| known.contains_key(*name)), "{} {given:?}", verb.name);
                let is_action = panel.role.ends_with("action");
                let missing = required.iter().find(|name| !given.iter().any(|given| *name == given.as_str()));
                // What an action still needs is asked for.
                assert!(is_action || missing.is_none(), "{} as `{}` lacks {missing:?}", verb.name, panel.role);
            }
        }
        assert!(panels > 20, "{panels}");
    }
}
