//! `bench-vm`: what a call costs on this machine in each language that it runs, beside an echo over a socket pair.
//!
//! The echo is the floor: a call crosses such a pair and back. Programs are run as any other, in the sandbox.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Catalog, OpError};
use crate::package::model::Bytes;
use crate::value::Value;
use crate::vm::{
    Call, Cancel, Context, Engine, Language, Limits, Module, Program, Session, Source, VmError, WorkerProgram,
};

/// The most calls of one language.
pub const CALLS_MAX: u32 = 1_000_000;
/// Calls before those that count, for compilers and caches.
const WARM_UP: u32 = 200;
/// `add(a, b)` as a binary module: one type, one function, exported, that adds two `i64`.
const WASM: [u8; 41] = [
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x07, 0x01, 0x60, 0x02, 0x7e, 0x7e, 0x01, 0x7e, 0x03, 0x02,
    0x01, 0x00, 0x07, 0x07, 0x01, 0x03, 0x61, 0x64, 0x64, 0x00, 0x00, 0x0a, 0x09, 0x01, 0x07, 0x00, 0x20, 0x00, 0x20,
    0x01, 0x7c, 0x0b,
];

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// An echo of 64 bytes between two threads, at the median in microseconds.
    pub echo_us: f64,
    /// Each language that runs here.
    pub languages: Vec<LanguageCost>,
    /// Each that does not, with the reason.
    pub absent: BTreeMap<String, String>,
}

/// What one language costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LanguageCost {
    /// The language.
    pub language: String,
    /// From nothing to a loaded program in its sandbox, in milliseconds.
    pub start_ms: f64,
    /// A call of `add(1, 2)` in a worker that is warm, at the median in microseconds.
    pub call_us: f64,
    /// The same at the 99th percentile.
    pub call_p99_us: f64,
    /// The median by that of the echo.
    pub of_echo: f64,
}

impl Catalog {
    /// Measures calls in every language that this node runs, or in one.
    ///
    /// # Errors
    /// No worker program; a program that does not run; no language at all.
    pub async fn bench_vm(&self, only: Option<Language>, calls: u32) -> Result<Measured, OpError> {
        let engines = self.engines.as_ref();
        let engines = engines.map_err(|looked| OpError::Vm(VmError::WorkerMissing { looked: looked.clone() }))?;
        let calls = calls.clamp(1, CALLS_MAX);
        let echo_us = tokio::task::spawn_blocking(move || echo(calls)).await;
        let echo_us = echo_us.map_err(io::Error::other).flatten();
        let echo_us = echo_us.map_err(|source| OpError::Vm(VmError::Arena { source }))?;
        let mut measured = Measured { echo_us, languages: Vec::new(), absent: BTreeMap::new() };
        for language in [Language::Lua, Language::Julia, Language::Wasm] {
            if only.is_some_and(|only| only != language) {
                continue;
            }
            let cost = match engines.engine(language).await {
                Ok(engine) => cost(engines.worker_program(), language, &engine, calls, echo_us).await,
                Err(error) => Err(error),
            };
            match cost {
                Ok(cost) => measured.languages.push(cost),
                Err(error @ (VmError::NoRuntime { .. } | VmError::NotBuilt { .. })) if only.is_none() => {
                    measured.absent.insert(language.to_string(), error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(measured)
    }
}

async fn cost(
    worker: &WorkerProgram,
    language: Language,
    engine: &Engine,
    calls: u32,
    echo_us: f64,
) -> Result<LanguageCost, VmError> {
    let (context, cancel) = (Context::default(), Cancel::new());
    let limits = Limits { wall: Limits::WALL_MAX, memory: Bytes(512 << 20), ..Limits::default() };
    let began = Instant::now();
    let opened = Session::open_with(worker, engine, &program(language)?, &context, limits, &cancel).await;
    let mut session = opened.map_err(|failure| *failure.error)?;
    let start_ms = began.elapsed().as_secs_f64() * 1e3;
    let call = Call { function: "add".into(), args: vec![Value::Int(1), Value::Int(2)] };
    let mut times = Vec::with_capacity(calls as usize);
    for number in 0..WARM_UP + calls {
        let began = Instant::now();
        let outcome = session.call(&call, &cancel).await.map_err(|failure| *failure.error)?;
        if outcome.value != Value::Int(3) {
            let reason = format!("1 + 2 is 3, not `{:?}`", outcome.value);
            return Err(VmError::Protocol { reason });
        }
        if number >= WARM_UP {
            times.push(began.elapsed());
        }
    }
    let (call_us, call_p99_us) = percentiles(times);
    let of_echo = call_us / echo_us;
    Ok(LanguageCost { language: language.to_string(), start_ms, call_us, call_p99_us, of_echo })
}

fn program(language: Language) -> Result<Program, VmError> {
    let source = match language {
        Language::Wasm => Source::Binary(WASM.into()),
        Language::Julia => "add(a, b) = a + b\n".into(),
        _ => "return { add = function(a, b) return a + b end }".into(),
    };
    let module = Module { file: format!("bench/main.{}", language.extension()), source };
    Program::new(language, "bench", BTreeMap::from([("bench".to_owned(), module)]))
}

/// Sends 64 bytes to another thread and back, so many times.
fn echo(rounds: u32) -> io::Result<f64> {
    let (mut near, mut far) = UnixStream::pair()?;
    let thread = std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while far.read_exact(&mut bytes).is_ok() && far.write_all(&bytes).is_ok() {}
    });
    let mut bytes = [7; 64];
    let mut times = Vec::with_capacity(rounds as usize);
    for _ in 0..rounds {
        let began = Instant::now();
        near.write_all(&bytes)?;
        near.read_exact(&mut bytes)?;
        times.push(began.elapsed());
    }
    drop(near);
    // It ends with the other end of its pair.
    let _ = thread.join();
    Ok(percentiles(times).0)
}

/// Gives the median and the 99th percentile, in microseconds; of at least one time.
fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).map_or(0.0, |time| time.as_secs_f64() * 1e6);
    (at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(percentiles(times), (51.0, 100.0));
        assert_eq!(percentiles(vec![Duration::from_micros(7)]), (7.0, 7.0));
    }
}
