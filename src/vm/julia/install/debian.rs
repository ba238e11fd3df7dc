//! Julia from the packages of Debian's archive, unfolded into a directory of their own.
//!
//! The last release of Debian with Julia is 11, with 1.5.3. Its packages want libraries of that release, which are
//! unfolded beside it; what the system has stays as it is, since `apt-get` gets lists, a cache and a state of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{InstallError, TRIPLET, sha256_of, tool};

/// The list of digests beside packages in a directory, as `sha256sum` writes it.
pub(super) const SUMS: &str = "SHA256SUMS";
const SUITE: &str = "bullseye";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Julia and the libraries it wants in versions of that suite; libc and libstdc++ are the system's.
const PACKAGES: [&str; 30] = [
    "julia",
    "julia-common",
    "libbsd0",
    "libdsfmt-19937-1",
    "libedit2",
    "libffi7",
    "libgcrypt20",
    "libgfortran5",
    "libgit2-1.1",
    "libgmp10",
    "libgpg-error0",
    "libhttp-parser2.9",
    "libjulia1",
    "libllvm9",
    "liblzma5",
    "libmbedcrypto3",
    "libmbedtls12",
    "libmbedx509-0",
    "libmd0",
    "libmpfr6",
    "libopenlibm3",
    "libpcre2-8-0",
    "libpcre3",
    "libquadmath0",
    "libssh2-1",
    "libtinfo6",
    "libunwind8",
    "libutf8proc2",
    "libz3-4",
    "zlib1g",
];

/// Holds every package that is listed against its digest; what is not listed is not unfolded.
pub(super) fn verify(directory: &Path) -> Result<(), InstallError> {
    for (digest, path) in listed(directory)? {
        let found = sha256_of(&path)?;
        if found != digest {
            return Err(InstallError::Digest { what: path.display().to_string(), found, expected: digest });
        }
    }
    Ok(())
}

fn listed(directory: &Path) -> Result<Vec<(String, PathBuf)>, InstallError> {
    let sums = directory.join(SUMS);
    let text = fs::read_to_string(&sums).map_err(InstallError::at(&sums))?;
    let bad = || InstallError::Tool {
        tool: SUMS,
        said: "each line must be a SHA-256 digest and the name of a package".into(),
    };
    let lines = text.lines().map(|line| {
        let (digest, name) = line.split_once("  ").ok_or_else(bad)?;
        let plain = digest.len() == 64 && name.ends_with(".deb") && !name.contains('/');
        if plain { Ok((digest.to_owned(), directory.join(name))) } else { Err(bad()) }
    });
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    if lines.is_empty() { Err(bad()) } else { Ok(lines) }
}

/// Downloads the packages, verified by `apt-get` against the keys of Debian's archive.
pub(super) fn download(packages: &Path, work: &Path, progress: &dyn Fn(&str)) -> Result<(), InstallError> {
    let mirror = mirror().ok_or_else(|| InstallError::Tool {
        tool: "apt-get",
        said: "no mirror of Debian's archive is configured on this machine".into(),
    })?;
    let apt = work.join("apt");
    for directory in
        ["lists/partial", "cache/archives/partial"].map(|name| apt.join(name)).iter().chain([&packages.to_owned()])
    {
        fs::create_dir_all(directory).map_err(InstallError::at(directory))?;
    }
    let write = |name: &str, text: &str| {
        let path = apt.join(name);
        fs::write(&path, text).map_err(InstallError::at(&path)).map(|()| path)
    };
    let sources = write("sources.list", &format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n"))?;
    // Empty on purpose: with the system's, versions of the system's own suite would be chosen.
    let status = write("status", "")?;
    let at = |path: &Path| path.display().to_string();
    let configuration = write(
        "apt.conf",
        &format!(
            "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\nDir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\nDir::State::lists \"{}\";\nDir::Cache \"{}\";\n\
             Dir::State::status \"{}\";\nAcquire::Languages \"none\";\nAPT::Sandbox::User \"root\";\n",
            at(&sources),
            at(&apt.join("lists")),
            at(&apt.join("cache")),
            at(&status)
        ),
    )?;
    progress("reading the lists of Debian's archive");
    tool("apt-get", Command::new("apt-get").env("APT_CONFIG", &configuration).args(["update", "-qq"]))?;
    progress("downloading the packages, 53 MiB");
    let mut command = Command::new("apt-get");
    command.env("APT_CONFIG", &configuration).current_dir(packages).args(["download", "-qq"]).args(PACKAGES);
    tool("apt-get", &mut command)
}

/// Gives the mirror that the machine's own packages come from.
fn mirror() -> Option<String> {
    let deb822 = fs::read_to_string("/etc/apt/sources.list.d/debian.sources").unwrap_or_default();
    let uri = deb822.lines().find_map(|line| line.strip_prefix("URIs:")?.split_whitespace().next().map(str::to_owned));
    let list = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    let word =
        |line: &str| line.strip_prefix("deb ")?.split_whitespace().find(|word| word.contains("://")).map(str::to_owned);
    uri.or_else(|| list.lines().find_map(word))
}

/// Unfolds the packages of a directory; none of their scripts is run.
pub(super) fn unfold(directory: &Path, root: &Path, progress: &dyn Fn(&str)) -> Result<(), InstallError> {
    progress("unfolding the packages");
    let packages = match listed(directory) {
        Ok(listed) => listed.into_iter().map(|(_, path)| path).collect(),
        // What `apt-get` has just downloaded and verified has no list.
        Err(_) => downloaded(directory)?,
    };
    for package in &packages {
        tool("dpkg", Command::new("dpkg").arg("-x").arg(package).arg(root))?;
    }
    // That suite still has some libraries below /lib.
    let (early, usual) = (root.join("lib").join(TRIPLET), root.join("usr/lib").join(TRIPLET));
    if early.is_dir() {
        for entry in fs::read_dir(&early).map_err(InstallError::at(&early))?.flatten() {
            let target = usual.join(entry.file_name());
            if fs::symlink_metadata(&target).is_err() {
                fs::rename(entry.path(), &target).map_err(InstallError::at(&target))?;
            }
        }
        fs::remove_dir_all(root.join("lib")).map_err(InstallError::at(&early))?;
    }
    for useless in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/julia/test"] {
        let path = root.join(useless);
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(InstallError::at(&path))?;
        }
    }
    Ok(())
}

fn downloaded(directory: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let entries = fs::read_dir(directory).map_err(InstallError::at(directory))?.flatten();
    let packages: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "deb")).collect();
    if packages.len() == PACKAGES.len() {
        return Ok(packages);
    }
    let said = format!("brought {} of {} packages", packages.len(), PACKAGES.len());
    Err(InstallError::Tool { tool: "apt-get", said })
}
