//! Holders and others, over messages: what is allowed, what is refused, and that nothing is left.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use time::OffsetDateTime;

use super::client::{Client, ClientError, Local, Transport, backoff};
use super::*;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const ANNA: Peer = Peer([1; 32]);
const BERT: Peer = Peer([2; 32]);
const WRITE: Rights = Rights { write: true, ..Rights::READ };

fn regions() -> Arc<Regions> {
    Regions::new([0xaa; 16], [0xbb; 8]).expect("there is randomness")
}

fn export(regions: &Arc<Regions>, bytes: &[u8]) -> Export {
    regions.export(Arc::new(WordMemory::new(bytes)), Box::new(())).expect("there is room")
}

fn grant(holder: Peer, offset: u64, length: u64, rights: Rights) -> Grant {
    Grant { holder, offset, length, rights, expires_at: NOW + time::Duration::hours(2) }
}

fn client(regions: &Arc<Regions>, peer: Peer) -> Client<Local<impl Fn() -> OffsetDateTime>> {
    client_at(regions, peer, NOW)
}

fn client_at(regions: &Arc<Regions>, peer: Peer, now: OffsetDateTime) -> Client<Local<impl Fn() -> OffsetDateTime>> {
    Client::new(Local { regions: Arc::clone(regions), peer, now: move || now })
}

