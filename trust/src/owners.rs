//! To whom a package belongs: its first publisher, until owners say in their feeds who has it after them.
//!
//! Each step ([`Action::Own`]) is in the feed of one who is an owner then, names the step before by its digest, and says who the
//! owners are from now on. So whoever knows the first publisher and the feeds comes to the same owners, in whatever order the
//! feeds arrived, without a clock and without asking anybody.
//!
//! Of two steps after the same one, the step of whoever has been an owner for longer counts, and of one owner's the first: owners
//! who remove each other at the same time do not leave two answers. What a former owner had released until it was removed stays
//! the package's: the step that removes it says up to which entry of its feed that is.

use std::collections::BTreeMap;

use crate::digest::Sha256;
use crate::feed::{Action, Entry, FeedError};

/// The owners of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    current: Vec<String>,
    former: BTreeMap<String, u64>,
    newest: Option<Sha256>,
}

/// What one entry of a feed says about the owners of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerStep {
    /// The digest of the entry.
    digest: Sha256,
    after: Option<Sha256>,
    former: BTreeMap<String, u64>,
    owners: Vec<String>,
}

/// Why the owners of a package cannot become others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnersError {
    /// It is one already.
    #[error("`{publisher}` is an owner already")]
    Known {
        /// The publisher.
        publisher: String,
    },
    /// It is none.
    #[error("`{publisher}` is no owner")]
    Unknown {
        /// The publisher.
        publisher: String,
    },
    /// Nobody would be left.
    #[error("`{publisher}` is the last owner, and a package always has one")]
    Last {
        /// The publisher.
        publisher: String,
    },
}

impl OwnerStep {
    /// Gives what an entry says about the owners of its package, if it does.
    ///
    /// # Errors
    /// A field that has no canonical form.
    pub fn of(entry: &Entry) -> Result<Option<Self>, FeedError> {
        let Action::Own { after, former, owners } = &entry.action else { return Ok(None) };
        let digest = entry.digest()?;
        Ok(Some(Self { digest, after: *after, former: former.clone(), owners: owners.clone() }))
    }

    /// Gives the owners as they are after it.
    pub fn owners(&self) -> &[String] {
        &self.owners
    }
}

impl Owners {
    /// A package of which only its first publisher is known.
    pub fn first(publisher: &str) -> Self {
        Self { current: vec![publisher.to_owned()], former: BTreeMap::new(), newest: None }
    }

    /// Finds the owners of a package: `steps` gives those about it in the feed of a publisher, in their order, and is asked once
    /// for each publisher that ever was an owner.
    ///
    /// # Errors
    /// What `steps` says.
    pub fn follow<E>(first: &str, mut steps: impl FnMut(&str) -> Result<Vec<OwnerStep>, E>) -> Result<Self, E> {
        let mut owners = Self::first(first);
        // By the step before, which comes once only: each step is looked at once, however many a feed has.
        let mut known: BTreeMap<String, BTreeMap<Option<Sha256>, Vec<OwnerStep>>> = BTreeMap::new();
        loop {
            let mut next = None;
            for owner in &owners.current {
                if !known.contains_key(owner) {
                    let mut by_before: BTreeMap<_, Vec<_>> = BTreeMap::new();
                    for step in steps(owner)? {
                        by_before.entry(step.after).or_default().push(step);
                    }
                    known.insert(owner.clone(), by_before);
                }
                let mut after = known[owner].get(&owners.newest).into_iter().flatten();
                next = after.find(|step| owners.keeps_places_in(step)).cloned();
                if next.is_some() {
                    break;
                }
            }
            let Some(step) = next else { return Ok(owners) };
            owners = Self { current: step.owners, former: step.former, newest: Some(step.digest) };
        }
    }

    /// Gives the owners, the longest one first; there is at least one.
    pub fn current(&self) -> &[String] {
        &self.current
    }

    /// Gives former owners, each with the last entry of its feed that counts.
    pub fn former(&self) -> &BTreeMap<String, u64> {
        &self.former
    }

    /// Says whether a publisher is an owner.
    pub fn has(&self, publisher: &str) -> bool {
        self.current.iter().any(|owner| owner == publisher)
    }

    /// Says whether what a publisher released in an entry of its feed is the package's; of an owner everything is.
    pub fn count(&self, publisher: &str, entry: Option<u64>) -> bool {
        let counts = |last: &u64| entry.is_some_and(|number| number <= *last);
        self.has(publisher) || self.former.get(publisher).is_some_and(counts)
    }

    /// Makes the step that adds an owner.
    ///
    /// # Errors
    /// [`OwnersError::Known`].
    pub fn with(&self, publisher: &str) -> Result<Action, OwnersError> {
        if self.has(publisher) {
            return Err(OwnersError::Known { publisher: publisher.to_owned() });
        }
        let owners = self.current.iter().cloned().chain([publisher.to_owned()]).collect();
        let former = self.former.iter().filter(|(name, _)| *name != publisher);
        let former = former.map(|(name, last)| (name.clone(), *last)).collect();
        Ok(Action::Own { after: self.newest, former, owners })
    }

    /// Makes the step that removes an owner, whose feed has so many entries now.
    ///
    /// # Errors
    /// [`OwnersError::Unknown`] or [`OwnersError::Last`].
    pub fn without(&self, publisher: &str, entries: u64) -> Result<Action, OwnersError> {
        if !self.has(publisher) {
            return Err(OwnersError::Unknown { publisher: publisher.to_owned() });
        }
        if self.current.len() == 1 {
            return Err(OwnersError::Last { publisher: publisher.to_owned() });
        }
        let owners = self.current.iter().filter(|owner| *owner != publisher).cloned().collect();
        let mut former = self.former.clone();
        former.insert(publisher.to_owned(), entries);
        Ok(Action::Own { after: self.newest, former, owners })
    }

