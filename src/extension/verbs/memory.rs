//! The verbs about kept memory: `memory list`, `read`, `write`, `add`, `swap` and `end`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use hypermesh_abi::records::{Panel, Response, Verb};
use hypermesh_abi::sdk::Call;
use hypermesh_abi::{Code, Error};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::super::ports::CallHost;
use super::super::{CatalogExtension, answers, errors};
use super::parameters::Nothing;
use super::read;
use crate::ops::memory::{KEPT_MAX, Keep, Way};
use crate::package::units::parse_duration;
use crate::proxy::client::{ClientError, Mapped};
use crate::proxy::{Capability, Rights};

/// The most bytes of one answer; more are read into a file.
const ANSWERED_BYTES_MAX: u64 = 1 << 20;
/// How long memory is kept, if nobody says.
const KEPT: Duration = Duration::from_secs(3600);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadBytes {
    /// What `run --export` gave for the memory
    #[schemars(extend("x-cli" = {"position": 1, "value": "CAPABILITY"}))]
    capability: String,
    /// Where to begin, in bytes
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "BYTES"}))]
    offset: u64,
    /// How many bytes; all that follow, if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "BYTES"}))]
    length: Option<u64>,
    /// Write them into this file
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    out: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Write {
    /// What `run --export` gave for the memory, with the right to write
    #[schemars(extend("x-cli" = {"position": 1, "value": "CAPABILITY"}))]
    capability: String,
    /// Where to begin, in bytes
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "BYTES"}))]
    offset: u64,
    /// The bytes, in Base64
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "BASE64"}))]
    bytes: Option<String>,
    /// A file with the bytes
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    file: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Add {
    /// What `run --export` gave for the memory, with the right to write
    #[schemars(extend("x-cli" = {"position": 1, "value": "CAPABILITY"}))]
    capability: String,
    /// Where the word is, in bytes: a multiple of 8
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "BYTES"}))]
    offset: u64,
    /// What is added to it
    #[schemars(extend("x-cli" = {"value": "NUMBER"}))]
    amount: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Swap {
    /// What `run --export` gave for the memory, with the right to write
    #[schemars(extend("x-cli" = {"position": 1, "value": "CAPABILITY"}))]
    capability: String,
    /// Where the word is, in bytes: a multiple of 8
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "BYTES"}))]
    offset: u64,
    /// What has to be there
    #[schemars(extend("x-cli" = {"value": "NUMBER"}))]
    expected: u64,
    /// What is put there
    #[schemars(extend("x-cli" = {"value": "NUMBER"}))]
    new: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct End {
    /// The address, as `memory list` shows it
    #[schemars(extend("x-cli" = {"position": 1, "value": "ADDRESS"}))]
    address: String,
}

pub(super) fn table() -> Vec<Verb> {
    vec![
        Verb::new::<Nothing>("memory list", "List the memory that this node keeps of results")
            .description(
                "`run --export NODE` keeps the arrays and bytes of a result on the node that ran it, for one holder and for a \
                 time. Their memory is leased from the host until it ends.",
            )
            .example("memory list", "where each is, for whom, and until when")
            .panel(Panel::new("table")),
        Verb::new::<ReadBytes>("memory read", "Read memory that a node keeps for this one")
            .description(
                "Asks the node that keeps it, over the network where that is another one. A capability is worth something to \
                 its holder alone. Numbers are as the program had them: little endian, arrays in the order of memory.",
            )
            .example("memory read CAPABILITY --length 64", "the first bytes, as people read them")
            .example("memory read CAPABILITY --out array.bin", "all of it, into a file"),
        Verb::new::<Write>("memory write", "Change memory that a node keeps for this one")
            .example("memory write CAPABILITY --offset 16 --bytes AAAAAAAA8D8=", "a double in place of the third")
            .example("memory write CAPABILITY --file array.bin", "from the beginning"),
        Verb::new::<Add>("memory add", "Add to a word of kept memory, at once for everybody")
            .description("A word is 64 bits, little endian. What was there before is the answer.")
            .example("memory add CAPABILITY --offset 0 --amount 1", "count one more"),
        Verb::new::<Swap>("memory swap", "Put a word of kept memory where another is expected")
            .description("Nothing changes if something else is there; what was there is the answer.")
            .example("memory swap CAPABILITY --offset 0 --expected 0 --new 1", "whoever finds 0 has it"),
        Verb::new::<End>("memory end", "End memory that this node keeps")
            .example("memory end hypermesh://68797065726d6573682d73746f712d31:0a1b2c3d4e5f6071/8000", "nobody reaches it any more")
            .taking_away(),
    ]
}

pub(super) async fn answer(
    extension: &CatalogExtension,
    call: Call,
    verb: &str,
    params: Json,
) -> Result<Response, Error> {
    let catalog = extension.catalog()?;
    match verb {
        "memory list" => {
            let Nothing {} = read(params)?;
            Ok(answers::kept_memory(&catalog.kept_memory()))
        }
        "memory read" => read_bytes(extension, call, read(params)?).await,
        "memory write" => write(extension, call, read(params)?).await,
        "memory add" => {
            let Add { capability, offset, amount } = read(params)?;
            let before = with(extension, call, &capability, WORD, move |mapped| mapped.add(offset, amount)).await?;
            Ok(answers::word(offset, before, true))
        }
        "memory swap" => {
            let Swap { capability, offset, expected, new } = read(params)?;
            let swap = move |mapped: &Mapped<'_, Way>| mapped.compare_and_swap(offset, expected, new);
            let before = with(extension, call, &capability, WORD, swap).await?;
            Ok(answers::word(offset, before, before == expected))
        }
        _ => {
            let End { address } = read(params)?;
            let address = address.parse().map_err(|error| {
                Error::wrap(Code::INVALID_ARGUMENT, &error).help("`catalog memory list` shows the addresses")
            })?;
            let ended = catalog.end_memory(address).map_err(|error| errors::to_error(&error))?;
            Ok(answers::ended_memory(&ended))
        }
    }
}

