//! `trust`: the certificates of a home on the command line, one function for each command.

mod arguments;
mod authority;
mod roots;
mod verify;

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use host_sim::trust::{InitOptions, IssueOptions, Issued, KeyKind, ListState, NewKeys, Record, TrustHome, Unlock};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use trustchain::certificate::{self, Certificate, Role};
use trustchain::keyfile;

pub(crate) use self::arguments::Trust;
use self::arguments::{Crl, Init, Issue, Lifetime, Renew, Request, Revoke, Show, TrustCommand};
use super::output::Output;

/// Runs a command.
///
/// # Errors
/// Whatever went wrong, for [`Output::fail`].
pub(crate) async fn run(options: &Trust, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let unlock = Unlock::from_environment(options.passphrase.passphrase_file.as_deref())?;
    match &options.command {
        TrustCommand::Init(options) => init(options, home, &unlock, output),
        TrustCommand::Issue(options) => issue(options, home, &unlock, output),
        TrustCommand::Request(options) => request(options, home, &unlock, output),
        TrustCommand::Renew(options) => renew(options, home, &unlock, output),
        TrustCommand::Roots(options) => roots::run(options, home, &unlock, output),
        TrustCommand::Serve(options) => authority::serve(options, home, unlock, output).await,
        TrustCommand::Token(options) => authority::token(options, home, output),
        TrustCommand::Join(options) => authority::join(options, home, &unlock, output).await,
        TrustCommand::Fetch(options) => authority::fetch(options, home, &unlock, output).await,
        TrustCommand::Status(options) => authority::status(options, home, &unlock, output).await,
        TrustCommand::Revoke(options) => {
            if !options.yes {
                super::ask::may_go_on(&format!("revoke `{}` for ever?", options.target), output)?;
            }
            if options.remote {
                return authority::revoke(&options.target, options.reason, home, &unlock, output).await;
            }
            revoke(options, home, &unlock, output)
        }
        TrustCommand::Crl(options) => crl(options, home, &unlock, output),
        TrustCommand::Show(options) => show(options, home, output),
        TrustCommand::Verify(options) => verify::run(options, home, output),
    }
}

fn init(options: &Init, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let options = InitOptions {
        organization: options.name.clone(),
        namespaces: options.namespace.clone(),
        root_only: options.root_only,
    };
    let home = TrustHome::init(home, &options, unlock)?;
    let (root, names) = (home.root()?, home.names()?);
    let others = names.iter().filter(|name| *name != "root").cloned().collect::<Vec<_>>().join(", ");
    let others = if others.is_empty() { others } else { format!("  also     {others}\n") };
    let text = format!(
        "made {}\n  root     {}\n  valid    until {}\n{others}  cluster  {}\n",
        root.subject(),
        home.directory().join("root.pem").display(),
        shown(root.validity().not_after),
        home.cluster()?,
    );
    let data = json!({"result": "SUCCESS", "reason": null, "path": [root.subject()], "names": names,
        "root": home.directory().join("root.pem"), "fingerprint": root.fingerprint().to_string(), "cluster": home.cluster()?});
    Ok(output.answer(&text, data))
}

fn issue(options: &Issue, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let home = TrustHome::open(home)?;
    let request =
        options.request.as_deref().map(|path| std::fs::read(path).map_err(|error| super::commands::at(path, &error)));
    let issued = home.issue(
        &IssueOptions {
            purpose: options.purpose,
            name: options.name.clone(),
            namespaces: options.namespace.clone(),
            addresses: options.address.clone(),
            lifetime: options.lifetime.duration(),
            request: request.transpose()?,
            keys: match (options.classical, options.hybrid) {
                (true, _) => KeyKind::Classical,
                (_, true) => KeyKind::Hybrid,
                _ => KeyKind::Usual,
            },
        },
        unlock,
    )?;
    answer("issued", &home, &issued, output)
}