fn refusal<T>(result: Result<T, ClientError>) -> ProxyError {
    match result {
        Err(ClientError::Refused(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("is not refused"),
    }
}

#[test]
fn a_holder_reads_and_writes_inside_the_range_and_nobody_else_does() {
    let regions = regions();
    let export = export(&regions, b"0123456789abcdefghijklmnopqrstuv");
    assert!(export.address().to_string().ends_with(":bbbbbbbbbbbbbbbb/8000"), "{}", export.address());
    let capability = export.grant(&grant(ANNA, 8, 16, WRITE)).expect("is in range");
    let anna = client(&regions, ANNA);
    let mapped = anna.map(&capability, WRITE).expect("is hers");
    assert_eq!((mapped.length(), mapped.read(0, 16).expect("may")), (16, b"89abcdefghijklmn".to_vec()));
    mapped.write(3, b"UVW").expect("may");
    assert_eq!(mapped.read(2, 5).expect("may"), b"aUVWe");
    assert_eq!(mapped.read(16, 0).expect("may"), b"");
    for (offset, length) in [(0, 17), (16, 1), (17, 0), (u64::MAX, 1), (1, u64::MAX)] {
        assert_eq!(
            refusal(mapped.read(offset, length.min(1 << 20))),
            ProxyError::Range { offset, length: length.min(1 << 20), size: 16 }
        );
    }
    assert!(matches!(refusal(mapped.write(15, b"xy")), ProxyError::Range { .. }));
    // Others: with her capability, and with the number of her mapping.
    let bert = client(&regions, BERT);
    assert_eq!(refusal(bert.map(&capability, Rights::READ)), ProxyError::NotGenuine);
    let stolen = Request::Read { mapping: mapped.id(), offset: 0, length: 1 };
    assert_eq!(refusal(bert.ask(stolen)), ProxyError::NoMapping(mapped.id()));
    assert_eq!(refusal(bert.ask(Request::Unmap { mapping: mapped.id() })), ProxyError::NoMapping(mapped.id()));
    let id = mapped.id();
    drop(mapped);
    let late = Request::Read { mapping: id, offset: 0, length: 1 };
    assert_eq!(refusal(anna.ask(late)), ProxyError::NoMapping(id));
    assert_eq!(regions.mapped(), 0);
}

#[test]
fn rights_that_are_lacking_are_named() {
    let regions = regions();
    let export = export(&regions, &[0; 64]);
    let capability = export.grant(&grant(ANNA, 0, 64, Rights::READ)).expect("is in range");
    let anna = client(&regions, ANNA);
    assert_eq!(refusal(anna.map(&capability, WRITE)), ProxyError::Right("map with these rights".into()));
    let mapped = anna.map(&capability, Rights::READ).expect("may");
    assert_eq!(refusal(mapped.write(0, b"x")), ProxyError::Right("write".into()));
    assert_eq!(refusal(mapped.add(0, 1)), ProxyError::Right("read and write".into()));
    assert_eq!(refusal(mapped.compare_and_swap(0, 0, 1)), ProxyError::Right("read and write".into()));
    assert_eq!(refusal(mapped.prefetch(0, 1)), ProxyError::Right("prefetch".into()));
    assert_eq!(refusal(mapped.sync()), ProxyError::Right("write".into()));
    mapped.fence().expect("needs no right");
    let blind = export.grant(&grant(ANNA, 0, 64, Rights { write: true, ..Rights::default() })).expect("is in range");
    let blind = anna.map(&blind, blind.rights).expect("may");
    blind.write(0, b"x").expect("may");
    blind.sync().expect("may");
    assert_eq!(refusal(blind.read(0, 1)), ProxyError::Right("read".into()));
    let all = export.grant(&grant(ANNA, 0, 64, Rights::ALL)).expect("is in range");
    anna.map(&all, Rights::ALL).expect("may").prefetch(0, 64).expect("may");
}

#[test]
fn every_changed_field_of_a_capability_is_noticed() {
    let regions = regions();
    let (one, two) = (export(&regions, &[0; 64]), export(&regions, &[0; 64]));
    let genuine = one.grant(&grant(ANNA, 8, 8, Rights::READ)).expect("is in range");
    let mut forged: Vec<Capability> = vec![genuine.clone(); 9];
    forged[0].address = two.address();
    forged[1].serial += 1;
    forged[2].holder = BERT;
    forged[3].offset = 0;
    forged[4].length = 16;
    forged[5].rights = WRITE;
    forged[6].expires_at += 1;
    forged[7].code[31] ^= 1;
    forged[8].address.network[0] ^= 1;
    for (at, forged) in forged.iter().enumerate() {
        let holder = client(&regions, forged.holder);
        assert_eq!(refusal(holder.map(forged, Rights::READ)), ProxyError::NotGenuine, "{at}");
    }
    // Another node has another key; and so has the same node after a restart.
    let other = self::regions();
    let _same = export(&other, &[0; 64]);
    assert_eq!(refusal(client(&other, ANNA).map(&genuine, Rights::READ)), ProxyError::NotGenuine);
    assert!(matches!(one.grant(&grant(ANNA, 60, 5, Rights::READ)), Err(ProxyError::Range { .. })));
    client(&regions, ANNA).map(&genuine, Rights::READ).expect("the genuine one is good");
}

#[test]
fn a_capability_of_an_earlier_region_opens_no_later_one() {
    let regions = regions();
    let first = export(&regions, &[0; 64]);
    let (address, old) = (first.address(), first.grant(&grant(ANNA, 0, 64, Rights::READ)).expect("is in range"));
    drop(first);
    assert!(matches!(refusal(client(&regions, ANNA).map(&old, Rights::READ)), ProxyError::NoRegion(_)));
    // Ports go round.
    let later: Vec<Export> = (0..REGIONS_MAX).map(|_| export(&regions, &[0; 64])).collect();
    assert!(later.iter().any(|one| one.address() == address));
    assert_eq!(refusal(client(&regions, ANNA).map(&old, Rights::READ)), ProxyError::NotGenuine);
    let full = regions.export(Arc::new(WordMemory::new(&[])), Box::new(()));
    assert!(matches!(full.map(drop), Err(ProxyError::Full(REGIONS_MAX, _))));
}

#[test]
fn what_has_expired_is_refused_at_its_second() {
    let regions = regions();
    let export = export(&regions, &[0; 64]);
    let brief = Grant { expires_at: NOW + time::Duration::seconds(10), ..grant(ANNA, 0, 64, Rights::READ) };
    let capability = export.grant(&brief).expect("is in range");
    let at = |seconds| client_at(&regions, ANNA, NOW + time::Duration::seconds(seconds));
    assert_eq!(refusal(at(10).map(&capability, Rights::READ)), ProxyError::Expired);
    let early = at(9);
    let mapped = early.map(&capability, Rights::READ).expect("a second is left");
    let read = |seconds| at(seconds).ask(Request::Read { mapping: mapped.id(), offset: 0, length: 1 });
    read(9).expect("a second is left");
    assert_eq!(refusal(read(10)), ProxyError::Expired);
    regions.sweep(NOW + time::Duration::seconds(10));
    assert_eq!(regions.mapped(), 0);
    // However long a capability lives, a mapping lives an hour.
    let long = export.grant(&grant(ANNA, 0, 64, Rights::READ)).expect("is in range");
    let mapped = early.map(&long, Rights::READ).expect("may");
    let read = |seconds| at(seconds).ask(Request::Read { mapping: mapped.id(), offset: 0, length: 1 });
    read(9 + 3599).expect("a second is left");
    assert_eq!(refusal(read(9 + 3600)), ProxyError::Expired);
}

#[test]
fn what_is_revoked_or_restricted_ends_at_once_and_is_told() {
    let regions = regions();
    let export = export(&regions, &[0; 64]);
    let (anna, bert) = (client(&regions, ANNA), client(&regions, BERT));
    let hers = export.grant(&grant(ANNA, 0, 64, WRITE)).expect("is in range");
    let his = export.grant(&grant(BERT, 0, 64, WRITE)).expect("is in range");
    let (mapped, other) = (anna.map(&hers, WRITE).expect("may"), bert.map(&his, WRITE).expect("may"));
    export.restrict(his.serial, Rights::READ).expect("there is room");
    assert_eq!(refusal(other.write(0, b"x")), ProxyError::Right("write".into()));
    other.read(0, 1).expect("still may");
    assert_eq!(refusal(bert.map(&his, WRITE)), ProxyError::Right("map with these rights".into()));
    let told = Notification::PermissionChanged { mapping: other.id(), rights: Rights::READ };
    assert_eq!(bert.notifications().expect("answers"), [told]);
    export.revoke(hers.serial).expect("there is room");
    assert_eq!(refusal(mapped.read(0, 1)), ProxyError::NoMapping(mapped.id()));
    assert_eq!(refusal(anna.map(&hers, Rights::READ)), ProxyError::Revoked);
    assert_eq!(anna.notifications().expect("answers"), [Notification::Unmapped { mapping: mapped.id() }]);
    // Restricting gives nothing back.
    export.restrict(hers.serial, Rights::ALL).expect("there is room");
    assert_eq!(refusal(anna.map(&hers, Rights::READ)), ProxyError::Revoked);
    other.read(0, 1).expect("his is not touched");
}

#[test]
fn a_region_that_ends_ends_its_mappings_and_what_it_held() {
    struct Lease(Arc<AtomicBool>);
    impl Drop for Lease {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (regions, released) = (regions(), Arc::new(AtomicBool::new(false)));
    let memory = Arc::new(WordMemory::new(&[7; 64]));
    let export = regions.export(memory, Box::new(Lease(Arc::clone(&released)))).expect("there is room");
    let capability = export.grant(&grant(ANNA, 0, 64, Rights::READ)).expect("is in range");
    let anna = client(&regions, ANNA);
    let (one, two) =
        (anna.map(&capability, Rights::READ).expect("may"), anna.map(&capability, Rights::READ).expect("may"));
    assert_eq!((regions.exported(), regions.mapped(), released.load(Ordering::SeqCst)), (1, 2, false));
    let to = ProxyAddress { port: 8999, ..export.address() };
    let from = export.address();
    export.migrate(to);
    assert_eq!((regions.exported(), regions.mapped(), released.load(Ordering::SeqCst)), (0, 0, true));
    assert_eq!(refusal(one.read(0, 1)), ProxyError::NoMapping(one.id()));
    let unmapped = [&one, &two].map(|mapped| Notification::Unmapped { mapping: mapped.id() });
    let told = anna.notifications().expect("answers");
    assert_eq!((&told[0], &told[1..]), (&Notification::Migrated { from, to }, &unmapped[..]));
    assert_eq!(anna.notifications().expect("answers"), []);
}

#[test]
fn sharing_gives_less_and_never_more() {
    let regions = regions();
    let export = export(&regions, b"0123456789abcdef");
    let share = Rights { share: true, ..WRITE };
    let hers = export.grant(&grant(ANNA, 4, 8, share)).expect("is in range");
    let less = grant(BERT, 6, 2, Rights::READ);
    let his = regions.share(&hers, ANNA, &less, NOW).expect("may");
    assert_eq!(client(&regions, BERT).map(&his, Rights::READ).expect("may").read(0, 2).expect("may"), b"67");
    assert_eq!(regions.share(&hers, BERT, &less, NOW), Err(ProxyError::NotGenuine));
    assert_eq!(
        regions.share(&his, BERT, &grant(ANNA, 6, 1, Rights::READ), NOW),
        Err(ProxyError::Right("share".into()))
    );
    for wider in
        [grant(BERT, 3, 2, Rights::READ), grant(BERT, 11, 2, Rights::READ), grant(BERT, 4, u64::MAX, Rights::READ)]
    {
        assert!(matches!(regions.share(&hers, ANNA, &wider, NOW), Err(ProxyError::Range { .. })));
    }
    assert!(matches!(regions.share(&hers, ANNA, &grant(BERT, 6, 2, Rights::ALL), NOW), Err(ProxyError::Right(_))));
    let longer = Grant { expires_at: NOW + time::Duration::days(9), ..less };
    assert_eq!(regions.share(&hers, ANNA, &longer, NOW).expect("may").expires_at, hers.expires_at);
}

#[test]
fn changes_by_others_are_told_to_those_who_keep_what_they_read() {
    let regions = regions();
    let export = export(&regions, &[0; 64]);
    let (anna, bert) = (client(&regions, ANNA), client(&regions, BERT));
    let keeps = Rights { cache: true, ..WRITE };
    let hers = anna.map(&export.grant(&grant(ANNA, 16, 16, keeps)).expect("is in range"), keeps).expect("may");
    let his = bert.map(&export.grant(&grant(BERT, 0, 64, WRITE)).expect("is in range"), WRITE).expect("may");
    his.write(0, &[1; 16]).expect("may");
    assert_eq!(anna.notifications().expect("answers"), [], "it is beside hers");
    his.write(8, &[2; 16]).expect("may");
    hers.write(0, &[3]).expect("may");
    his.add(24, 1).expect("may");
    let told = |offset, length, version| Notification::Modified { mapping: hers.id(), offset, length, version };
    assert_eq!(anna.notifications().expect("answers"), [told(0, 8, 2), told(8, 8, 4)]);
    let Response::Bytes { version, .. } =
        anna.ask(Request::Read { mapping: hers.id(), offset: 0, length: 1 }).expect("may")
    else {
        panic!("no bytes")
    };
    assert_eq!(version, 4);
    for _ in 0..2 * NOTIFICATIONS_MAX {
        his.write(16, &[4]).expect("may");
    }
    assert_eq!(anna.notifications().expect("answers").len(), NOTIFICATIONS_MAX);
    assert_eq!(bert.notifications().expect("answers"), [], "he keeps nothing");
}

#[test]
fn many_threads_lose_no_change() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 2_000;
    let file = tempfile::tempfile().expect("there is room");
    file.set_len(4096).expect("there is room");
    let memories: [Arc<dyn Memory>; 2] =
        [Arc::new(WordMemory::new(&[0; 64])), Arc::new(FileMemory::new(file, 1024, 64).expect("is there"))];
    for memory in memories {
        let regions = regions();
        let export = regions.export(memory, Box::new(())).expect("there is room");
        let capability = export.grant(&grant(ANNA, 0, 64, WRITE)).expect("is in range");
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (regions, capability) = (&regions, &capability);
                scope.spawn(move || {
                    let anna = client(regions, ANNA);
                    let mapped = anna.map(capability, WRITE).expect("may");
                    for round in 0..ROUNDS {
                        mapped.add(0, 1).expect("may");
                        let mut seen = 0;
                        loop {
                            let found = mapped.compare_and_swap(8, seen, seen + 2).expect("may");
                            if found == seen {
                                break;
                            }
                            seen = found;
                        }
                        // Each thread has a byte of one word to itself, which its neighbours must not put back.
                        let byte = [(round % 251) as u8];
                        mapped.write(16 + thread, &byte).expect("may");
                        assert_eq!(mapped.read(16 + thread, 1).expect("may"), byte);
                    }
                });
            }
        });
        let anna = client(&regions, ANNA);
        let mapped = anna.map(&capability, WRITE).expect("may");
        assert_eq!(mapped.add(0, 0).expect("may"), THREADS * ROUNDS);
        assert_eq!(mapped.add(8, 0).expect("may"), 2 * THREADS * ROUNDS);
        assert_eq!(mapped.add(0, u64::MAX).expect("may"), THREADS * ROUNDS);
        assert_eq!(mapped.add(0, 0).expect("may"), THREADS * ROUNDS - 1, "it goes round");
        for odd in [1, 4, 57, u64::MAX] {
            let refused = refusal(mapped.add(odd, 1));
            assert!(matches!(refused, ProxyError::Alignment(_) | ProxyError::Range { .. }), "{refused}");
        }
        mapped.sync().expect("may");
        drop(mapped);
        assert_eq!(regions.mapped(), 0);
    }
}

