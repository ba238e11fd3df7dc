//! What this node keeps for others: who provides what, and records of others, within bounds that no peer can pass.
//!
//! Keeps only what was judged before it came here. Where there is no room, the peer with the most entries gives way to one with
//! fewer: whoever floods displaces itself. A record gives way to one whose key lies nearer to this node, which is whom others
//! will ask for it.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{KBucketDistance, KBucketKey, ProviderRecord, Record, RecordKey};

use super::record::{self, Summary};

/// How much is kept.
#[derive(Clone, Debug)]
pub struct StoreLimits {
    /// The most records of others, each of at most [`super::record::RECORD_BYTES_MAX`].
    pub records_max: usize,
    /// The most records of one signer.
    pub records_per_signer_max: usize,
    /// The most providers of one key: as many as a node asks for.
    pub providers_per_key_max: usize,
    /// The most entries of one provider; about 300 bytes each.
    pub keys_per_provider_max: usize,
    /// The most entries in all.
    pub providers_max: usize,
    /// The most keys that this node provides itself.
    pub provided_max: usize,
}

impl Default for StoreLimits {
    /// At most 96 MiB of records and 40 MiB of providers.
    fn default() -> Self {
        Self {
            records_max: 4096,
            records_per_signer_max: 64,
            providers_per_key_max: 20,
            keys_per_provider_max: 8192,
            providers_max: 131_072,
            provided_max: 131_072,
        }
    }
}

/// How much is kept at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSizes {
    /// Records.
    pub records: usize,
    /// Entries of providers other than this node.
    pub providers: usize,
    /// Keys that this node provides.
    pub provided: usize,
}

/// What is kept.
pub(crate) struct Store {
    local: PeerId,
    limits: StoreLimits,
    records: HashMap<RecordKey, Held>,
    records_of: HashMap<PeerId, usize>,
    providers: HashMap<RecordKey, Vec<ProviderRecord>>,
    keys_of: HashMap<PeerId, BTreeSet<Vec<u8>>>,
    providers_count: usize,
    provided: HashMap<RecordKey, ProviderRecord>,
}

struct Held {
    record: Record,
    summary: Summary,
    distance: KBucketDistance,
}

impl Store {
    pub(crate) fn new(local: PeerId, limits: StoreLimits) -> Self {
        Self {
            local,
            limits,
            records: HashMap::new(),
            records_of: HashMap::new(),
            providers: HashMap::new(),
            keys_of: HashMap::new(),
            providers_count: 0,
            provided: HashMap::new(),
        }
    }

    pub(crate) fn sizes(&self) -> StoreSizes {
        let (records, provided) = (self.records.len(), self.provided.len());
        StoreSizes { records, providers: self.providers_count, provided }
    }

    /// Forgets what has expired.
    pub(crate) fn purge(&mut self, now: Instant) {
        let expired: Vec<RecordKey> =
            self.records.iter().filter(|(_, held)| held.record.is_expired(now)).map(|(key, _)| key.clone()).collect();
        expired.iter().for_each(|key| self.remove(key));
        let expired: Vec<(RecordKey, PeerId)> = self
            .providers
            .iter()
            .flat_map(|(key, providers)| {
                providers.iter().filter(|p| p.is_expired(now)).map(|p| (key.clone(), p.provider))
            })
            .collect();
        expired.iter().for_each(|(key, provider)| self.remove_provider(key, provider));
    }

    fn distance(&self, key: &RecordKey) -> KBucketDistance {
        KBucketKey::from(self.local).distance(&KBucketKey::new(key.clone()))
    }

    /// Finds the record that lies farthest from this node, if it is farther than this.
    fn farther_than(&self, distance: KBucketDistance) -> Option<RecordKey> {
        let (key, farthest) = self.records.iter().max_by_key(|(_, held)| held.distance)?;
        (farthest.distance > distance).then(|| key.clone())
    }

    fn keys_of(&self, provider: &PeerId) -> usize {
        self.keys_of.get(provider).map_or(0, BTreeSet::len)
    }

