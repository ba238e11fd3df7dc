//! `spec.content`: paths, and files carried in the manifest.

use std::collections::{BTreeSet, HashSet};

use data_encoding::BASE64;

use crate::digest::sha256_hex;
use crate::package::document::{Cursor, Place};
use crate::package::fault::{Fault, Severity};
use crate::package::model::{BinaryAsset, Content, FilePath, PackageType};
use crate::package::path::ParsePathError;
use crate::package::schema;

use super::Read;

const PATH_HINT: &str = "write the path from the manifest's directory with `/`, such as `src/util.lua`";

/// The paths of a package that are known so far.
#[derive(Default)]
struct Taken<'a> {
    files: HashSet<&'a str>,
    /// Every directory that a file is in, however deep.
    directories: HashSet<&'a str>,
}

impl Read<'_> {
    pub(super) fn content(
        &mut self,
        raw: schema::Content,
        kind: Option<PackageType>,
        at: &Cursor<'_>,
    ) -> Option<Content> {
        let main = match raw.main.as_deref() {
            None => self.main_by_type(raw.inline.is_some(), kind, at),
            main => self.path(main, || at.key("main").place),
        };
        let (texts, binaries) = (raw.files.unwrap_or_default(), raw.binary.unwrap_or_default());
        let names: Vec<Option<String>> = binaries.iter().map(|binary| binary.name.clone()).collect();
        let mut taken = Taken::default();
        if let Some(main) = &main {
            self.take(&mut taken, main.as_str(), Place::default);
        }
        let mut files = Vec::with_capacity(texts.len());
        let files_at = at.key("files");
        for (index, text) in texts.iter().enumerate() {
            // Lists of files are long, so where one stands is put into words only if there is something to say of it.
            let place = || files_at.index(index).place;
            let Some(path) = self.path(Some(text), place) else { continue };
            if main.as_ref() == Some(&path) {
                continue;
            }
            self.take(&mut taken, text, place);
            files.push(path);
        }
        files.sort_unstable();
        files.dedup();
        let mut binary = Vec::new();
        for (index, (raw, name)) in binaries.into_iter().zip(&names).enumerate() {
            let at = at.key("binary").index(index);
            let Some(asset) = self.binary(raw, &at) else { continue };
            self.take(&mut taken, name.as_deref().unwrap_or_default(), || at.key("name").place);
            binary.push(asset);
        }
        let mut writable = BTreeSet::new();
        for (index, text) in raw.writable.unwrap_or_default().iter().enumerate() {
            let place = at.key("writable").index(index).place;
            let Some(path) = self.path(Some(text), || place.clone()) else { continue };
            if main.as_ref() == Some(&path) || !taken.files.contains(path.as_str()) {
                let message = format!("`{path}` is none of the further files of the package");
                self.fault("NOT_A_FURTHER_FILE", &place, message, "list it in `files`; what runs is never writable");
            } else if !writable.insert(path.clone()) {
                self.fault("DUPLICATE_FILE", &place, format!("`{path}` is listed twice"), "keep one of the two");
            }
        }
        Some(Content {
            main: main?,
            files,
            writable: writable.into_iter().collect(),
            inline: raw.inline,
            binary,
            templates: raw.templates.unwrap_or_default(),
        })
    }

    /// The name an inline program has where none is given.
    fn main_by_type(&mut self, is_inline: bool, kind: Option<PackageType>, at: &Cursor<'_>) -> Option<FilePath> {
        if is_inline {
            let extension = kind.and_then(PackageType::main_extension).unwrap_or("txt");
            return format!("main.{extension}").parse().ok();
        }
        if !self.faults.cover(&at.place.path) {
            let fault = Fault::error("NO_CONTENT", &at.place, "there is neither a main file nor inline content");
            self.faults.push(fault.hint("name the file that runs in `spec.content.main`").severity(Severity::Critical));
        }
        None
    }

    fn path(&mut self, text: Option<&str>, place: impl Fn() -> Place) -> Option<FilePath> {
        if !self.faults.list.is_empty() && self.faults.cover(&place().path) {
            return None;
        }
        text?
            .parse()
            .map_err(|error: ParsePathError| self.fault("INVALID_PATH", &place(), error.to_string(), PATH_HINT))
            .ok()
    }

    /// Every path of a package stands for one file, and no file is another's directory.
    fn take<'a>(&mut self, taken: &mut Taken<'a>, path: &'a str, place: impl Fn() -> Place) {
        let mut is_both = taken.directories.contains(path);
        // From the innermost outwards; what is around a directory that is known was looked at with it.
        let around = path.rmatch_indices('/').map(|(end, _)| &path[..end]);
        for directory in around.take_while(|directory| taken.directories.insert(directory)) {
            is_both |= taken.files.contains(directory);
        }
        if is_both {
            let message = format!("`{path}` would be a file and a directory");
            self.fault("INVALID_PATH", &place(), message, "rename one of the two");
        }
        if !taken.files.insert(path) {
            self.fault("DUPLICATE_FILE", &place(), format!("`{path}` is listed twice"), "keep one of the two");
        }
    }

    fn binary(&mut self, raw: schema::Binary, at: &Cursor<'_>) -> Option<BinaryAsset> {
        let path = self.path(raw.name.as_deref(), || at.key("name").place)?;
        let text: String = raw.base64?.split_ascii_whitespace().collect();
        let hint = "encode the file anew with standard, padded base64";
        let bytes = self.parsed(Some(&text), &at.key("base64").place, ("BINARY_DECODE_ERROR", hint), |text| {
            BASE64.decode(text.as_bytes()).map_err(|error| format!("`{path}` is not base64: {error}"))
        })?;
        if let Some(size) = raw.size.filter(|size| *size != bytes.len() as u64) {
            let message = format!("`{path}` decodes to {} bytes, not {size}", bytes.len());
            self.fault("BINARY_SIZE_MISMATCH", &at.key("size").place, message, "correct or remove `size`");
        }
        let found = sha256_hex(&bytes);
        if let Some(sha256) = raw.sha256.filter(|sha256| !sha256.eq_ignore_ascii_case(&found)) {
            let message =
                format!("`{path}` has the SHA-256 `{found}`, not `{}`", sha256.chars().take(64).collect::<String>());
            self.fault("BINARY_DIGEST_MISMATCH", &at.key("sha256").place, message, "correct or remove `sha256`");
        }
        let mime_type = raw.mime_type.unwrap_or_else(|| "application/octet-stream".into());
        Some(BinaryAsset { path, mime_type, bytes })
    }
}
