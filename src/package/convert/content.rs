//! `spec.content`: paths, and files carried in the manifest.

use std::collections::BTreeSet;
use std::ops::Bound;

use data_encoding::BASE64;

use crate::digest::sha256_hex;
use crate::package::document::{Cursor, Place};
use crate::package::fault::{Fault, Severity};
use crate::package::model::{BinaryAsset, Content, FilePath, PackageType};
use crate::package::schema;

use super::Read;

const PATH_HINT: &str = "write the path from the manifest's directory with `/`, such as `src/util.lua`";

impl Read<'_> {
    pub(super) fn content(
        &mut self,
        raw: schema::Content,
        kind: Option<PackageType>,
        at: &Cursor<'_>,
    ) -> Option<Content> {
        let main = match raw.main.as_deref() {
            None => self.main_by_type(raw.inline.is_some(), kind, at),
            main => self.path(main, &at.key("main").place),
        };
        let mut taken: BTreeSet<FilePath> = main.iter().cloned().collect();
        let mut files = BTreeSet::new();
        let files_at = at.key("files");
        for (index, text) in raw.files.unwrap_or_default().iter().enumerate() {
            let place = files_at.index(index).place;
            let Some(path) = self.path(Some(text), &place) else { continue };
            if main.as_ref() == Some(&path) {
                continue;
            }
            self.take(&mut taken, &path, &place);
            files.insert(path);
        }
        let mut binary = Vec::new();
        for (index, raw) in raw.binary.unwrap_or_default().into_iter().enumerate() {
            let at = at.key("binary").index(index);
            let Some(asset) = self.binary(raw, &at) else { continue };
            self.take(&mut taken, &asset.path, &at.key("name").place);
            binary.push(asset);
        }
        let mut writable = BTreeSet::new();
        for (index, text) in raw.writable.unwrap_or_default().iter().enumerate() {
            let place = at.key("writable").index(index).place;
            let Some(path) = self.path(Some(text), &place) else { continue };
            if main.as_ref() == Some(&path) || !taken.contains(&path) {
                let message = format!("`{path}` is none of the further files of the package");
                self.fault("NOT_A_FURTHER_FILE", &place, message, "list it in `files`; what runs is never writable");
            } else if !writable.insert(path.clone()) {
                self.fault("DUPLICATE_FILE", &place, format!("`{path}` is listed twice"), "keep one of the two");
            }
        }
        Some(Content {
            main: main?,
            files: files.into_iter().collect(),
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

    fn path(&mut self, text: Option<&str>, place: &Place) -> Option<FilePath> {
        if self.faults.cover(&place.path) {
            return None;
        }
        self.parsed(text, place, ("INVALID_PATH", PATH_HINT), str::parse)
    }

    /// Every path of a package stands for one file, and no file is another's directory.
    fn take(&mut self, taken: &mut BTreeSet<FilePath>, path: &FilePath, place: &Place) {
        let inside = |outer: &FilePath, inner: &FilePath| {
            inner.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        let text = path.as_str();
        let ancestor = text.match_indices('/').any(|(end, _)| taken.contains(&text[..end]));
        let descendant = taken
            .range::<str, _>((Bound::Excluded(text), Bound::Unbounded))
            .next()
            .is_some_and(|other| inside(path, other));
        if ancestor || descendant {
            let message = format!("`{path}` would be a file and a directory");
            self.fault("INVALID_PATH", place, message, "rename one of the two");
        }
        if !taken.insert(path.clone()) {
            self.fault("DUPLICATE_FILE", place, format!("`{path}` is listed twice"), "keep one of the two");
        }
    }

    fn binary(&mut self, raw: schema::Binary, at: &Cursor<'_>) -> Option<BinaryAsset> {
        let path = self.path(raw.name.as_deref(), &at.key("name").place)?;
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