fn request(options: &Request, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let home = TrustHome::open(home)?;
    let namespaces = options.namespace.clone();
    let wanted = IssueOptions { namespaces, ..IssueOptions::new(options.purpose, &options.name) };
    let bytes = home.request(&wanted, unlock)?;
    std::fs::write(&options.out, bytes).map_err(|error| super::commands::at(&options.out, &error))?;
    let text = format!("wrote {}; it counts for ten minutes\n", options.out.display());
    Ok(output.answer(&text, json!({"result": "SUCCESS", "reason": null, "path": [], "file": options.out})))
}

fn renew(options: &Renew, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let home = TrustHome::open(home)?;
    let keys = match (options.new_keys, options.hybrid) {
        (true, _) => NewKeys::Make,
        (_, true) => NewKeys::NameBoth,
        _ => NewKeys::Keep,
    };
    let issued = home.renew(&options.name, keys, options.lifetime.duration(), unlock)?;
    answer("renewed", &home, &issued, output)
}

fn revoke(options: &Revoke, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let home = TrustHome::open(home)?;
    let record = home.revoke(&options.target, options.reason, options.effective, unlock)?;
    let since = record.revoked.map(|revoked| shown(revoked.effective)).unwrap_or_default();
    let text = format!("revoked {} with serial number {}, since {since}\n", record.subject, record.serial);
    let data = json!({"result": "SUCCESS", "reason": options.reason, "path": [record.subject], "name": record.name,
        "serial": record.serial, "effective": since, "lists": home.lists()?});
    Ok(output.answer(&text, data))
}

fn crl(options: &Crl, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let home = TrustHome::open(home)?;
    let renewed = if options.renew { home.renew_lists(true, unlock)? } else { Vec::new() };
    let lists = home.lists()?;
    let mut text = String::new();
    for list in &lists {
        let _ = writeln!(text, "{}", list_line(list));
    }
    if lists.iter().any(|list| !list.fresh) {
        text.push_str("sign them again with `host-sim trust crl --renew`\n");
    }
    let data = json!({"result": "SUCCESS", "reason": null, "path": [], "lists": lists, "renewed": renewed});
    Ok(output.answer(&text, data))
}

fn show(options: &Show, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let Some(what) = &options.what else { return show_home(&TrustHome::open(home)?, output) };
    let file = Path::new(what);
    let chain = if file.is_file() {
        let text = std::fs::read(file).map_err(|error| super::commands::at(file, &error))?;
        certificate::from_pem(&text).map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?
    } else {
        TrustHome::open(home)?.chain(what)?
    };
    let mut text = String::new();
    for certificate in &chain {
        describe(certificate, &mut text);
    }
    let path: Vec<&str> = chain.iter().map(Certificate::subject).collect();
    let certificates: Vec<Json> = chain.iter().map(facts).collect();
    Ok(output.answer(&text, json!({"result": "SUCCESS", "reason": null, "path": path, "certificates": certificates})))
}

fn show_home(home: &TrustHome, output: &Output) -> Result<ExitCode, Error> {
    let (records, now) = (home.records()?, OffsetDateTime::now_utc());
    let mut text = format!("cluster {}\n\n{:<24} {:<10} {:<22} SUBJECT\n", home.cluster()?, "NAME", "STATE", "END");
    let mut certificates = Vec::new();
    for name in home.names()? {
        let certificate = home.chain(&name)?.swap_remove(0);
        let state = state(&certificate, &records, now);
        let end = shown(certificate.validity().not_after);
        let _ = writeln!(text, "{name:<24} {state:<10} {end:<22} {}", certificate.subject());
        let mut facts = facts(&certificate);
        (facts["name"], facts["state"]) = (name.into(), state.into());
        certificates.push(facts);
    }
    text.push('\n');
    let lists = home.lists()?;
    for list in &lists {
        let _ = writeln!(text, "{}", list_line(list));
    }
    let unlock = unlocked_by(home);
    let _ = writeln!(text, "\nkeys are opened by {}", unlock["text"].as_str().unwrap_or_default());
    let data = json!({"result": "SUCCESS", "reason": null, "path": [], "cluster": home.cluster()?,
        "certificates": certificates, "lists": lists, "unlock": unlock});
    Ok(output.answer(&text, data))
}

