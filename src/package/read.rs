//! Reads a package from a directory: its manifest, and whether every file it names is there.
//!
//! Only regular files inside the directory count: a link anywhere on the way is refused, because what it points to is not
//! part of the package. Nothing is written.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::document::{Cursor, Node, Place};
use super::fault::{Fault, Faults, Severity};
use super::model::{FilePath, Package};
use super::parse_into;
use super::source::{Bounds, Format, MANIFEST_BYTES_MAX};

/// The names a manifest may have.
pub const MANIFEST_NAMES: [&str; 4] = ["package.yaml", "package.yml", "package.json", "package.toml"];
/// The most bytes of all files of one package (HyperMesh's `max_package_size`).
pub const PACKAGE_BYTES_MAX: u64 = 100 << 20;

/// One file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFile {
    /// Where it is in the package.
    pub path: FilePath,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Reads the package in a directory, or of a manifest, and checks that its files are there. Gives it with its warnings.
///
/// # Errors
/// Every fault of the manifest and its files, in the order of the manifest's lines.
pub fn read(dir_or_file: &Path) -> Result<(Package, Vec<Fault>), Faults> {
    let manifest = find_manifest(dir_or_file)?;
    let file_name = manifest.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut faults = Faults::new(file_name);
    let (package, root) = read_manifest(&manifest, &mut faults).unzip();
    if let (Some(package), Some(root)) = (&package, &root) {
        let directory = directory_of(&manifest);
        check_files(package, root, directory, &mut faults);
    }
    faults.finish(package)
}