#[test]
fn bounds_hold_and_free_places_are_given_again() {
    let regions = regions();
    let export = export(&regions, &[0; 8]);
    let capability = export.grant(&grant(ANNA, 0, 8, Rights::READ)).expect("is in range");
    let anna = client(&regions, ANNA);
    let mut mapped: Vec<_> =
        (0..MAPPINGS_PER_HOLDER_MAX).map(|_| anna.map(&capability, Rights::READ).expect("may")).collect();
    assert!(matches!(refusal(anna.map(&capability, Rights::READ)), ProxyError::Full(MAPPINGS_PER_HOLDER_MAX, _)));
    mapped.pop();
    anna.map(&capability, Rights::READ).expect("there is a place again");
    let peer = |number: usize| {
        let mut peer = [9; 32];
        peer[..8].copy_from_slice(&(number as u64).to_le_bytes());
        Peer(peer)
    };
    let map = |holder| {
        let capability = export.grant(&grant(holder, 0, 8, Rights::READ)).expect("is in range");
        regions.perform(Request::Map { capability, rights: Rights::READ }, holder, NOW)
    };
    for number in 1..HOLDERS_MAX {
        map(peer(number)).expect("there is room");
    }
    assert!(matches!(map(peer(HOLDERS_MAX)), Err(ProxyError::Full(HOLDERS_MAX, _))));
    regions.forget(peer(1));
    map(peer(HOLDERS_MAX)).expect("there is room again");
}

