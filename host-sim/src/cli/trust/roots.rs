//! `trust roots`: what several roots decide together, one function for each command.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use host_sim::consensus;
use host_sim::trust::{SetChange, TrustHome, Unlock};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use trustchain::certificate::{self, Certificate};
use trustchain::rootset::{Proposal, RootSet};

use super::arguments::{Accept, Certify, CosignRoots, Propose, Roots, RootsCommand};
use super::shown;
use crate::cli::commands::at;
use crate::cli::output::Output;

/// The field by which a root set is told from a certification, which has none of that name.
const PAYLOAD_FIELD: &str = "payloadType";

pub(super) fn run(options: &Roots, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    match &options.command {
        None => show(home, output),
        Some(RootsCommand::Propose(options)) => propose(options, home, unlock, output),
        Some(RootsCommand::Sign(options)) => sign(options, home, unlock, output),
        Some(RootsCommand::Accept(options)) => accept(options, home, output),
        Some(RootsCommand::Certify(options)) => certify(options, home, unlock, output),
    }
}

fn show(home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let home = TrustHome::open(home)?;
    let Some(set) = home.root_set()? else {
        let root = home.root()?;
        let text = format!(
            "{} decides alone: whoever steals its keys decides, too\n`host-sim trust roots propose` lets several roots decide together\n",
            root.subject()
        );
        let data = json!({"result": "SUCCESS", "reason": null, "path": [root.subject()], "version": 0, "threshold": 1,
            "roots": [fact(&home, &root)?]});
        return Ok(output.answer(&text, data));
    };
    let facts = set.roots().map(|root| fact(&home, root)).collect::<Result<Vec<_>, _>>()?;
    let mut text = told(&set);
    for fact in &facts {
        let end = fact["list_ends"].as_str().map_or_else(
            || "no revocation list of it is here".to_owned(),
            |end| format!("its revocation list counts until {end}"),
        );
        let (subject, id) = (fact["subject"].as_str().unwrap_or(""), fact["fingerprint"].as_str().unwrap_or(""));
        let _ = writeln!(text, "  {subject}\n    {id}\n    {end}");
    }
    Ok(output.answer(&text, answer(&set, &Json::Array(facts))))
}

fn propose(options: &Propose, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let geneses = consensus::geneses(home, unlock).map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
    let home = TrustHome::open(home)?;
    let change = SetChange {
        threshold: options.threshold,
        with: read_all(&options.with)?,
        without: read_all(&options.without)?,
        authorities: read_all(&options.authority)?,
        geneses,
    };
    let proposal = home.propose(&change)?;
    write(&options.out, &proposal)?;
    progress("wrote", &options.out, &proposal, output)
}

fn sign(options: &CosignRoots, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let proposal = TrustHome::open(home)?.cosign(&read(&options.file)?, unlock)?;
    write(&options.file, &proposal)?;
    progress("signed", &options.file, &proposal, output)
}

fn accept(options: &Accept, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let home = TrustHome::open(home)?;
    let bytes = read(&options.file)?;
    let document: Json = serde_json::from_slice(&bytes).map_err(|error| {
        Error::wrap(Code::INVALID_ARGUMENT, &error)
            .help(format!("`{}` is neither a root set nor a certification", options.file.display()))
    })?;
    if document.get(PAYLOAD_FIELD).is_some() {
        let set = home.accept(&bytes)?;
        return Ok(output.answer(&format!("accepted {}", told(&set)), answer(&set, &Json::Null)));
    }
    let name = home.take_certification(&TrustHome::read_certification(&options.file)?)?;
    let chain = home.chain(&name)?;
    let text = format!("{} is certified by {} now\n", chain[0].subject(), chain[0].issuer());
    let data =
        json!({"result": "SUCCESS", "reason": null, "path": [chain[0].subject(), chain[0].issuer()], "name": name});
    Ok(output.answer(&text, data))
}

fn certify(options: &Certify, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let home = TrustHome::open(home)?;
    let authority = read_all(std::slice::from_ref(&options.authority))?.swap_remove(0);
    let certification = home.certify(&authority, unlock)?;
    let text = serde_json::to_vec_pretty(&certification).map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
    std::fs::write(&options.out, text).map_err(|error| at(&options.out, &error))?;
    let root = home.root()?;
    let text = format!(
        "certified {} by {}\nwrote {}; `host-sim trust roots accept` takes it in the home of the authority\n",
        authority.subject(),
        root.subject(),
        options.out.display()
    );
    let data = json!({"result": "SUCCESS", "reason": null, "path": [authority.subject(), root.subject()],
        "file": options.out});
    Ok(output.answer(&text, data))
}

fn progress(done: &str, file: &Path, proposal: &Proposal, output: &Output) -> Result<ExitCode, Error> {
    let (signed, needed) = proposal.progress().map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
    let next = if signed < needed {
        "let the roots sign it: `host-sim trust roots sign FILE` in the home of each"
    } else {
        "`host-sim trust roots accept FILE` takes it, in the home of each"
    };
    let text = format!(
        "{done} {}: root set {}, signed by {signed} of its roots, {needed} must\n{next}\n",
        file.display(),
        proposal.version()
    );
    let data = json!({"result": "SUCCESS", "reason": null, "path": [], "file": file, "version": proposal.version(),
        "signed": signed, "threshold": needed});
    Ok(output.answer(&text, data))
}

fn told(set: &RootSet) -> String {
    format!(
        "root set {}: {} of {} roots decide together\n  authorities that it names  {}\n  geneses that it names      {}\n",
        set.version(),
        set.threshold(),
        set.roots().len(),
        set.authorities(),
        set.geneses().len()
    )
}

fn answer(set: &RootSet, roots: &Json) -> Json {
    let path: Vec<&str> = set.roots().map(Certificate::subject).collect();
    json!({"result": "SUCCESS", "reason": null, "path": path, "version": set.version(), "threshold": set.threshold(),
        "roots": roots, "authorities": set.authorities(), "geneses": set.geneses()})
}

fn fact(home: &TrustHome, root: &Certificate) -> Result<Json, Error> {
    let end = home.root_list_end(root)?.map(shown);
    Ok(json!({"subject": root.subject(), "fingerprint": root.fingerprint().to_string(), "list_ends": end}))
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|error| at(file, &error))
}

/// Reads the first certificate of each file.
fn read_all(files: &[std::path::PathBuf]) -> Result<Vec<Certificate>, Error> {
    let first = |file: &std::path::PathBuf| {
        let read = certificate::from_pem(&read(file)?);
        let mut read = read.map_err(|error| {
            Error::wrap(Code::INVALID_ARGUMENT, &error)
                .help(format!("`{}` is to hold a certificate in PEM", file.display()))
        })?;
        Ok(read.swap_remove(0))
    };
    files.iter().map(first).collect()
}

fn write(file: &Path, proposal: &Proposal) -> Result<(), Error> {
    let bytes = proposal.write().map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
    std::fs::write(file, bytes).map_err(|error| at(file, &error))
}
