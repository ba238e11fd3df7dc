//! `trust verify`: one path by the words of a command, or many by JSON lines. Nothing that is judged stops a batch.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use host_sim::trust::{Case, Profile, TrustHome, Verdict};
use hypermesh_abi::{Code, Error};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use trustchain::certificate::{self, Certificate, PemError, crls_from_pem, ders_from_pem};
use trustchain::path::Hybrid;

use super::arguments::{self, Verify};
use crate::cli::commands::at;
use crate::cli::output::Output;

/// The exit code of a certificate that is not trusted.
const NOT_TRUSTED: u8 = 5;
/// The longest line of a batch in bytes.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// A case as a line of a batch; the other names are those of x509-limbo.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    id: Json,
    #[serde(alias = "trusted_certs")]
    roots: Texts,
    #[serde(alias = "untrusted_intermediates")]
    intermediates: Texts,
    #[serde(alias = "peer_certificate")]
    leaf: Texts,
    #[serde(alias = "crl")]
    crls: Texts,
    #[serde(alias = "validation_time")]
    at: Option<String>,
    #[serde(alias = "extended_key_usage")]
    eku: Texts,
    #[serde(alias = "expected_peer_name")]
    name: Option<Name>,
    profile: Option<String>,
    hybrid: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Texts {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Typed { value: String },
}

/// Gives the DER of every certificate or list of a text.
type ReadPem = fn(&[u8]) -> Result<Vec<Vec<u8>>, PemError>;

/// Judges.
///
/// # Errors
/// A file that cannot be read, or a home that believes nobody.
pub(super) fn run(options: &Verify, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    if options.batch {
        return batch();
    }
    let now = OffsetDateTime::now_utc();
    let leaf = options.leaf.as_deref().unwrap_or_default();
    let verdict = if options.roots.is_empty() {
        if options.classical || options.profile != "trustchain" {
            let message = "`--classical` and `--profile webpki` need roots of their own";
            return Err(Error::new(Code::INVALID_ARGUMENT, message).help("name them with --roots"));
        }
        let mut chain = if Path::new(leaf).is_file() {
            certificates(Path::new(leaf))?
        } else {
            TrustHome::open(home)?.chain(leaf)?
        };
        for file in &options.intermediates {
            chain.extend(certificates(file)?);
        }
        Verdict::by_home(home, &chain, options.eku.as_deref(), options.name.as_deref(), options.at.unwrap_or(now), now)?
    } else {
        case(options, leaf, home, now)?.judge()
    };
    let (code, text) = match &verdict {
        Verdict::Success { path } => (ExitCode::SUCCESS, format!("SUCCESS\n  {}\n", path.join("\n  "))),
        Verdict::Failure { reason, .. } => (ExitCode::from(NOT_TRUSTED), format!("FAILURE\n  {reason}\n")),
    };
    output.answer(&text, answer(&verdict));
    Ok(code)
}

fn case(options: &Verify, leaf: &str, home: &Path, now: OffsetDateTime) -> Result<Case, Error> {
    let leaf = match Path::new(leaf) {
        file if file.is_file() => ders(file)?,
        _ => TrustHome::open(home)?.chain(leaf)?.iter().map(|certificate| certificate.der().to_vec()).collect(),
    };
    let all = |files: &[PathBuf], read: fn(&Path) -> Result<Vec<Vec<u8>>, Error>| -> Result<Vec<Vec<u8>>, Error> {
        Ok(files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?.concat())
    };
    let (leaf, along) =
        leaf.split_first().ok_or_else(|| Error::new(Code::INVALID_ARGUMENT, "there is no certificate"))?;
    let profile = match options.profile.as_str() {
        "webpki" => Profile::WebPki,
        _ => Profile::TrustChain(if options.classical { Hybrid::IfPresent } else { Hybrid::Required }),
    };
    Ok(Case {
        roots: all(&options.roots, ders)?,
        intermediates: [along.to_vec(), all(&options.intermediates, ders)?].concat(),
        leaf: leaf.clone(),
        crls: all(&options.crl, crls)?,
        at: options.at.unwrap_or(now),
        usage: options.eku.clone(),
        name: options.name.clone(),
        profile,
    })
}