#[test]
fn long_transfers_go_in_parts_and_long_messages_are_refused() {
    let regions = regions();
    let length = TRANSFER_BYTES_MAX as u64 + 100;
    let export = export(&regions, &vec![0; length as usize]);
    let capability = export.grant(&grant(ANNA, 0, length, WRITE)).expect("is in range");
    let anna = client(&regions, ANNA);
    let mapped = anna.map(&capability, WRITE).expect("may");
    let bytes: Vec<u8> = (0..length).map(|at| (at % 253) as u8).collect();
    mapped.write(0, &bytes).expect("may");
    assert!(mapped.read(0, length).expect("may") == bytes);
    let long = Request::Read { mapping: mapped.id(), offset: 0, length };
    assert!(matches!(refusal(anna.ask(long)), ProxyError::TooLong { .. }));
    let answer = regions.answer(&vec![0xc0; MESSAGE_BYTES_MAX + 1], ANNA, NOW);
    let answer = message::decode::<Response>(&answer).expect("is an answer");
    assert!(matches!(answer.body, Response::Refused { error: ProxyError::TooLong { .. } }));
}

#[test]
fn another_version_is_refused_by_name() {
    let envelope = message::Envelope { version: VERSION + 1, id: 5, body: Request::Heartbeat };
    let bytes = rmp_serde::to_vec_named(&envelope).expect("has a form");
    let answer = message::decode::<Response>(&regions().answer(&bytes, ANNA, NOW)).expect("is an answer");
    let Response::Refused { error } = answer.body else { panic!("{answer:?}") };
    assert_eq!(error.to_string(), "no message of the memory proxy: version 1 is spoken here, not 2");
}