fn answer(what: &str, home: &TrustHome, issued: &Issued, output: &Output) -> Result<ExitCode, Error> {
    let leaf = &issued.chain[0];
    let file = home.directory().join(format!("{}.pem", issued.name));
    let mut text = format!("{what} {} as {}\n", leaf.subject(), file.display());
    describe(leaf, &mut text);
    let root = home.root()?;
    let path: Vec<&str> = issued.chain.iter().chain([&root]).map(Certificate::subject).collect();
    let mut data = facts(leaf);
    data["result"] = "SUCCESS".into();
    data["reason"] = Json::Null;
    data["path"] = json!(path);
    data["name"] = issued.name.clone().into();
    data["file"] = json!(file);
    Ok(output.answer(&text, data))
}

fn facts(certificate: &Certificate) -> Json {
    let names: Vec<String> = certificate.names().iter().map(ToString::to_string).collect();
    json!({
        "subject": certificate.subject(),
        "issuer": certificate.issuer(),
        "serial": certificate.serial().to_string(),
        "fingerprint": certificate.fingerprint().to_string(),
        "not_before": shown(certificate.validity().not_before),
        "not_after": shown(certificate.validity().not_after),
        "names": names,
        "permitted": certificate.permitted(),
        "authority": matches!(certificate.role(), Role::Authority { .. }),
        "usages": certificate.usage().extended,
        "hybrid": certificate.is_signed_alternatively(),
    })
}

fn describe(certificate: &Certificate, text: &mut String) {
    let facts = facts(certificate);
    let list = |field: &str| {
        let items = facts[field].as_array().into_iter().flatten().filter_map(Json::as_str);
        items.collect::<Vec<_>>().join(", ")
    };
    let algorithms = if certificate.is_signed_alternatively() { "ed25519 and falcon-1024-r3" } else { "ed25519" };
    let _ = writeln!(
        text,
        "{}\n  issuer       {}\n  serial       {}\n  fingerprint  {}\n  valid        {} to {}\n  signed with  {algorithms}",
        certificate.subject(),
        certificate.issuer(),
        certificate.serial(),
        certificate.fingerprint(),
        shown(certificate.validity().not_before),
        shown(certificate.validity().not_after),
    );
    for (title, field) in [("speaks for", "names"), ("limited to", "permitted"), ("usages", "usages")] {
        let items = list(field);
        if !items.is_empty() {
            let _ = writeln!(text, "  {title:<12} {items}");
        }
    }
}

fn state(certificate: &Certificate, records: &[Record], now: OffsetDateTime) -> &'static str {
    let serial = certificate.serial().to_string();
    if records.iter().any(|record| record.serial == serial && record.revoked.is_some()) {
        return "revoked";
    }
    if certificate.validity().contains(now) { "valid" } else { "expired" }
}

fn list_line(list: &ListState) -> String {
    let expires = list
        .expires
        .map_or_else(|| "it cannot be read or has ended".to_owned(), |at| format!("counts until {}", shown(at)));
    let due = if list.fresh { "" } else { ", due to be signed again" };
    format!("list {} of {:<22} {} revoked, {expires}{due}", list.number, list.authority, list.revoked)
}

/// Says what opens the keys of a home and what a guess of it costs.
fn unlocked_by(home: &TrustHome) -> Json {
    let sealed = std::fs::read(home.directory().join("root.key")).unwrap_or_default();
    match keyfile::cost(&sealed) {
        Ok(Some(cost)) => json!({"by": "passphrase", "cost": cost,
            "text": format!("a passphrase; a guess costs argon2id with {} KiB, {} passes, {} lanes", cost.memory_kib, cost.passes, cost.lanes)}),
        Ok(None) => json!({"by": "key-file", "text": format!("`{}`", home.directory().join("unlock.key").display())}),
        Err(_) => json!({"by": "nothing", "text": "nothing here: the keys of the root are elsewhere"}),
    }
}

impl Lifetime {
    fn duration(&self) -> Option<Duration> {
        self.days.map(Duration::days).or(self.hours.map(Duration::hours))
    }
}

fn shown(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
