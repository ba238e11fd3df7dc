//! Answers about how packages hang together, what changes between them, and what is thought of them.

use std::fmt::Write;
use std::path::Path;

use hypermesh_abi::records::{InputFault, Response};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use trustchain::owners::Owners;

use super::size;
use crate::ops::diff::{Difference, FileChange};
use crate::ops::graph::{self, Link, Tree, Why};
use crate::ops::licences::Licensed;
use crate::ops::outdated::Outdated;
use crate::ops::owners::Ownership;
use crate::ops::recommend::{Reason, Recommendation};
use crate::package::name::PackageName;
use crate::registry::Statistics;

pub(in crate::extension) fn why(why: &Why) -> Response {
    let Why { name, version, asked_for, chains, dependents } = why;
    let mut text = format!("{name} {version}\n");
    if let Some(requirement) = asked_for {
        let _ = writeln!(text, "  was asked for as `{requirement}`");
    }
    for chain in chains {
        let mut line = String::new();
        for link in chain {
            // `asks -[for what]-> gets`, as arrows of a graph have their labels.
            let wanted = link.requirement.as_ref().map_or(String::new(), |text| format!("[{text}]-"));
            match line.is_empty() {
                true => line = format!("  {} {}", link.name, link.version),
                false => line.push_str(&format!(" -{wanted}> {} {}", link.name, link.version)),
            }
        }
        let _ = writeln!(text, "{line}");
    }
    if *dependents > chains.len() {
        let _ = writeln!(text, "  … and {} more packages that build on it", dependents - chains.len());
    }
    let link = |link: &Link| json!({"package": link.name, "version": link.version, "requirement": link.requirement});
    let chains: Vec<Vec<Json>> = chains.iter().map(|chain| chain.iter().map(link).collect()).collect();
    let data = json!({"package": name, "version": version, "asked_for": asked_for, "chains": chains,
        "dependents": dependents});
    Response { data, text }
}

pub(in crate::extension) fn tree(tree: &Tree, depth: usize) -> Response {
    let mut text = graph::draw(tree, depth);
    if text.is_empty() {
        text.push_str("nothing is installed; `catalog install PKG` installs a package\n");
    }
    let packages: Vec<Json> = tree.lockfile.packages().map(super::locked).collect();
    Response { data: json!({"roots": tree.roots, "packages": packages}), text }
}

pub(in crate::extension) fn difference(difference: &Difference) -> Response {
    let Difference { before, after, files, dependencies, capabilities, licences } = difference;
    let mut text = format!("{} {} -> {} {}\n", before.0, before.1, after.0, after.1);
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = writeln!(text, "{title}");
            lines.iter().for_each(|line| _ = writeln!(text, "  {line}"));
        }
    };
    let sign = |wider: bool| if wider { '!' } else { ' ' };
    section(
        "capabilities",
        capabilities.iter().map(|change| format!("{} {}", sign(change.wider), change.text)).collect(),
    );
    let or_none = |licence: &Option<String>| licence.clone().unwrap_or_else(|| "none".into());
    section(
        "licence",
        licences.iter().map(|(before, after)| format!("~ {} -> {}", or_none(before), or_none(after))).collect(),
    );
    let changed = |name: &dyn std::fmt::Display, before: Option<String>, after: Option<String>| match (before, after) {
        (None, after) => format!("+ {name} {}", after.unwrap_or_default()),
        (before, None) => format!("- {name} {}", before.unwrap_or_default()),
        (Some(before), Some(after)) if before == after => format!("~ {name} {before}"),
        (Some(before), Some(after)) => format!("~ {name} {before} -> {after}"),
    };
    let dependency = |change: &crate::ops::diff::DependencyChange| {
        changed(&change.name, change.before.clone(), change.after.clone())
    };
    section("dependencies", dependencies.iter().map(dependency).collect());
    let file = |change: &FileChange| changed(&change.path, change.before.map(size), change.after.map(size));
    section("files", files.iter().map(file).collect());
    if files.is_empty() {
        text.push_str("nothing differs\n");
    }
    let data = json!({
        "before": {"package": before.0, "version": before.1},
        "after": {"package": after.0, "version": after.1},
        "files": files.iter().map(|file| json!({"path": file.path, "before": file.before, "after": file.after}))
            .collect::<Vec<_>>(),
        "dependencies": dependencies.iter()
            .map(|change| json!({"package": change.name, "before": change.before, "after": change.after}))
            .collect::<Vec<_>>(),
        "capabilities": capabilities.iter()
            .map(|change| json!({"capability": change.capability, "change": change.text, "wider": change.wider}))
            .collect::<Vec<_>>(),
        "licenses": licences.as_ref().map(|(before, after)| json!({"before": before, "after": after})),
    });
    Response { data, text }
}

