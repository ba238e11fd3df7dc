//! The queue by a clock that the tests move, and whatever may happen to it.

use proptest::prelude::*;

use super::*;

fn ask(package: &str, priority: Priority) -> Ask {
    let package = package.parse().expect("a name");
    Ask { package, priority, running_max: None, not_before: None, background: false }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Lets everybody out who may go.
fn all(queue: &mut Queue, now: Instant) -> Vec<Ticket> {
    std::iter::from_fn(|| queue.next(now)).collect()
}

#[test]
fn critical_overtakes_low_which_is_first_when_it_has_waited_long_enough() {
    let (mut queue, start) = (Queue::new(1), Instant::now());
    let low = queue.enter(&ask("low", Priority::Low), start).expect("there is room");
    let just_in_time = queue.enter(&ask("one", Priority::Critical), start + seconds(89)).expect("there is room");
    let too_late = queue.enter(&ask("two", Priority::Critical), start + seconds(91)).expect("there is room");
    let mut order = Vec::new();
    while let Some(ticket) = queue.next(start + seconds(100)) {
        order.push(ticket);
        queue.leave(ticket);
    }
    assert_eq!(order, [just_in_time, low, too_late]);
    assert_eq!((queue.waiting(), queue.out(), queue.lanes.len()), (0, 0, 0));
}

#[test]
fn of_one_priority_whoever_came_first_is_first() {
    let (mut queue, start) = (Queue::new(1), Instant::now());
    let names = ["b", "a", "c"];
    let came = names.map(|name| queue.enter(&ask(name, Priority::Normal), start).expect("there is room"));
    for expected in came {
        let ticket = queue.next(start).expect("somebody waits");
        assert_eq!((ticket, queue.next(start)), (expected, None), "one at a time");
        queue.leave(ticket);
    }
}

#[test]
fn a_package_has_no_more_out_than_its_bound_and_holds_nobody_else_up() {
    let (mut queue, now) = (Queue::new(RUNNING_MAX), Instant::now());
    let two = Ask { running_max: Some(2), ..ask("bounded", Priority::Critical) };
    let own: Vec<Ticket> = (0..3).map(|_| queue.enter(&two, now).expect("there is room")).collect();
    let other = queue.enter(&ask("other", Priority::Low), now).expect("there is room");
    assert_eq!(all(&mut queue, now), [own[0], own[1], other]);
    queue.leave(other);
    assert_eq!(queue.next(now), None);
    queue.leave(own[0]);
    assert_eq!(all(&mut queue, now), [own[2]]);
}

#[test]
fn who_was_refused_a_lease_is_passed_by_for_a_while_and_then_waited_for() {
    let (mut queue, start) = (Queue::new(RUNNING_MAX), Instant::now());
    let large = queue.enter(&ask("large", Priority::Normal), start).expect("there is room");
    assert_eq!(all(&mut queue, start), [large]);
    queue.refused(large, start);
    assert_eq!(queue.next(start), None, "nothing has become free");
    let small = queue.enter(&ask("small", Priority::Normal), start).expect("there is room");
    assert_eq!(all(&mut queue, start), [small], "there may be enough for it");
    queue.started(small);
    let later = start + RESERVE_AFTER;
    let second = queue.enter(&ask("small", Priority::Normal), later).expect("there is room");
    assert_eq!(queue.next(later), None, "what becomes free is kept for the first");
    queue.leave(small);
    assert_eq!(all(&mut queue, later), [large], "and for nobody else while it tries");
    queue.refused(large, later);
    assert_eq!(queue.next(later), None);
    queue.wake();
    assert_eq!(all(&mut queue, later), [large]);
    queue.started(large);
    assert_eq!(all(&mut queue, later), [second]);
}

#[test]
fn of_those_who_were_refused_the_most_urgent_tries_first() {
    let (mut queue, start) = (Queue::new(RUNNING_MAX), Instant::now());
    let low = queue.enter(&ask("low", Priority::Low), start).expect("there is room");
    let high = queue.enter(&ask("high", Priority::High), start).expect("there is room");
    for ticket in all(&mut queue, start) {
        queue.refused(ticket, start);
    }
    queue.wake();
    assert_eq!(all(&mut queue, start), [high]);
    queue.refused(high, start);
    assert_eq!(queue.next(start), None, "what becomes free is the first one's");
    queue.wake();
    assert_eq!(all(&mut queue, start), [high]);
    queue.started(high);
    assert_eq!(all(&mut queue, start), [low]);
}

#[test]
fn nobody_goes_before_his_time() {
    let (mut queue, start) = (Queue::new(RUNNING_MAX), Instant::now());
    let at = start + seconds(10);
    let late = Ask { not_before: Some(at), ..ask("late", Priority::Critical) };
    let ticket = queue.enter(&late, start).expect("there is room");
    assert_eq!((queue.next(start), queue.look_again(ticket)), (None, Some(at)));
    assert_eq!(all(&mut queue, at), [ticket]);
    let gone = queue.enter(&late, start).expect("there is room");
    queue.leave(gone);
    queue.leave(ticket);
    assert_eq!((queue.next(at), queue.waiting(), queue.lanes.len(), queue.delayed.len()), (None, 0, 0, 0));
}

#[test]
fn background_work_waits_for_idleness_but_not_for_ever() {
    let (mut queue, start) = (Queue::new(RUNNING_MAX), Instant::now());
    let idle = Ask { background: true, ..ask("idle", Priority::Critical) };
    let busy = queue.enter(&ask("busy", Priority::Low), start).expect("there is room");
    let first = queue.enter(&idle, start).expect("there is room");
    let second = queue.enter(&idle, start).expect("there is room");
    assert_eq!(all(&mut queue, start), [busy]);
    queue.leave(busy);
    assert_eq!(all(&mut queue, start), [first], "nothing else is out");
    assert_eq!(queue.look_again(second), Some(start + BACKGROUND_WAIT_MAX));
    assert_eq!(all(&mut queue, start + BACKGROUND_WAIT_MAX), [second]);
}

#[test]
fn the_queue_is_bounded() {
    let (mut queue, now) = (Queue::new(1), Instant::now());
    let first = queue.enter(&ask("a", Priority::Low), now).expect("there is room");
    for _ in 1..WAITING_MAX {
        queue.enter(&ask("a", Priority::Low), now).expect("there is room");
    }
    assert_eq!(queue.enter(&ask("b", Priority::Critical), now), Err(Full));
    assert_eq!(queue.next(now), Some(first));
    queue.enter(&ask("b", Priority::Critical), now).expect("one has begun");
}

#[derive(Clone, Debug)]
enum Step {
    Enter { package: u8, priority: u8, delay: u8, background: bool },
    Next,
    Refused(u8),
    Started(u8),
    Leave(u8),
    Wake,
    Pass(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, 0..4_u8, 0..3_u8, any::<bool>())
            .prop_map(|(package, priority, delay, background)| Step::Enter { package, priority, delay, background }),
        4 => Just(Step::Next),
        1 => any::<u8>().prop_map(Step::Refused),
        2 => any::<u8>().prop_map(Step::Started),
        2 => any::<u8>().prop_map(Step::Leave),
        1 => Just(Step::Wake),
        1 => (0..200_u8).prop_map(Step::Pass),
    ]
}

