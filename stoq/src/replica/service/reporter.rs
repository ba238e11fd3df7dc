//! What is said in the next report of this node, and to whom it has to say all.

use std::collections::BTreeMap;
use std::sync::Arc;

use trustchain::digest::Blake3;

use super::super::report::{Capacity, Change, Holding, Report};

/// Makes the reports of one node.
#[derive(Debug)]
pub(super) struct Reporter {
    epoch: u64,
    sequence: u64,
    last: BTreeMap<Blake3, Holding>,
}

/// One report, for those that know the one before and for the others.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    pub(super) sequence: u64,
    pub(super) all: Arc<Report>,
    pub(super) since: Arc<Report>,
}

impl Reporter {
    pub(super) fn new(epoch: u64) -> Self {
        Self { epoch, sequence: 0, last: BTreeMap::new() }
    }

    pub(super) fn next(&mut self, capacity: Capacity, holdings: Vec<Holding>) -> Reports {
        let (epoch, base) = (self.epoch, self.sequence);
        self.sequence += 1;
        let sequence = self.sequence;
        let now: BTreeMap<Blake3, Holding> = holdings.into_iter().map(|holding| (holding.digest, holding)).collect();
        let holdings: Vec<Holding> = now.values().copied().collect();
        let is_new = |holding: &&Holding| self.last.get(&holding.digest) != Some(*holding);
        let added = holdings.iter().filter(is_new).copied().collect();
        let removed = self.last.keys().filter(|digest| !now.contains_key(digest)).copied().collect();
        self.last = now;
        let report = |capacity, change| Arc::new(Report { epoch, sequence, capacity, change });
        Reports {
            sequence,
            since: report(capacity.clone(), Change::Since { base, added, removed }),
            all: report(capacity, Change::All(holdings)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_all_or_what_changed() {
        let holding = |number: u8, demand| Holding {
            digest: Blake3::from_bytes([number; 32]),
            size_bytes: 1,
            demand,
            is_pinned: false,
            is_complete: true,
        };
        let mut reporter = Reporter::new(7);
        reporter.next(Capacity::default(), vec![holding(1, 0), holding(2, 0), holding(3, 0)]);
        let reports = reporter.next(Capacity::default(), vec![holding(4, 0), holding(2, 0), holding(3, 5)]);
        assert_eq!((reports.sequence, reports.all.epoch), (2, 7));
        assert_eq!(reports.all.change, Change::All(vec![holding(2, 0), holding(3, 5), holding(4, 0)]));
        let removed = vec![holding(1, 0).digest];
        let added = vec![holding(3, 5), holding(4, 0)];
        assert_eq!(reports.since.change, Change::Since { base: 1, added, removed });
    }
}
