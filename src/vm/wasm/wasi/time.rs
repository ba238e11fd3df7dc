//! Clocks and sleep.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasmtime::{Caller, Linker};

use super::{Answer, Guest, INVAL, MODULE, Refusal, after, answer, part, put, put_number};

/// The clocks of WASI that there are here: wall time, and time since the instance was made. Processor time is not among
/// them.
const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;
/// A nanosecond.
const RESOLUTION: u64 = 1;
const SUBSCRIPTION_BYTES: usize = 48;
const EVENT_BYTES: usize = 32;
/// The most subscriptions of one `poll_oneoff`.
const SUBSCRIPTIONS_MAX: u32 = 1024;
/// The tag of a subscription to a clock, and of the event that answers it.
const CLOCK: u8 = 0;
/// The flag of a subscription whose time is a point, not a length.
const ABSOLUTE: u16 = 1;

pub(super) fn provide(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "clock_res_get", |caller: Caller<'_, Guest>, clock: i32, result: i32| {
        answer(caller, |memory, guest| {
            now(guest, clock.cast_unsigned())?;
            put(memory, result, &RESOLUTION.to_le_bytes())
        })
    })?;
    linker.func_wrap(MODULE, "clock_time_get", |caller: Caller<'_, Guest>, clock: i32, _: i64, result: i32| {
        answer(caller, |memory, guest| put(memory, result, &now(guest, clock.cast_unsigned())?.to_le_bytes()))
    })?;
    let poll = |caller: Caller<'_, Guest>, list: i32, events: i32, count: i32, happened: i32| {
        answer(caller, |memory, guest| poll(memory, guest, list, events, count.cast_unsigned(), happened))
    };
    linker.func_wrap(MODULE, "poll_oneoff", poll)?;
    Ok(())
}

fn now(guest: &Guest, clock: u32) -> Result<u64, Refusal> {
    let time = match clock {
        REALTIME => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        MONOTONIC => guest.started.elapsed(),
        _ => return Err(Refusal::Number(INVAL)),
    };
    Ok(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// One thing that a program waits for. What is no clock is always ready, as there is no descriptor that one could wait for.
struct Subscription {
    user: [u8; 8],
    tag: u8,
    wait: Duration,
}

fn poll(memory: &mut [u8], guest: &Guest, list: i32, events: i32, count: u32, happened: i32) -> Answer {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Refusal::Number(INVAL));
    }
    let mut subscriptions = Vec::new();
    for index in 0..count as usize {
        let at = after(list, index * SUBSCRIPTION_BYTES)?;
        subscriptions.push(subscription(part(memory, at, SUBSCRIPTION_BYTES)?, guest)?);
    }
    let wait = subscriptions.iter().map(|one| one.wait).min().unwrap_or_default();
    guest.watch.sleep(wait)?;
    let ready: Vec<&Subscription> = subscriptions.iter().filter(|one| one.wait <= wait).collect();
    for (index, one) in ready.iter().enumerate() {
        let mut event = [0; EVENT_BYTES];
        event[..8].copy_from_slice(&one.user);
        event[10] = one.tag;
        put(memory, after(events, index * EVENT_BYTES)?, &event)?;
    }
    put_number(memory, happened, ready.len())
}

fn subscription(bytes: &[u8], guest: &Guest) -> Result<Subscription, Refusal> {
    let eight = |at: usize| bytes[at..].first_chunk().copied().unwrap_or([0; 8]);
    let (user, tag) = (eight(0), bytes[8]);
    if tag != CLOCK {
        return Ok(Subscription { user, tag, wait: Duration::ZERO });
    }
    let clock = u64::from_le_bytes(eight(16)) as u32;
    let time = u64::from_le_bytes(eight(24));
    let flags = u16::from_le_bytes([bytes[40], bytes[41]]);
    let nanoseconds = if flags & ABSOLUTE == 0 { time } else { time.saturating_sub(now(guest, clock)?) };
    Ok(Subscription { user, tag, wait: Duration::from_nanos(nanoseconds) })
}