    /// A step counts if it leaves those who stay in their order, before those who are new: nobody gives itself a better place.
    fn keeps_places_in(&self, step: &OwnerStep) -> bool {
        let stay: Vec<&String> = self.current.iter().filter(|owner| step.owners.contains(owner)).collect();
        step.owners.iter().take(stay.len()).eq(stay)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::NOW;

    /// What each publisher has said, by its name.
    type Feeds = BTreeMap<String, Vec<Entry>>;

    fn say(feeds: &mut Feeds, publisher: &str, action: Action) {
        let feed = feeds.entry(publisher.to_owned()).or_default();
        let entry = Entry::after(feed.last(), publisher, ("vec", None), action, NOW).expect("a valid entry");
        feed.push(entry);
    }

    fn owners(feeds: &Feeds) -> Owners {
        let steps = |publisher: &str| {
            let entries = feeds.get(publisher).into_iter().flatten();
            Ok::<_, Infallible>(entries.filter_map(|entry| OwnerStep::of(entry).expect("has a digest")).collect())
        };
        Owners::follow("a", steps).unwrap_or_else(|never| match never {})
    }

    fn added(feeds: &mut Feeds, by: &str, publisher: &str) {
        let action = owners(feeds).with(publisher).expect("is new");
        say(feeds, by, action);
    }

    #[test]
    fn owners_add_and_remove_each_other_and_one_always_stays() {
        let mut feeds = Feeds::new();
        assert_eq!(owners(&feeds), Owners::first("a"));
        assert_eq!(owners(&feeds).without("a", 0), Err(OwnersError::Last { publisher: "a".into() }));
        added(&mut feeds, "a", "b");
        added(&mut feeds, "b", "c");
        assert_eq!(owners(&feeds).current(), ["a", "b", "c"]);
        assert_eq!(owners(&feeds).with("b"), Err(OwnersError::Known { publisher: "b".into() }));
        assert_eq!(owners(&feeds).without("x", 0), Err(OwnersError::Unknown { publisher: "x".into() }));
        let action = owners(&feeds).without("a", 9).expect("is one of three");
        say(&mut feeds, "c", action);
        let now = owners(&feeds);
        assert_eq!(now.current(), ["b", "c"]);
        assert!(!now.count("a", Some(10)) && !now.count("a", None) && now.count("a", Some(9)));
        assert!(now.count("b", None) && !now.count("x", Some(1)));
        // Who comes back comes last, and counts as every owner does.
        added(&mut feeds, "b", "a");
        let now = owners(&feeds);
        assert_eq!((now.current(), now.former().len()), (&["b", "c", "a"].map(String::from)[..], 0));
        assert!(now.count("a", Some(10)));
    }

    #[test]
    fn nobody_but_an_owner_says_whose_it_is() {
        let mut feeds = Feeds::new();
        say(&mut feeds, "x", Owners::first("a").with("x").expect("is new"));
        assert_eq!(owners(&feeds).current(), ["a"]);
        added(&mut feeds, "a", "b");
        let removed = owners(&feeds).without("b", 0).expect("is one of two");
        say(&mut feeds, "a", removed);
        // What a former owner says after that, or said about an earlier state, moves nothing.
        let again = owners(&feeds).with("b").expect("is new");
        say(&mut feeds, "b", again);
        assert_eq!(owners(&feeds).current(), ["a"]);
    }

    #[test]
    fn of_two_steps_after_one_that_of_the_longer_owner_counts() {
        let mut feeds = Feeds::new();
        added(&mut feeds, "a", "b");
        let state = owners(&feeds);
        for (by, removed) in [("b", "a"), ("a", "b")] {
            say(&mut feeds, by, state.without(removed, 1).expect("is one of two"));
        }
        assert_eq!(owners(&feeds).current(), ["a"]);
    }

    #[test]
    fn nobody_moves_up() {
        let mut feeds = Feeds::new();
        added(&mut feeds, "a", "b");
        let Action::Own { after, former, .. } = owners(&feeds).with("c").expect("is new") else {
            unreachable!("it is")
        };
        for order in [["b", "a", "c"], ["c", "a", "b"], ["a", "c", "b"]] {
            let mut feeds = feeds.clone();
            let owners_after = order.map(String::from).to_vec();
            say(&mut feeds, "b", Action::Own { after, former: former.clone(), owners: owners_after });
            assert_eq!(owners(&feeds).current(), ["a", "b"], "{order:?}");
        }
    }

    proptest! {
        /// Whatever anybody says, there is an owner, nobody is one twice, and only owners changed anything.
        #[test]
        fn there_is_always_an_owner(said in prop::collection::vec((0..5_usize, 0..5_usize, any::<bool>(), 0..4_usize), 0..20)) {
            let names = ["a", "b", "c", "d", "e"];
            let mut feeds = Feeds::new();
            let mut states = vec![owners(&feeds)];
            for (by, whom, adds, back) in said {
                let state = states[states.len().saturating_sub(back + 1)].clone();
                let action = if adds { state.with(names[whom]) } else { state.without(names[whom], 1) };
                let Ok(action) = action else { continue };
                let before = owners(&feeds);
                say(&mut feeds, names[by], action);
                let after = owners(&feeds);
                let mut different = after.current().to_vec();
                different.sort();
                different.dedup();
                prop_assert!(!different.is_empty() && different.len() == after.current().len());
                let ever = states.iter().any(|state| state.has(names[by]));
                prop_assert!(before == after || ever, "{before:?} {after:?}");
                states.push(after);
            }
        }
    }
}