/// Reads every file of a package that [`read`] accepted: `main` or its inline text, the further files and the binary
/// ones, in the order of their paths.
///
/// # Errors
/// A file that cannot be read any more, or files that are together larger than [`PACKAGE_BYTES_MAX`].
pub fn read_files(dir_or_file: &Path, package: &Package) -> Result<Vec<PackageFile>, Faults> {
    let manifest = find_manifest(dir_or_file)?;
    let mut faults = Faults::new(manifest.file_name().unwrap_or_default().to_string_lossy());
    let mut room = PACKAGE_BYTES_MAX;
    let content = &package.content;
    let mut files: Vec<PackageFile> = Vec::with_capacity(content.files.len() + content.binary.len() + 1);
    let inline =
        content.inline.as_ref().map(|text| PackageFile { path: content.main.clone(), bytes: text.clone().into() });
    let main_on_disk = inline.is_none().then_some(&content.main);
    files.extend(inline);
    files.extend(
        content.binary.iter().map(|asset| PackageFile { path: asset.path.clone(), bytes: asset.bytes.clone() }),
    );
    for path in main_on_disk.into_iter().chain(&content.files) {
        let place = Place { path: "spec.content".into(), ..Place::default() };
        match read_file(&directory_of(&manifest).join(path.as_str()), room) {
            Ok(bytes) => {
                room -= bytes.len() as u64;
                files.push(PackageFile { path: path.clone(), bytes });
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let message = format!("the files are together larger than {PACKAGE_BYTES_MAX} bytes, at `{path}`");
                faults.push(Fault::error("TOO_LARGE", &place, message).hint("split the package"));
                break;
            }
            Err(error) => faults.push(Fault::error("UNREADABLE", &place, format!("cannot read `{path}`: {error}"))),
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    faults.finish(Some(files)).map(|(files, _)| files)
}

/// Gives faults that name a field and no line the place of that field in the manifest, or of what is around it.
pub fn locate(dir_or_file: &Path, faults: &mut [Fault]) {
    let mut ignored = Faults::new("");
    let Some((_, root)) = find_manifest(dir_or_file).ok().and_then(|file| read_manifest(&file, &mut ignored)) else {
        return;
    };
    for fault in faults.iter_mut().filter(|fault| fault.line == 0 && fault.file.is_none() && !fault.path.is_empty()) {
        let mut cursor = Cursor::new(&root);
        for part in fault.path.split(['.', '[']) {
            cursor = match part.strip_suffix(']').and_then(|index| index.parse().ok()) {
                Some(index) => cursor.index(index),
                None => cursor.key(part),
            };
        }
        (fault.line, fault.column) = (cursor.place.position.line, cursor.place.position.column);
    }
}

fn find_manifest(dir_or_file: &Path) -> Result<PathBuf, Faults> {
    if !dir_or_file.is_dir() {
        return Ok(dir_or_file.to_owned());
    }
    let found: Vec<&str> =
        MANIFEST_NAMES.into_iter().filter(|name| dir_or_file.join(name).symlink_metadata().is_ok()).collect();
    let fault = match found[..] {
        [name] => return Ok(dir_or_file.join(name)),
        [] => Fault::error(
            "MANIFEST_NOT_FOUND",
            &Place::default(),
            format!("`{}` holds no manifest", dir_or_file.display()),
        )
        .hint(format!("add one of {}", MANIFEST_NAMES.join(", "))),
        _ => Fault::error("MANIFEST_AMBIGUOUS", &Place::default(), format!("there are {}", found.join(" and ")))
            .hint("keep one manifest"),
    };
    let mut faults = Faults::new(dir_or_file.display().to_string());
    faults.push(fault);
    Err(faults)
}

fn directory_of(manifest: &Path) -> &Path {
    manifest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read_manifest(manifest: &Path, faults: &mut Faults) -> Option<(Package, Node)> {
    let mut refuse = |code, message: String, hint: &str| {
        faults.push(Fault::error(code, &Place::default(), message).hint(hint));
    };
    let Some(format) = Format::of_path(manifest) else {
        let message = format!("`{}` is not named as a manifest", manifest.display());
        refuse("UNKNOWN_FORMAT", message, "name it package.yaml, package.json or package.toml");
        return None;
    };
    let bytes = match read_file(manifest, MANIFEST_BYTES_MAX as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            let message = format!("the manifest has more than {MANIFEST_BYTES_MAX} bytes");
            refuse("TOO_LARGE", message, "move large content into files of the package");
            return None;
        }
        Err(error) => {
            refuse(
                "UNREADABLE",
                format!("cannot read `{}`: {error}", manifest.display()),
                "check that it is a plain file",
            );
            return None;
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        refuse("NOT_UTF8", "the manifest is not UTF-8".into(), "save it as UTF-8");
        return None;
    };
    parse_into(&text, format, Bounds::MANIFEST, faults)
}

fn check_files(package: &Package, root: &Node, directory: &Path, faults: &mut Faults) {
    let at = Cursor::new(root).key("spec").key("content");
    let content = &package.content;
    let main = at.key("main").place;
    if content.inline.is_none() {
        check_file(directory, &content.main, &main, "MAIN_FILE_NOT_FOUND", Severity::Critical, faults);
    } else if directory.join(content.main.as_str()).symlink_metadata().is_ok() {
        let message = format!("`{}` is given inline, and there is such a file too", content.main);
        faults.push(Fault::error("DUPLICATE_FILE", &at.key("inline").place, message).hint("keep one of the two"));
    }
    let Some(listed) = Cursor::new(root).key("spec").key("content").key("files").texts() else { return };
    for (index, text) in listed.into_iter().enumerate() {
        if let Ok(path) = text.parse::<FilePath>()
            && path != content.main
        {
            let place = at.key("files").index(index).place;
            check_file(directory, &path, &place, "FILE_NOT_FOUND", Severity::Error, faults);
        }
    }
}

fn check_file(
    directory: &Path,
    path: &FilePath,
    place: &Place,
    missing: &'static str,
    severity: Severity,
    faults: &mut Faults,
) {
    let fault = match file_state(directory, path) {
        FileState::Regular => return,
        FileState::Missing => {
            Fault::error(missing, place, format!("there is no file `{path}`")).hint("create it, or correct the path")
        }
        FileState::Link => Fault::error("NOT_A_FILE", place, format!("`{path}` is or lies behind a symbolic link"))
            .hint("put the file itself into the package"),
        FileState::Other => Fault::error("NOT_A_FILE", place, format!("`{path}` is no regular file"))
            .hint("list each file of a directory"),
    };
    faults.push(fault.severity(severity));
}

enum FileState {
    Regular,
    Missing,
    Link,
    Other,
}

/// Looks at every component below the directory without following links.
fn file_state(directory: &Path, path: &FilePath) -> FileState {
    let mut here = directory.to_owned();
    let mut state = FileState::Missing;
    for component in path.as_str().split('/') {
        here.push(component);
        state = match fs::symlink_metadata(&here) {
            Ok(metadata) if metadata.is_symlink() => return FileState::Link,
            Ok(metadata) if metadata.is_file() => FileState::Regular,
            Ok(_) => FileState::Other,
            Err(_) => return FileState::Missing,
        };
    }
    state
}

/// Reads a regular file of at most `bytes_max`; the kind is asked of the open file, so it cannot change in between.
fn read_file(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"));
    }
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large")),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("is inside")).expect("is writable");
            fs::write(path, text).expect("is writable");
        }
        directory
    }

    fn manifest(content: &str) -> String {
        format!(
            "apiVersion: catalog.v1\nmetadata: {{name: a, version: 1.0.0}}\nspec:\n  type: lua-script\n  content: {content}\n"
        )
    }

    fn codes(directory: &Path) -> Vec<(&'static str, String)> {
        let faults = read(directory).expect_err("is refused");
        faults.list.into_iter().map(|fault| (fault.code, fault.path)).collect()
    }

    #[test]
    fn a_package_is_read_with_its_files() {
        let yaml = manifest("{main: main.lua, files: [src/b.lua, main.lua], binary: [{name: c.bin, base64: AAE=}]}");
        let there = directory(&[("package.yaml", &yaml), ("main.lua", "return 1"), ("src/b.lua", "return 2")]);
        let (package, _) = read(there.path()).unwrap_or_else(|faults| panic!("{faults}"));
        let files = read_files(there.path(), &package).unwrap_or_else(|faults| panic!("{faults}"));
        let found: Vec<_> = files.iter().map(|file| (file.path.as_str(), &file.bytes[..])).collect();
        assert_eq!(found, [("c.bin", &[0, 1][..]), ("main.lua", b"return 1"), ("src/b.lua", b"return 2")]);
        assert!(read(&there.path().join("package.yaml")).is_ok());
    }

    #[test]
    fn missing_files_are_all_named() {
        let yaml = manifest("{main: main.lua, files: [b.lua, d, src/c.lua]}");
        let there = directory(&[("package.yml", &yaml), ("d/x", "")]);
        assert_eq!(
            codes(there.path()),
            [
                ("MAIN_FILE_NOT_FOUND", "spec.content.main".into()),
                ("FILE_NOT_FOUND", "spec.content.files[0]".into()),
                ("NOT_A_FILE", "spec.content.files[1]".into()),
                ("FILE_NOT_FOUND", "spec.content.files[2]".into()),
            ]
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_refused_wherever_they_stand() {
        let outside = directory(&[("secret", "x")]);
        let there = directory(&[("package.yaml", &manifest("{main: main.lua, files: [dir/secret]}"))]);
        std::os::unix::fs::symlink(outside.path().join("secret"), there.path().join("main.lua")).expect("is writable");
        std::os::unix::fs::symlink(outside.path(), there.path().join("dir")).expect("is writable");
        assert_eq!(codes(there.path()).iter().map(|found| found.0).collect::<Vec<_>>(), ["NOT_A_FILE", "NOT_A_FILE"]);
        let linked = directory(&[]);
        std::os::unix::fs::symlink(there.path().join("package.yaml"), linked.path().join("package.yaml"))
            .expect("is writable");
        assert_eq!(codes(linked.path())[0].0, "UNREADABLE");
    }

    #[test]
    fn a_directory_holds_exactly_one_manifest_of_bounded_size() {
        assert_eq!(codes(directory(&[]).path())[0].0, "MANIFEST_NOT_FOUND");
        assert_eq!(codes(directory(&[("package.yaml", ""), ("package.json", "")]).path())[0].0, "MANIFEST_AMBIGUOUS");
        let large = " ".repeat(MANIFEST_BYTES_MAX + 1);
        assert_eq!(codes(directory(&[("package.json", &large)]).path())[0].0, "TOO_LARGE");
        assert_eq!(codes(&directory(&[("x.ini", "")]).path().join("x.ini"))[0].0, "UNKNOWN_FORMAT");
    }

    #[test]
    fn inline_content_and_a_file_of_that_name_contradict() {
        let there = directory(&[("package.yaml", &manifest("{main: m.lua, inline: return 1}")), ("m.lua", "")]);
        assert_eq!(codes(there.path())[0].0, "DUPLICATE_FILE");
    }
}