fn batch() -> Result<ExitCode, Error> {
    let io = |error: std::io::Error| Error::wrap(Code::IO, &error);
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(io)? == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let answer = if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            skip_line(&mut input).map_err(io)?;
            unread(&Json::Null, &format!("the line has more than {LINE_BYTES_MAX} bytes"))
        } else if line.trim_ascii().is_empty() {
            continue;
        } else {
            judged(&line)
        };
        writeln!(output, "{answer}").and_then(|()| output.flush()).map_err(io)?;
    }
}

/// Answers one line.
fn judged(line: &[u8]) -> Json {
    let line: Line = match serde_json::from_slice(line) {
        Ok(line) => line,
        Err(error) => {
            let id = serde_json::from_slice::<Json>(line).map_or(Json::Null, |json| json["id"].clone());
            return unread(&id, &format!("the line is not a case: {error}"));
        }
    };
    let id = line.id.clone();
    let mut answer = match line.case() {
        Ok(case) => answer(&case.judge()),
        Err(reason) => json!({"result": "FAILURE", "fault": "MALFORMED", "reason": reason, "path": []}),
    };
    (answer["id"], answer["ok"]) = (id, true.into());
    answer
}

impl Line {
    fn case(self) -> Result<Case, String> {
        let mut leaf = pem("leaf", &self.leaf, ders_from_pem)?;
        if leaf.is_empty() {
            return Err("`leaf` is missing".to_owned());
        }
        let mut intermediates = leaf.split_off(1);
        intermediates.extend(pem("intermediates", &self.intermediates, ders_from_pem)?);
        let at = self.at.as_deref().map_or_else(|| Ok(OffsetDateTime::now_utc()), arguments::moment)?;
        let usage = match self.eku.all() {
            [] => None,
            [one] => Some(arguments::usage(one)?),
            more => return Err(format!("`eku` names {} usages, expected one", more.len())),
        };
        let hybrid = if self.hybrid == Some(false) { Hybrid::IfPresent } else { Hybrid::Required };
        let profile = match self.profile.as_deref() {
            None | Some("trustchain") => Profile::TrustChain(hybrid),
            Some("webpki") => Profile::WebPki,
            Some(other) => return Err(format!("`{other}` is no profile, expected trustchain or webpki")),
        };
        Ok(Case {
            roots: pem("roots", &self.roots, ders_from_pem)?,
            intermediates,
            leaf: leaf.swap_remove(0),
            crls: pem("crls", &self.crls, crls_from_pem)?,
            at,
            usage,
            name: self.name.map(|name| match name {
                Name::Text(value) | Name::Typed { value } => value,
            }),
            profile,
        })
    }
}

impl Texts {
    fn all(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

fn pem(field: &str, texts: &Texts, read: ReadPem) -> Result<Vec<Vec<u8>>, String> {
    let read = texts.all().iter().map(|text| read(text.as_bytes()));
    Ok(read.collect::<Result<Vec<_>, _>>().map_err(|error| format!("`{field}` cannot be read: {error}"))?.concat())
}

fn answer(verdict: &Verdict) -> Json {
    match verdict {
        Verdict::Success { path } => json!({"result": "SUCCESS", "reason": null, "path": path}),
        Verdict::Failure { fault, reason } => {
            json!({"result": "FAILURE", "fault": fault, "reason": reason, "path": []})
        }
    }
}

fn unread(id: &Json, reason: &str) -> Json {
    json!({"id": id, "ok": false, "result": "FAILURE", "fault": "MALFORMED", "reason": reason, "path": []})
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let bytes = input.fill_buf()?;
        let (length, end) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (bytes.len(), bytes.is_empty()),
        };
        input.consume(length);
        if end {
            return Ok(());
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, Error> {
    let text = std::fs::read(file).map_err(|error| at(file, &error))?;
    certificate::from_pem(&text).map_err(|error| unusable(file, &error))
}

fn ders(file: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let text = std::fs::read(file).map_err(|error| at(file, &error))?;
    ders_from_pem(&text).map_err(|error| unusable(file, &error))
}

fn crls(file: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let text = std::fs::read(file).map_err(|error| at(file, &error))?;
    match crls_from_pem(&text) {
        Ok(lists) if lists.is_empty() => Ok(vec![text]),
        lists => lists.map_err(|error| unusable(file, &error)),
    }
}

fn unusable(file: &Path, error: &PemError) -> Error {
    let mut wrapped = Error::wrap(Code::INVALID_ARGUMENT, error);
    wrapped.message = format!("cannot use `{}`: {}", file.display(), wrapped.message);
    wrapped
}
