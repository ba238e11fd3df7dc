//! A newer template over what became of an older one: a three-way merge, file by file.
//!
//! Of each file there are three: as the older template made it, as it is now, and as the newer template makes it. What only
//! one side changed is taken; what both changed is merged by lines, and lines that both changed are left to the author between
//! marks. Nothing that the author wrote is lost: where there is no merge, the file stays as it is and the conflict says so.

use diffy::DiffOptions;

use super::generate::Generated;
use crate::digest::Digest;

/// The longest text that is merged or compared by lines; the time grows with the square of the lines that differ.
pub const LINES_MAX: usize = 10_000;
/// The largest text that is merged or compared by lines, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// The most lines, and bytes, of all that is compared for one answer, both sides together: an answer fits into a message, and
/// a template of a thousand files does not keep a node busy.
pub const PATCH_LINES_MAX: usize = 60_000;
/// See [`PATCH_LINES_MAX`].
pub const PATCH_BYTES_MAX: usize = 1 << 20;

/// The patches of one answer, which are bounded together.
#[derive(Debug, Default)]
pub struct Patches {
    lines: usize,
    bytes: usize,
}

/// What becomes of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It stays as it is, or stays away.
    Same,
    /// The newer template's file is written, over an older one or where there is none.
    Taken(Vec<u8>),
    /// Both sides changed it, and their lines fit together.
    Joined(Vec<u8>),
    /// Both sides changed the same lines, which are between marks.
    Marked(Vec<u8>),
    /// Both sides changed it and there is no merge; it stays as it is.
    Refused(&'static str),
    /// The newer template has it no more, and nobody had changed it.
    Removed,
}

/// A file as the older template made it; the text is not there for what is no text.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// What it held.
    pub digest: Digest,
    /// As text.
    pub text: Option<&'a str>,
}

/// Merges one file.
pub fn merge(before: Option<Before<'_>>, now: Option<&[u8]>, newer: Option<&Generated>) -> Merged {
    match (before, now, newer) {
        (_, _, None) if before.is_none() || now.is_none() => Merged::Same,
        (_, Some(_), Some(newer)) if newer.keep => Merged::Same,
        (_, Some(now), Some(newer)) if now == newer.bytes => Merged::Same,
        (None, None, Some(newer)) => Merged::Taken(newer.bytes.clone()),
        (None, Some(now), Some(newer)) => by_lines("", now, &newer.bytes),
        (Some(before), None, Some(newer)) if newer.digest() == before.digest => Merged::Same,
        (Some(_), None, Some(_)) => Merged::Refused("it was removed here, and the template changed it"),
        (Some(before), Some(now), None) if Digest::of(now) == before.digest => Merged::Removed,
        (Some(_), Some(_), None) => Merged::Refused("it was changed here, and the template has it no more"),
        (Some(before), Some(now), Some(newer)) => {
            if Digest::of(now) == before.digest {
                return Merged::Taken(newer.bytes.clone());
            }
            if newer.digest() == before.digest {
                return Merged::Same;
            }
            match before.text {
                Some(text) if Digest::of(text.as_bytes()) == before.digest => by_lines(text, now, &newer.bytes),
                Some(_) => Merged::Refused("what the template made before is not what the record says"),
                None => Merged::Refused("it is no text, and both sides changed it"),
            }
        }
        (_, _, None) => Merged::Same,
    }
}

impl Patches {
    /// Gives what changes from one content of a file to the other, as a patch; nothing for what is no text or too long, and a
    /// line instead of it once all of them together are too long.
    pub fn patch(&mut self, path: &str, now: Option<&[u8]>, newer: Option<&[u8]>) -> Option<String> {
        let (from, to) = (text(now.unwrap_or_default())?, text(newer.unwrap_or_default())?);
        let (lines, bytes) = (from.lines().count() + to.lines().count(), from.len() + to.len());
        if self.lines + lines > PATCH_LINES_MAX || self.bytes + bytes > PATCH_BYTES_MAX {
            return Some(format!("# {path} changes, too; there is more than a patch shows\n"));
        }
        self.lines += lines;
        self.bytes += bytes;
        let side = |there: bool, letter| if there { format!("{letter}/{path}") } else { "/dev/null".to_owned() };
        let mut options = DiffOptions::new();
        options.set_original_filename(side(now.is_some(), 'a')).set_modified_filename(side(newer.is_some(), 'b'));
        Some(options.create_patch(from, to).to_string())
    }
}

fn by_lines(before: &str, now: &[u8], newer: &[u8]) -> Merged {
    let (Some(before), Some(now), Some(newer)) = (text(before.as_bytes()), text(now), text(newer)) else {
        return Merged::Refused("it is no text that is merged, and both sides changed it");
    };
    match diffy::merge(before, now, newer) {
        Ok(joined) => Merged::Joined(joined.into_bytes()),
        Err(marked) => Merged::Marked(marked.into_bytes()),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= TEXT_BYTES_MAX)?;
    (text.lines().take(LINES_MAX + 1).count() <= LINES_MAX).then_some(text)
}
