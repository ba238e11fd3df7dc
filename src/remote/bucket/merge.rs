//! One document of several that different nodes put into a bucket: what stands first counts, and nothing is lost.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use semver::Version;
use time::OffsetDateTime;
use trustchain::document::Document;
use trustchain::feed::{HEAD_KIND, Head};

use super::super::layout::{FORMAT_VERSION, FeedDocument, OfferedRelease, PackageDocument, expect_releases};
use crate::package::name::PackageName;

/// The releases of one name, one for each version.
#[derive(Debug, Default)]
pub(super) struct Releases(BTreeMap<Version, OfferedRelease>);

impl Releases {
    /// Adds a release that counts less than those before it; a statement is taken from whoever has one.
    ///
    /// # Errors
    /// Another content of a version that is there.
    pub(super) fn add(&mut self, release: OfferedRelease) -> Result<(), String> {
        match self.0.entry(release.version.clone()) {
            Entry::Vacant(vacant) => drop(vacant.insert(release)),
            Entry::Occupied(mut there) => {
                let there = there.get_mut();
                let (first, second) = (there.digests.blake3, release.digests.blake3);
                if first != second {
                    return Err(format!("version {} has two contents, `{first}` and `{second}`", release.version));
                }
                if there.statement.is_none() {
                    there.statement = release.statement;
                }
            }
        }
        Ok(())
    }

    pub(super) fn into_document(self, name: &PackageName) -> Result<PackageDocument, String> {
        expect_releases(self.0.len())?;
        Ok(PackageDocument { format: FORMAT_VERSION, name: name.clone(), releases: self.0.into_values().collect() })
    }
}

/// Makes one document of several about a name.
///
/// # Errors
/// Two contents of one version, or more versions than a document may have.
pub(super) fn packages(
    name: &PackageName,
    first_counts: impl IntoIterator<Item = PackageDocument>,
) -> Result<PackageDocument, String> {
    let mut releases = Releases::default();
    first_counts.into_iter().flat_map(|document| document.releases).try_for_each(|release| releases.add(release))?;
    releases.into_document(name)
}

/// Gives the feed that goes further than the others, which it begins with.
///
/// # Errors
/// Two feeds that go different ways.
pub(super) fn feeds(feeds: impl IntoIterator<Item = FeedDocument>) -> Result<Option<FeedDocument>, String> {
    let mut furthest: Option<FeedDocument> = None;
    for feed in feeds {
        let Some(known) = &furthest else {
            furthest = Some(feed);
            continue;
        };
        if let Some(at) = known.entries.iter().zip(&feed.entries).position(|(one, other)| one != other) {
            return Err(format!("the feed of `{}` goes two ways from entry {} on", feed.publisher, at + 1));
        }
        // The same entries are signed anew when a head is about to end.
        let is_later = (feed.entries.len(), expires(&feed)) > (known.entries.len(), expires(known));
        if is_later {
            furthest = Some(feed);
        }
    }
    Ok(furthest)
}

/// Says until when a head claims to count.
fn expires(feed: &FeedDocument) -> Option<OffsetDateTime> {
    Document::<Head>::parse(feed.head.as_bytes(), HEAD_KIND).ok().map(|head| head.claimed().expires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digest, Digests};
    use crate::remote::OfferedStatement;

    fn name() -> PackageName {
        "acme/vec3".parse().expect("a name")
    }

    fn release(version: &str, tar: &[u8], yanked: Option<&str>, is_signed: bool) -> OfferedRelease {
        OfferedRelease {
            version: version.parse().expect("a version"),
            digests: Digests::of(tar),
            tar_bytes: tar.len() as u64,
            blob: Digest::of(tar),
            archive_bytes: tar.len() as u64,
            manifest: "{}".into(),
            published_at: OffsetDateTime::UNIX_EPOCH,
            yanked: yanked.map(str::to_owned),
            statement: is_signed.then(|| OfferedStatement { envelope: "{}".into(), chain: Digest::of(b"chain") }),
        }
    }

    fn document(releases: Vec<OfferedRelease>) -> PackageDocument {
        PackageDocument { format: FORMAT_VERSION, name: name(), releases }
    }

    #[test]
    fn what_nodes_put_at_the_same_time_is_all_there_and_the_first_counts() {
        let newer =
            document(vec![release("1.0.0", b"one", Some("leaks"), false), release("2.0.0", b"two", None, true)]);
        let older = document(vec![release("0.9.0", b"old", None, false), release("1.0.0", b"one", None, true)]);
        let merged = packages(&name(), [newer.clone(), older.clone()]).expect("merges");
        let told: Vec<_> = merged
            .releases
            .iter()
            .map(|it| (it.version.to_string(), it.yanked.is_some(), it.statement.is_some()))
            .collect();
        let expected = [("0.9.0", false, false), ("1.0.0", true, true), ("2.0.0", false, true)];
        assert_eq!(told, expected.map(|(version, yanked, signed)| (version.to_owned(), yanked, signed)));
        assert_eq!(
            packages(&name(), [merged.clone(), newer, older]).expect("merges"),
            merged,
            "merging again adds nothing"
        );
        let other = document(vec![release("1.0.0", b"another", None, true)]);
        let error = packages(&name(), [merged, other]).expect_err("two contents");
        assert!(error.contains("version 1.0.0 has two contents"), "{error}");
    }

    #[test]
    fn the_feed_that_goes_furthest_counts_and_a_fork_is_told() {
        let feed = |entries: &[&str]| FeedDocument {
            format: FORMAT_VERSION,
            publisher: "acme.pub.trustchain".into(),
            head: "{}".into(),
            entries: entries.iter().map(|&entry| entry.to_owned()).collect(),
        };
        for order in [[feed(&["a"]), feed(&["a", "b"])], [feed(&["a", "b"]), feed(&["a"])]] {
            assert_eq!(feeds(order).expect("merges"), Some(feed(&["a", "b"])));
        }
        let error = feeds([feed(&["a", "b"]), feed(&["a", "c", "d"])]).expect_err("a fork");
        assert!(error.contains("two ways from entry 2 on"), "{error}");
        assert_eq!(feeds([]).expect("merges"), None);
    }
}
