//! `trust serve`, `token`, `join`, `fetch` and `status`: TrustChain over a connection.

use std::path::Path;
use std::process::ExitCode;

use host_sim::authority::{self, Answer, Question, ServeOptions, Standing};
use host_sim::trust::{KeyKind, NODE, Token, TrustHome, Unlock};
use hypermesh_abi::{Code, Error, Fault};
use serde_json::{Value as Json, json};
use time::Duration;
use tokio::net::TcpListener;
use trustchain::certificate::Certificate;
use trustchain::revocation::Reason;

use super::arguments::{Fetch, Join, MakeToken, Serve, Status};
use super::shown;
use crate::cli::commands::at;
use crate::cli::daemon::Signals;
use crate::cli::output::Output;

/// The variable that holds a token.
const TOKEN_VARIABLE: &str = "HYPERMESH_TOKEN";

pub(super) async fn serve(options: &Serve, home: &Path, unlock: Unlock, output: &Output) -> Result<ExitCode, Error> {
    let listener = TcpListener::bind(options.listen).await;
    let address = listener.as_ref().map_or(Ok(options.listen), TcpListener::local_addr);
    let fault = |error: &std::io::Error| {
        let mut wrapped = Error::new(Code::IO, format!("cannot listen at `{}`", options.listen));
        wrapped.chain.push(error.to_string());
        wrapped
    };
    let (listener, address) = (listener.map_err(|error| fault(&error))?, address.map_err(|error| fault(&error))?);
    let root = TrustHome::open(home)?.root()?;
    let text = format!("{} answers at {address}\nstop it with Ctrl-C\n", root.subject());
    let data = json!({"result": "SUCCESS", "reason": null, "path": [root.subject()], "address": address,
        "pid": std::process::id()});
    let code = output.answer(&text, data);
    let mut signals = Signals::new();
    let keys = if options.hybrid { KeyKind::Hybrid } else { KeyKind::Usual };
    let options = ServeOptions { home: home.to_owned(), unlock, revokers: options.may_revoke.clone(), keys };
    authority::serve(listener, options, signals.wait()).await?;
    Ok(code)
}

pub(super) fn token(options: &MakeToken, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let home = TrustHome::open(home)?;
    let token = home.token(&options.name, Duration::minutes(options.minutes))?;
    write_secret(&options.out, token.expose().as_bytes()).map_err(|error| at(&options.out, &error))?;
    let text = format!(
        "wrote {}: it lets one home join as `{}` within {} minutes\n",
        options.out.display(),
        options.name,
        options.minutes
    );
    let data = json!({"result": "SUCCESS", "reason": null, "path": [], "name": options.name, "file": options.out,
        "root": home.root()?.fingerprint().to_string()});
    Ok(output.answer(&text, data))
}

pub(super) async fn join(options: &Join, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let text = match &options.token_file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| at(path, &error))?,
        None => std::env::var(TOKEN_VARIABLE).map_err(|_| {
            Error::new(Code::INVALID_ARGUMENT, "there is no token")
                .help(format!("give it with --token-file, or in {TOKEN_VARIABLE}; `host-sim trust token` makes one"))
        })?,
    };
    let token: Token = text.parse()?;
    authority::join(home, options.address, &token, unlock).await?;
    membership("joined as", home, output)
}

pub(super) async fn fetch(options: &Fetch, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let Some(name) = &options.name else {
        authority::fetch(home, unlock).await?;
        return membership("is up to date:", home, output);
    };
    match authority::ask(home, &Question::Chain { name: name.clone() }, unlock).await? {
        Answer::Chain(pem) => {
            Ok(output.answer(&pem, json!({"result": "SUCCESS", "reason": null, "path": [], "chain": pem})))
        }
        _ => Err(something_else()),
    }
}

pub(super) async fn status(options: &Status, home: &Path, unlock: &Unlock, output: &Output) -> Result<ExitCode, Error> {
    let question = Question::Status { serial: options.serial.clone() };
    let Answer::Status(standing) = authority::ask(home, &question, unlock).await? else { return Err(something_else()) };
    let (state, since) = match &standing {
        Standing::Good => ("good", Json::Null),
        Standing::Unknown => ("unknown", Json::Null),
        Standing::Revoked(revoked) => ("revoked", json!(revoked)),
    };
    let text = format!("{} is {state}\n", options.serial);
    let data = json!({"result": "SUCCESS", "reason": null, "path": [], "serial": options.serial, "state": state,
        "revoked": since});
    Ok(output.answer(&text, data))
}

/// Asks the authority of this home to revoke.
pub(super) async fn revoke(
    target: &str,
    reason: Reason,
    home: &Path,
    unlock: &Unlock,
    output: &Output,
) -> Result<ExitCode, Error> {
    let question = Question::Revoke { target: target.to_owned(), reason };
    let Answer::Revoked { serial, revoked } = authority::ask(home, &question, unlock).await? else {
        return Err(something_else());
    };
    let text = format!("the authority has revoked serial number {serial}, since {}\n", shown(revoked.effective));
    let data = json!({"result": "SUCCESS", "reason": reason, "path": [], "serial": serial, "effective": shown(revoked.effective)});
    Ok(output.answer(&text, data))
}

fn membership(done: &str, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let trust = TrustHome::open(home)?;
    let (chain, root) = (trust.chain(NODE)?, trust.root()?);
    let path: Vec<&str> = chain.iter().chain([&root]).map(Certificate::subject).collect();
    let end = shown(chain[0].validity().not_after);
    let text = format!("{done} {}, a member of {}\n  valid until {end}\n", chain[0].subject(), trust.cluster()?);
    let data = json!({"result": "SUCCESS", "reason": null, "path": path, "cluster": trust.cluster()?,
        "serial": chain[0].serial().to_string(), "not_after": end, "lists": trust.lists()?});
    Ok(output.answer(&text, data))
}

fn something_else() -> Error {
    Error::new(Code::INVALID_ARGUMENT, "the authority answers something else").fault(Fault::PEER)
}

/// Writes a file that only its owner may read, and that was not there.
fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}