/// Licences that are not allowed are an error of the verb, so that scripts see it; the whole answer goes with it.
pub(in crate::extension) fn licences(licences: &[Licensed]) -> Result<Response, Error> {
    let mut text = String::new();
    for Licensed { package, licence, refused } in licences {
        let refused = refused.as_ref().map_or(String::new(), |reason| format!("  not allowed: {reason}"));
        let _ = writeln!(text, "{package:<28} {}{refused}", licence.as_deref().unwrap_or("no licence"));
    }
    if licences.is_empty() {
        text.push_str("nothing is installed; `catalog licenses PKG` looks at what installing it would bring\n");
    }
    let row = |l: &Licensed| json!({"package": l.package, "license": l.licence, "refused": l.refused});
    let data = json!({"packages": licences.iter().map(row).collect::<Vec<_>>()});
    let refused: Vec<&Licensed> = licences.iter().filter(|licensed| licensed.refused.is_some()).collect();
    if refused.is_empty() {
        return Ok(Response { data, text });
    }
    let message = match refused.len() {
        1 => "1 licence is not allowed on this node".to_owned(),
        many => format!("{many} licences are not allowed on this node"),
    };
    let mut error = Error::new(Code::POLICY_DENIED, message)
        .help("`configuration.licenses` of the extension's manifest says what is allowed, and has exceptions");
    error.detail.name = Some("LICENCE_REFUSED".into());
    let fault = |licensed: &&Licensed| InputFault {
        code: "LICENCE".into(),
        severity: "error".into(),
        message: format!("{}: {}", licensed.package, licensed.refused.as_deref().unwrap_or_default()),
        ..InputFault::default()
    };
    error.detail.faults = refused.iter().map(fault).collect();
    error.detail.answer = Some(Response { data, text });
    Err(error)
}

pub(in crate::extension) fn bill(bill: &Json, out: Option<&Path>) -> Response {
    let text = match out {
        Some(path) => format!("written to {}\n", path.display()),
        None => format!("{bill:#}\n"),
    };
    Response { data: json!({"sbom": bill, "out": out}), text }
}

pub(in crate::extension) fn owners(ownership: &Ownership) -> Response {
    let Ownership { name, owners } = ownership;
    let (namespace, current) = (name.namespace(), owners.as_ref().map_or(&[][..], Owners::current));
    let mut text = match current {
        [] if namespace.is_some() => String::new(),
        [] => format!("{name} belongs to nobody yet; whoever publishes it first has it\n"),
        [first, others @ ..] => {
            let mut text = format!("{name} belongs to {first}\n");
            others.iter().for_each(|other| _ = writeln!(text, "{:w$} and to {other}", "", w = name.as_str().len() + 8));
            text
        }
    };
    let former: Vec<(&String, &u64)> = owners.iter().flat_map(Owners::former).collect();
    for (publisher, last) in &former {
        let _ = writeln!(text, "{publisher} has owned it: what it released until entry {last} of its feed stays");
    }
    if let Some(namespace) = namespace {
        let _ = writeln!(text, "`{namespace}/` belongs to publishers whose certificate names the namespace");
    }
    let former: Vec<Json> =
        former.iter().map(|(publisher, last)| json!({"publisher": publisher, "until": last})).collect();
    let data = json!({"package": name, "namespace": namespace, "owners": current, "former": former});
    Response { data, text }
}