const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Nobody is lost or given out twice, no bound is passed, and in the end everybody has had his turn.
    #[test]
    fn nobody_is_lost_whatever_happens(steps in proptest::collection::vec(any_step(), 0..120)) {
        const OUT_MAX: usize = 5;
        let (mut queue, mut now) = (Queue::new(OUT_MAX), Instant::now());
        let (mut waiting, mut out) = (BTreeMap::new(), BTreeMap::<Ticket, u8>::new());
        let pick = |out: &BTreeMap<Ticket, u8>, at: u8| {
            (!out.is_empty()).then(|| *out.keys().nth(usize::from(at) % out.len()).expect("within"))
        };
        for step in steps {
            match step {
                Step::Enter { package, priority, delay, background } => {
                    let mut asked = ask(&format!("p{package}"), PRIORITIES[usize::from(priority)]);
                    // Each package has a bound of its own, and whether it is for idle times is the package's, too.
                    asked.running_max = Some(u32::from(package) + 1);
                    asked.background = background && package == 3;
                    asked.not_before = (delay > 0).then(|| now + seconds(u64::from(delay) * 10));
                    waiting.insert(queue.enter(&asked, now).expect("there is room"), package);
                }
                Step::Next => if let Some(ticket) = queue.next(now) {
                    let package = waiting.remove(&ticket).expect("it waited");
                    out.insert(ticket, package);
                },
                Step::Refused(at) => if let Some(ticket) = pick(&out, at) {
                    queue.refused(ticket, now);
                    waiting.insert(ticket, out.remove(&ticket).expect("was out"));
                },
                Step::Started(at) => if let Some(ticket) = pick(&out, at) { queue.started(ticket) },
                Step::Leave(at) => if let Some(ticket) = pick(&out, at) {
                    queue.leave(ticket);
                    out.remove(&ticket);
                },
                Step::Wake => queue.wake(),
                Step::Pass(by) => now += seconds(u64::from(by)),
            }
            prop_assert_eq!((queue.waiting(), queue.out()), (waiting.len(), out.len()));
            prop_assert!(out.len() <= OUT_MAX);
            for package in 0..3_u8 {
                let own = out.values().filter(|other| **other == package).count();
                prop_assert!(own <= usize::from(package) + 1, "package {} has {} out", package, own);
            }
        }
        // Whatever has happened: if those who are out leave and nobody is refused any more, all have their turn.
        now += BACKGROUND_WAIT_MAX;
        let mut rounds = 0;
        while !(waiting.is_empty() && out.is_empty()) {
            rounds += 1;
            prop_assert!(rounds < 1_000, "{} wait for ever", waiting.len());
            while let Some(ticket) = queue.next(now) {
                out.insert(ticket, waiting.remove(&ticket).expect("it waited"));
            }
            for ticket in std::mem::take(&mut out).into_keys() {
                queue.leave(ticket);
            }
            queue.wake();
        }
        prop_assert_eq!((queue.lanes.len(), queue.tickets.len(), queue.delayed.len()), (0, 0, 0));
    }

    /// However many urgent ones keep coming, one that waits is out after those that came within its allowance.
    #[test]
    fn nobody_starves(priority in 0..4_usize, coming in 1..4_u64) {
        let (mut queue, start) = (Queue::new(1), Instant::now());
        let patient = queue.enter(&ask("patient", PRIORITIES[priority]), start).expect("there is room");
        let mut waited = 0;
        loop {
            let now = start + seconds(waited);
            for _ in 0..coming {
                queue.enter(&ask("urgent", Priority::Critical), now).expect("there is room");
            }
            // Each second one is served, and as many come or more.
            let ticket = queue.next(now).expect("somebody waits");
            queue.leave(ticket);
            if ticket == patient {
                break;
            }
            waited += 1;
            prop_assert!(waited < 1_000, "starves");
        }
        let allowed = (3 - priority as u64) * HEAD_START.as_secs();
        prop_assert!(waited <= (allowed + 1) * coming, "{} s", waited);
    }
}
