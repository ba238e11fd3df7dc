//! Answers about memory that is kept of results.

use std::fmt::Write;
use std::path::Path;

use data_encoding::BASE64;
use hypermesh_abi::records::Response;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::shown::{cut, size};
use crate::ops::memory::Region;
use crate::ops::publish::published_at;
use crate::proxy::Rights;
use crate::value::Dtype;

/// The most bytes that are shown to people.
const SHOWN_BYTES_MAX: usize = 256;
/// How many bytes stand on one line.
const LINE_BYTES: usize = 16;

pub(in crate::extension) fn kept_memory(regions: &[Region]) -> Response {
    let mut text = String::new();
    if regions.is_empty() {
        text.push_str("no memory is kept; `run PKG --export NODE` keeps the arrays of a result\n");
    }
    for region in regions {
        let _ = writeln!(text, "{}  {}  of {} in {}", region.address, array(region), region.package, region.execution);
        let _ = writeln!(text, "   {}", terms(region));
    }
    Response { data: json!({"memory": rows(regions)}), text }
}

/// Adds what is kept of its value to the answer of a run.
pub(super) fn add_to_run(regions: &[Region], response: &mut Response) {
    if regions.is_empty() {
        return;
    }
    for region in regions {
        // The names in it are a program's, and what a peer says of it is a peer's.
        let at = if region.at.is_empty() { "the value".into() } else { cut(&region.at) };
        let _ = writeln!(response.text, "   kept: {at}  {}  at {}", array(region), region.address);
        let _ = writeln!(response.text, "      {}", terms(region));
        let _ = writeln!(response.text, "      {}", region.capability);
    }
    response.data["memory"] = rows(regions);
}

pub(in crate::extension) fn read_memory(offset: u64, bytes: &[u8], file: Option<&Path>) -> Response {
    let mut text = String::new();
    match file {
        Some(file) => {
            let _ = writeln!(text, "{} written to {}", size(bytes.len() as u64), file.display());
        }
        None => dump(offset, bytes, &mut text),
    }
    let encoded = file.is_none().then(|| BASE64.encode(bytes));
    Response { data: json!({"offset": offset, "length": bytes.len(), "bytes": encoded, "file": file}), text }
}

pub(in crate::extension) fn written_memory(offset: u64, length: usize) -> Response {
    let text = format!("{length} bytes written at {offset}\n");
    Response { data: json!({"offset": offset, "length": length}), text }
}

pub(in crate::extension) fn word(offset: u64, before: u64, changed: bool) -> Response {
    let now = if changed { "" } else { ", and still is" };
    let text = format!("{before} was at {offset}{now}\n");
    Response { data: json!({"offset": offset, "before": before, "changed": changed}), text }
}

pub(in crate::extension) fn ended_memory(region: &Region) -> Response {
    let Region { address, package, execution, .. } = region;
    let text = format!("nobody reaches {address} any more\n");
    Response { data: json!({"address": address.to_string(), "package": package, "execution": execution}), text }
}

/// Type and shape, as `f64 [3, 4]`, and the size.
fn array(region: &Region) -> String {
    let size = size(region.capability.length);
    match region.dtype.as_deref().map(str::parse::<Dtype>) {
        Some(Ok(dtype)) => format!("{dtype} {:?}, {size}", region.shape),
        _ => size,
    }
}

fn terms(region: &Region) -> String {
    let holder = region.capability.holder.to_string();
    let holder = holder.get(..16).unwrap_or(&holder);
    format!("{} by {holder} until {}", rights(region.capability.rights).join(" and "), expires_at(region))
}

fn rights(rights: Rights) -> Vec<&'static str> {
    [("read", rights.read), ("write", rights.write)].into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

fn expires_at(region: &Region) -> String {
    let seconds = region.capability.expires_at;
    published_at(OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

fn rows(regions: &[Region]) -> Json {
    let row = |region: &Region| {
        json!({"address": region.address.to_string(), "capability": region.capability.to_string(),
            "execution": region.execution, "package": region.package, "at": region.at, "dtype": region.dtype,
            "shape": region.shape, "bytes": region.capability.length,
            "holder": region.capability.holder.to_string(), "rights": rights(region.capability.rights),
            "expires_at": expires_at(region)})
    };
    regions.iter().map(row).collect()
}

/// Writes bytes as people read them: where they are, in hexadecimal, and as text.
fn dump(offset: u64, bytes: &[u8], text: &mut String) {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    for (line, part) in (0..).zip(shown.chunks(LINE_BYTES)) {
        let hex: Vec<String> = part.iter().map(|byte| format!("{byte:02x}")).collect();
        let plain = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let plain: String = part.iter().map(plain).collect();
        let at = offset + line * LINE_BYTES as u64;
        let width = 3 * LINE_BYTES - 1;
        let _ = writeln!(text, "{at:>8}  {:<width$}  {plain}", hex.join(" "));
    }
    if bytes.len() > shown.len() {
        let _ = writeln!(text, "and {} bytes more; `--out FILE` writes all of them", bytes.len() - shown.len());
    }
}