#[test]
fn only_what_may_be_repeated_is_and_later_each_time() {
    struct Deaf {
        asked: Cell<u32>,
        waited: RefCell<Vec<Duration>>,
    }
    impl Transport for Deaf {
        fn exchange(&self, _: &[u8]) -> std::io::Result<Vec<u8>> {
            self.asked.set(self.asked.get() + 1);
            Err(std::io::ErrorKind::TimedOut.into())
        }

        fn wait(&self, duration: Duration) {
            self.waited.borrow_mut().push(duration);
        }
    }
    for (request, tries) in [
        (Request::Heartbeat, 4),
        (Request::Read { mapping: 1, offset: 0, length: 1 }, 4),
        (Request::AtomicAdd { mapping: 1, offset: 0, amount: 1 }, 1),
        (Request::CompareAndSwap { mapping: 1, offset: 0, expected: 0, new: 1 }, 1),
    ] {
        let deaf = Client::new(Deaf { asked: Cell::new(0), waited: RefCell::default() });
        assert!(matches!(deaf.ask(request), Err(ClientError::Transport(_))));
        let Deaf { asked, waited } = deaf.into_transport();
        assert_eq!(asked.get(), tries);
        let expected: Vec<Duration> = [100, 200, 400].map(Duration::from_millis)[..tries as usize - 1].to_vec();
        assert_eq!(waited.into_inner(), expected);
    }
    assert_eq!(backoff(30), Duration::from_secs(10));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let answer = regions().answer(&bytes, ANNA, NOW);
        let refused = matches!(message::decode::<Response>(&answer).expect("is an answer").body, Response::Refused { .. });
        prop_assert!(refused);
    }

    #[test]
    fn memory_is_what_was_written(writes in proptest::collection::vec((0..64_u64, proptest::collection::vec(any::<u8>(), 0..40)), 0..12)) {
        let memory = WordMemory::new(&[0; 100]);
        let mut expected = vec![0; 100];
        for (offset, bytes) in &writes {
            let bytes = &bytes[..bytes.len().min(100 - *offset as usize)];
            memory.write(*offset, bytes).expect("is inside");
            expected[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        let mut read = vec![0; 100];
        memory.read(0, &mut read).expect("is inside");
        prop_assert_eq!(read, expected);
    }
}
