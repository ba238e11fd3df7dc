//! Who asks for the objects of a bucket. Keys come from the environment or from a file, never from settings or arguments, and
//! are read when they are needed: they may be replaced while the node runs.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusty_s3::Credentials;

use super::super::RemoteError;

/// A file of credentials as the tools of S3 have it: `[profile]`, then `aws_access_key_id = …` and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsFile {
    /// The file, which nobody but its owner may read.
    pub path: PathBuf,
    /// The part of it that counts.
    pub profile: String,
}

/// Where credentials come from.
#[derive(Debug)]
pub(super) enum Source {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if there is one, `AWS_SESSION_TOKEN`.
    Environment,
    File(CredentialsFile),
}

impl Source {
    /// Gives the credentials as they are now; without any, requests are not signed, as public buckets allow.
    pub(super) fn now(&self) -> Result<Option<Credentials>, RemoteError> {
        match self {
            Self::Environment => Ok(Credentials::from_env()),
            Self::File(CredentialsFile { path, profile }) => {
                let fault = |reason| RemoteError::Credentials { path: path.clone(), reason };
                let text = text_of(path).map_err(fault)?;
                of_profile(&text, profile).map(Some).map_err(fault)
            }
        }
    }
}

/// The largest file of credentials in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

fn text_of(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mode = file.metadata().map_err(|error| error.to_string())?.mode();
    if mode & 0o077 != 0 {
        return Err(format!("others may read it (mode {:o}); make it `chmod 600`", mode & 0o777));
    }
    let mut text = String::new();
    let length = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if length as u64 > FILE_BYTES_MAX { Err(format!("is larger than {FILE_BYTES_MAX} bytes")) } else { Ok(text) }
}

/// Reads the keys below a profile's name. Other keys are of other tools; no message repeats a value.
fn of_profile(text: &str, profile: &str) -> Result<Credentials, String> {
    let (mut is_here, mut was_here) = (false, false);
    let [mut key, mut secret, mut token] = [None, None, None];
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or_else(|| format!("line {} has no `]`", number + 1))?;
            is_here = name.trim() == profile;
            was_here |= is_here;
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| format!("line {} has no `=`", number + 1))?;
        let slot = match name.trim() {
            "aws_access_key_id" => &mut key,
            "aws_secret_access_key" => &mut secret,
            "aws_session_token" => &mut token,
            _ => continue,
        };
        if is_here {
            *slot = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    if !was_here {
        return Err(format!("it has no profile `[{profile}]`"));
    }
    let missing = |name: &str| format!("profile `[{profile}]` has no `{name}`");
    let key = key.ok_or_else(|| missing("aws_access_key_id"))?;
    let secret = secret.ok_or_else(|| missing("aws_secret_access_key"))?;
    Ok(match token {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const TEXT: &str = "# keys\n[default]\naws_access_key_id = AKIDEFAULT\naws_secret_access_key=SECRET/one+two=\nregion = x\n\n\
                        [ci]\naws_access_key_id=AKICI\naws_secret_access_key=SECRET2\naws_session_token = TOKEN\n[half]\n\
                        aws_access_key_id=AKIHALF\n";

    #[test]
    fn a_profile_has_its_own_keys_and_faults_name_no_value() {
        let default = of_profile(TEXT, "default").expect("reads");
        assert_eq!((default.key(), default.secret(), default.token()), ("AKIDEFAULT", "SECRET/one+two=", None));
        let ci = of_profile(TEXT, "ci").expect("reads");
        assert_eq!((ci.key(), ci.secret(), ci.token()), ("AKICI", "SECRET2", Some("TOKEN")));
        for (text, profile, reason) in [
            (TEXT, "absent", "no profile `[absent]`"),
            (TEXT, "half", "no `aws_secret_access_key`"),
            ("[default\nSECRET", "default", "line 1 has no `]`"),
            ("[default]\nSECRET", "default", "line 2 has no `=`"),
        ] {
            let error = of_profile(text, profile).expect_err(reason);
            assert!(error.contains(reason) && !error.contains("SECRET"), "{error}");
        }
        assert!(!format!("{ci:?}").contains("SECRET2"), "{ci:?}");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("credentials");
        std::fs::write(&path, TEXT).expect("written");
        let source = Source::File(CredentialsFile { path: path.clone(), profile: "default".into() });
        for (mode, expected) in [(0o644, false), (0o640, false), (0o600, true), (0o400, true)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("changed");
            let now = source.now();
            assert_eq!(now.is_ok(), expected, "{mode:o}: {now:?}");
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("changed");
        std::fs::write(&path, vec![b'#'; FILE_BYTES_MAX as usize + 1]).expect("written");
        let error = source.now().expect_err("is too large").to_string();
        assert!(error.contains("larger than 65536 bytes"), "{error}");
        std::fs::remove_file(&path).expect("removed");
        source.now().expect_err("is not there");
    }
}