/// What an operation on a word needs.
const WORD: Rights = Rights { write: true, ..Rights::READ };

async fn read_bytes(extension: &CatalogExtension, call: Call, params: ReadBytes) -> Result<Response, Error> {
    let ReadBytes { capability, offset, length, out } = params;
    let range = parsed(&capability)?.length;
    let length = length.unwrap_or_else(|| range.saturating_sub(offset));
    if out.is_none() && length > ANSWERED_BYTES_MAX {
        return Err(invalid(format!("{length} bytes are more than one answer has ({ANSWERED_BYTES_MAX})"))
            .help("read them into a file with `--out FILE`, or fewer with `--length BYTES`"));
    }
    let bytes = with(extension, call, &capability, Rights::READ, move |mapped| mapped.read(offset, length)).await?;
    if let Some(out) = &out {
        let written = tokio::fs::write(out, &bytes).await;
        written
            .map_err(|error| Error::wrap(Code::IO, &error).help(format!("`{}` cannot be written", out.display())))?;
    }
    Ok(answers::read_memory(offset, &bytes, out.as_deref()))
}

async fn write(extension: &CatalogExtension, call: Call, params: Write) -> Result<Response, Error> {
    let Write { capability, offset, bytes, file } = params;
    let range = parsed(&capability)?.length;
    let bytes = match (bytes, file) {
        (Some(text), None) => BASE64.decode(text.as_bytes()).map_err(|error| {
            Error::wrap(Code::INVALID_ARGUMENT, &error).help("`--bytes` is Base64 (RFC 4648), as `AAAAAAAA8D8=`")
        })?,
        (None, Some(file)) => contents(&file, range).map_err(|error| {
            Error::wrap(Code::IO, &error)
                .help(format!("`{}` cannot be read, or is longer than the memory", file.display()))
        })?,
        _ => return Err(invalid("either `bytes` or `file` is to be written".into()).help("give one of them")),
    };
    let length = bytes.len();
    let rights = Rights { read: false, ..WORD };
    with(extension, call, &capability, rights, move |mapped| mapped.write(offset, &bytes)).await?;
    Ok(answers::written_memory(offset, length))
}

/// Reads a file that has no more bytes than there is memory.
fn contents(file: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

async fn with<T: Send + 'static>(
    extension: &CatalogExtension,
    call: Call,
    capability: &str,
    rights: Rights,
    work: impl FnOnce(&Mapped<'_, Way>) -> Result<T, ClientError> + Send + 'static,
) -> Result<T, Error> {
    let (catalog, host) = (extension.catalog()?, Arc::new(CallHost::new(call)));
    let done = catalog.with_memory(parsed(capability)?, rights, host, work).await;
    done.map_err(|error| errors::to_error(&error))
}

fn parsed(capability: &str) -> Result<Capability, Error> {
    capability.parse().map_err(|error| {
        Error::wrap(Code::INVALID_ARGUMENT, &error).help("`catalog run PKG --export NODE` gives capabilities")
    })
}

/// What `run` is told of memory that is to be kept, as its parameters of these names say.
pub(super) struct Exporting {
    pub(super) export: Option<String>,
    pub(super) export_rights: Option<String>,
    pub(super) export_for: Option<String>,
}

impl Exporting {
    /// Says for whom the arrays of a result are to be kept, if for anybody.
    pub(super) async fn read(&self, extension: &CatalogExtension) -> Result<Option<Keep>, Error> {
        let Some(word) = &self.export else {
            if self.export_rights.is_some() || self.export_for.is_some() {
                return Err(invalid("`export_rights` and `export_for` are of `export`".into())
                    .help("say for whom: `catalog run PKG --export here`"));
            }
            return Ok(None);
        };
        let rights = self.export_rights.as_deref().map_or(Ok(Rights::READ), rights)?;
        let lasts = self.export_for.as_deref().map_or(Ok(KEPT), parse_duration);
        let lasts = lasts.map_err(|error| invalid(format!("`export_for`: {error}")).help("as 10m or 2h"))?;
        if lasts > KEPT_MAX || lasts.as_secs() == 0 {
            return Err(invalid(format!("`export_for`: memory is kept a second at least and {KEPT_MAX:?} at most"))
                .help("as 10m or 2h"));
        }
        let holder = extension.catalog()?.holder(word).await.map_err(|error| errors::to_error(&error))?;
        Ok(Some(Keep { holder, rights, seconds: lasts.as_secs(), asked_by: None }))
    }
}

/// Reads rights by their names.
fn rights(text: &str) -> Result<Rights, Error> {
    let mut rights = Rights::default();
    for name in text.split(',') {
        match name.trim() {
            "read" => rights.read = true,
            "write" => rights.write = true,
            other => {
                return Err(invalid(format!("`export_rights`: `{other}` is no right over memory"))
                    .help("rights are read and write, as in read,write"));
            }
        }
    }
    Ok(rights)
}

fn invalid(message: String) -> Error {
    Error::new(Code::INVALID_ARGUMENT, message)
}