    /// Makes room for one more provider of a key.
    fn make_room(&mut self, key: &RecordKey, newcomer: &PeerId) -> Result<()> {
        let newcomer_keys = self.keys_of(newcomer);
        if newcomer_keys >= self.limits.keys_per_provider_max {
            return Err(Error::MaxProvidedKeys);
        }
        if self.providers.get(key).is_some_and(|known| known.len() >= self.limits.providers_per_key_max) {
            let heaviest = self.providers[key].iter().map(|p| p.provider).max_by_key(|peer| self.keys_of(peer));
            let heaviest = heaviest.filter(|peer| self.keys_of(peer) > newcomer_keys + 1);
            self.remove_provider(key, &heaviest.ok_or(Error::MaxProvidedKeys)?);
        }
        if self.providers_count >= self.limits.providers_max {
            let heaviest = self.keys_of.iter().max_by_key(|(_, keys)| keys.len());
            let heaviest = heaviest.filter(|(_, keys)| keys.len() > newcomer_keys + 1);
            let (peer, keys) = heaviest.ok_or(Error::MaxProvidedKeys)?;
            let (peer, key) = (*peer, RecordKey::from(keys.first().expect("a heavy peer has a key").clone()));
            self.remove_provider(&key, &peer);
        }
        Ok(())
    }

    fn forget_record(&mut self, signer: PeerId) {
        if let Entry::Occupied(mut count) = self.records_of.entry(signer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl RecordStore for Store {
    type RecordsIter<'a> = Box<dyn Iterator<Item = Cow<'a, Record>> + 'a>;
    type ProvidedIter<'a> = Box<dyn Iterator<Item = Cow<'a, ProviderRecord>> + 'a>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.records.get(key).map(|held| Cow::Borrowed(&held.record))
    }

    /// Keeps a record that was judged, unless there is a later one of the same key.
    fn put(&mut self, record: Record) -> Result<()> {
        let summary = record::summary(&record.value).map_err(|_| Error::ValueTooLarge)?;
        if let Some(held) = self.records.get_mut(&record.key) {
            let known = (held.summary.sequence, held.summary.expires);
            if (summary.sequence, summary.expires) < known {
                return Err(Error::MaxRecords);
            }
            (held.record, held.summary) = (record, summary);
            return Ok(());
        }
        if self.records_of.get(&summary.signer).is_some_and(|count| *count >= self.limits.records_per_signer_max) {
            return Err(Error::MaxRecords);
        }
        let distance = self.distance(&record.key);
        if self.records.len() >= self.limits.records_max {
            let farther = self.farther_than(distance).ok_or(Error::MaxRecords)?;
            self.remove(&farther);
        }
        *self.records_of.entry(summary.signer).or_default() += 1;
        self.records.insert(record.key.clone(), Held { record, summary, distance });
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        if let Some(held) = self.records.remove(key) {
            self.forget_record(held.summary.signer);
        }
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        Box::new(self.records.values().map(|held| Cow::Borrowed(&held.record)))
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.provider == self.local {
            if self.provided.len() >= self.limits.provided_max && !self.provided.contains_key(&record.key) {
                return Err(Error::MaxProvidedKeys);
            }
            self.provided.insert(record.key.clone(), record);
            return Ok(());
        }
        let known =
            self.providers.get_mut(&record.key).and_then(|p| p.iter_mut().find(|p| p.provider == record.provider));
        if let Some(known) = known {
            *known = record;
            return Ok(());
        }
        self.make_room(&record.key, &record.provider)?;
        self.keys_of.entry(record.provider).or_default().insert(record.key.to_vec());
        self.providers_count += 1;
        self.providers.entry(record.key.clone()).or_default().push(record);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let others = self.providers.get(key).into_iter().flatten();
        self.provided.get(key).into_iter().chain(others).cloned().collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        Box::new(self.provided.values().map(Cow::Borrowed))
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if *provider == self.local {
            self.provided.remove(key);
            return;
        }
        let Entry::Occupied(mut known) = self.providers.entry(key.clone()) else { return };
        let before = known.get().len();
        known.get_mut().retain(|p| p.provider != *provider);
        if known.get().len() == before {
            return;
        }
        self.providers_count -= 1;
        if known.get().is_empty() {
            known.remove();
        }
        if let Entry::Occupied(mut keys) = self.keys_of.entry(*provider) {
            keys.get_mut().remove(&key.to_vec());
            if keys.get().is_empty() {
                keys.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
