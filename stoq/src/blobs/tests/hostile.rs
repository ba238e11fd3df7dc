//! Sources that lie: the file becomes right, or nothing does.

use std::sync::Arc;

use bytes::Bytes;
use trustchain::digest::Blake3;

use super::network::*;
use crate::PeerId;
use crate::blobs::fetch::FetchError;
use crate::blobs::schedule::Fault;
use crate::blobs::tree::{Outboard, group_count, one};
use crate::blobs::wire::{Part, Request};
use crate::blobs::{GROUP_BYTES, SERVICE};
use crate::identity::Pending;
use crate::service::{Caller, Service, ServiceError, Stream};

/// How a source lies.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// One bit of the first group of every answer is flipped.
    FlipsFirst,
    /// One bit of the last byte of every answer is flipped.
    FlipsLast,
    /// One bit of the pairs of hashes is flipped.
    FlipsTree,
    /// Everything is honest but the last group of the blob in answers of more than it alone.
    FlipsAfterProof,
    /// The size is one byte less.
    Smaller,
    /// The size is one byte more.
    Larger,
    /// The size is beyond all bounds.
    Huge,
    /// The groups are others than those that are asked for.
    OtherGroups,
    /// The answer goes on and on.
    Endless,
    /// The answer ends in the middle of a group, as if that were all.
    EndsEarly,
    /// Zeros.
    Zeros,
}

const LIES: [Lie; 11] = [
    Lie::FlipsFirst,
    Lie::FlipsLast,
    Lie::FlipsTree,
    Lie::FlipsAfterProof,
    Lie::Smaller,
    Lie::Larger,
    Lie::Huge,
    Lie::OtherGroups,
    Lie::Endless,
    Lie::EndsEarly,
    Lie::Zeros,
];

struct Liar {
    lie: Lie,
    bytes: Arc<Vec<u8>>,
    outboard: Arc<Outboard>,
}

impl Liar {
    fn new(lie: Lie, bytes: &[u8]) -> Arc<Self> {
        let outboard = Outboard::compute(&Blake3::of(bytes), &Memory(bytes.to_vec())).expect("is right");
        Arc::new(Self { lie, bytes: Arc::new(bytes.to_vec()), outboard: Arc::new(outboard) })
    }

    fn answer(&self, request: &Request) -> Vec<u8> {
        let count = group_count(self.bytes.len() as u64);
        let mut groups = match &request.part {
            Part::Last => one(count - 1..count).to_vec(),
            Part::Groups(groups) => groups.clone(),
        };
        if matches!(self.lie, Lie::OtherGroups) {
            groups = groups.into_iter().map(|groups| if groups.start > 0 { 0..1 } else { 1..2 }).collect();
        }
        let size = match self.lie {
            Lie::Smaller => self.bytes.len() as u64 - 1,
            Lie::Larger => self.bytes.len() as u64 + 1,
            Lie::Huge => u64::MAX,
            _ => self.bytes.len() as u64,
        };
        let mut answer = size.to_le_bytes().to_vec();
        let mut first_group = None;
        for frame in self.outboard.frames(&groups) {
            answer.extend(frame.pairs);
            first_group.get_or_insert(answer.len());
            let offset = usize::try_from(frame.offset).expect("small");
            answer.extend_from_slice(&self.bytes[offset..offset + frame.size]);
        }
        let length = answer.len();
        match self.lie {
            Lie::FlipsFirst => answer[first_group.expect("a group")] ^= 1,
            Lie::FlipsLast => answer[length - 1] ^= 0x80,
            Lie::FlipsTree => answer[8 + 5] ^= 4,
            Lie::FlipsAfterProof if !matches!(request.part, Part::Last) => answer[length - 1] ^= 1,
            Lie::EndsEarly => answer.truncate(length - 100),
            Lie::Larger => answer.push(0),
            Lie::Zeros => answer[8..].fill(0),
            _ => {}
        }
        answer
    }
}

impl Service for Liar {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn serve(&self, _: Caller, request: Bytes, mut stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        let answer = self.answer(&Request::parse(&request).expect("a request"));
        let lie = self.lie;
        Box::pin(async move {
            let mut written = stream.send.write_all(&answer).await;
            while matches!(lie, Lie::Endless) && written.is_ok() {
                written = stream.send.write_all(&[7; 4096]).await;
            }
            _ = stream.send.finish();
            _ = stream.send.stopped().await;
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_liar_beside_an_honest_source_changes_nothing_but_its_own_name() {
    for lie in LIES {
        let (network, place, bytes) = (Network::new(), Place::new(), content(20 * GROUP_BYTES + 777));
        let (honest, liar) = (network.serve(&bytes), network.add(Liar::new(lie, &bytes)));
        let sources = vec![liar.peer, honest.peer];
        let fetched =
            fetch_all(&network, &place, Blake3::of(&bytes), sources).await.unwrap_or_else(|e| panic!("{lie:?}: {e}"));
        assert_holds(&place, &bytes);
        // One that goes on and on said nothing wrong, one that ends early may have failed.
        let harmless = matches!(lie, Lie::Endless | Lie::EndsEarly);
        let expected: &[PeerId] = if harmless { &[] } else { &[liar.peer] };
        assert_eq!(fetched.liars, expected, "{lie:?}");
    }
}

#[tokio::test]
async fn a_liar_alone_gives_nothing() {
    for lie in LIES {
        let (network, place, bytes) = (Network::new(), Place::new(), content(3 * GROUP_BYTES + 777));
        let liar = network.add(Liar::new(lie, &bytes));
        let outcome = fetch_all(&network, &place, Blake3::of(&bytes), vec![liar.peer]).await;
        if matches!(lie, Lie::Endless) {
            outcome.expect("what it sends first is right");
            assert_holds(&place, &bytes);
            continue;
        }
        let FetchError::NoSource { tried, .. } = outcome.expect_err("is refused") else { panic!("{lie:?}") };
        match lie {
            Lie::EndsEarly => assert!(matches!(tried[..], [(_, Fault::Failed(_))]), "{tried:?}"),
            _ => assert!(matches!(tried[..], [(peer, Fault::Lied(_))] if peer == liar.peer), "{lie:?}: {tried:?}"),
        }
        let part = place.open(Blake3::of(&bytes));
        let honest_part = if matches!(lie, Lie::FlipsAfterProof) { 4 } else { 1 };
        assert!(part.done().is_none_or(|done| done.count() < honest_part), "{lie:?}: {:?}", part.done());
    }
}

#[tokio::test]
async fn many_liars_and_one_honest_source() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(40 * GROUP_BYTES));
    let mut servers: Vec<_> = LIES.iter().map(|lie| network.add(Liar::new(*lie, &bytes))).collect();
    servers.push(network.serve(&bytes));
    let sources = servers.iter().map(|server| server.peer).collect();
    let fetched = fetch_all(&network, &place, Blake3::of(&bytes), sources).await.expect("is fetched");
    assert_holds(&place, &bytes);
    assert!(!fetched.liars.contains(&servers.last().expect("the honest one").peer));
}