pub(in crate::extension) fn recommended(recommendations: &[Recommendation]) -> Response {
    let mut text = String::new();
    let mut results = Vec::new();
    for Recommendation { name, version, description, reasons, score } in recommendations {
        let named = format!("{name} {version}");
        let line = format!("{named:<28} {}", description.as_deref().unwrap_or_default());
        let _ = writeln!(text, "{}", line.trim_end());
        let told: Vec<String> = reasons.iter().map(reason).collect();
        told.iter().for_each(|reason| _ = writeln!(text, "    {reason}"));
        let kinds: Vec<&str> = reasons.iter().map(kind).collect();
        results.push(json!({"name": name, "version": version, "description": description, "score": score,
            "reasons": told, "kinds": kinds}));
    }
    if results.is_empty() {
        text.push_str("nothing to recommend: nothing else is published, or nothing that goes with what is installed\n");
    }
    Response { data: json!({"results": results}), text }
}

pub(in crate::extension) fn noted(name: &PackageName, stars: u8, statistics: &Statistics) -> Response {
    let rating = statistics.rating;
    let text =
        format!("{name} has {stars} stars from this node, {:.1} on average of {}\n", rating.average, rating.count);
    let data = json!({"package": name, "stars": stars, "average": rating.average, "ratings": rating.count});
    Response { data, text }
}

pub(in crate::extension) fn outdated(outdated: &[Outdated]) -> Response {
    let mut text = String::new();
    let or_dash = |version: &Option<semver::Version>| version.as_ref().map_or("-".into(), ToString::to_string);
    if !outdated.is_empty() {
        let _ = writeln!(text, "{:<28} {:<12} {:<12} LATEST", "PACKAGE", "INSTALLED", "COMPATIBLE");
    }
    for package in outdated {
        let yanked = package.yanked.as_ref().map_or(String::new(), |reason| format!("  yanked: {reason}"));
        let (compatible, latest) = (or_dash(&package.compatible), or_dash(&package.latest));
        let _ = writeln!(
            text,
            "{}",
            format!(
                "{:<28} {:<12} {compatible:<12} {latest}{yanked}",
                package.name.as_str(),
                package.installed.to_string()
            )
            .trim_end()
        );
    }
    if outdated.is_empty() {
        text.push_str("everything that is installed is the newest there is\n");
    }
    let row = |package: &Outdated| {
        json!({"package": package.name, "version": package.installed, "yanked": package.yanked,
            "compatible": package.compatible, "latest": package.latest})
    };
    Response { data: json!({"packages": outdated.iter().map(row).collect::<Vec<_>>()}), text }
}

fn reason(reason: &Reason) -> String {
    let names = |names: &[PackageName]| names.iter().map(PackageName::as_str).collect::<Vec<_>>().join(", ");
    match reason {
        Reason::Dependency(on) => format!("builds on {}", names(on)),
        Reason::Similar { words, with } => format!("about {}, as {}", words.join(", "), names(with)),
        Reason::Trending { downloads: 1 } => "installed once".to_owned(),
        Reason::Trending { downloads } => format!("installed {downloads} times"),
        Reason::Rated { average, count: 1 } => format!("{average:.1} stars from one node"),
        Reason::Rated { average, count } => format!("{average:.1} stars from {count} nodes"),
    }
}

fn kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::Dependency(_) => "Dependency",
        Reason::Similar { .. } => "Similar",
        Reason::Trending { .. } => "Trending",
        Reason::Rated { .. } => "Rated",
    }
}
