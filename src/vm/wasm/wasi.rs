//! WASI preview 1, as far as a program without files and sockets has use for it.
//!
//! There are arguments, an environment, standard input (given before the start), output and error, clocks, random bytes,
//! sleep and an exit status. Every other function exists and says what it would say of a descriptor that is not open, so
//! programs that look for files find none. Numbers and layouts are those of `wasi_snapshot_preview1`:
//! <https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md>.

mod time;

use wasmtime::{Caller, FuncType, Linker, Memory, Val, ValType};

use super::guest::{Guest, Stop};

/// The module that programs import this from.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";

const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const FAULT: i32 = 21;
const INVAL: i32 = 28;
const IO: i32 = 29;
const SPIPE: i32 = 70;
/// `fd_read` and `fd_write` of the rights.
const RIGHT_READ: u64 = 1 << 1;
const RIGHT_WRITE: u64 = 1 << 6;

/// Every function: name, parameters, results; `i` is `i32` and `I` is `i64`.
const FUNCTIONS: [(&str, &str, &str); 46] = [
    ("args_get", "ii", "i"),
    ("args_sizes_get", "ii", "i"),
    ("clock_res_get", "ii", "i"),
    ("clock_time_get", "iIi", "i"),
    ("environ_get", "ii", "i"),
    ("environ_sizes_get", "ii", "i"),
    ("fd_advise", "iIIi", "i"),
    ("fd_allocate", "iII", "i"),
    ("fd_close", "i", "i"),
    ("fd_datasync", "i", "i"),
    ("fd_fdstat_get", "ii", "i"),
    ("fd_fdstat_set_flags", "ii", "i"),
    ("fd_fdstat_set_rights", "iII", "i"),
    ("fd_filestat_get", "ii", "i"),
    ("fd_filestat_set_size", "iI", "i"),
    ("fd_filestat_set_times", "iIIi", "i"),
    ("fd_pread", "iiiIi", "i"),
    ("fd_prestat_dir_name", "iii", "i"),
    ("fd_prestat_get", "ii", "i"),
    ("fd_pwrite", "iiiIi", "i"),
    ("fd_read", "iiii", "i"),
    ("fd_readdir", "iiiIi", "i"),
    ("fd_renumber", "ii", "i"),
    ("fd_seek", "iIii", "i"),
    ("fd_sync", "i", "i"),
    ("fd_tell", "ii", "i"),
    ("fd_write", "iiii", "i"),
    ("path_create_directory", "iii", "i"),
    ("path_filestat_get", "iiiii", "i"),
    ("path_filestat_set_times", "iiiiIIi", "i"),
    ("path_link", "iiiiiii", "i"),
    ("path_open", "iiiiiIIii", "i"),
    ("path_readlink", "iiiiii", "i"),
    ("path_remove_directory", "iii", "i"),
    ("path_rename", "iiiiii", "i"),
    ("path_symlink", "iiiii", "i"),
    ("path_unlink_file", "iii", "i"),
    ("poll_oneoff", "iiii", "i"),
    ("proc_exit", "i", ""),
    ("proc_raise", "i", "i"),
    ("random_get", "ii", "i"),
    ("sched_yield", "", "i"),
    ("sock_accept", "iii", "i"),
    ("sock_recv", "iiiiii", "i"),
    ("sock_send", "iiiii", "i"),
    ("sock_shutdown", "ii", "i"),
];

/// Gives the parameters and results of a function, if there is one.
pub(super) fn signature(name: &str) -> Option<(&'static str, &'static str)> {
    FUNCTIONS.iter().find(|(known, ..)| *known == name).map(|(_, params, results)| (*params, *results))
}

/// What a function refuses: a number for the program, or the end of it.
enum Refusal {
    Number(i32),
    End(Stop),
}

type Answer = Result<(), Refusal>;

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        Self::End(stop)
    }
}

/// Offers every function to modules.
pub(super) fn provide(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let types = |letters: &str| -> Vec<ValType> {
        letters.chars().map(|letter| if letter == 'i' { ValType::I32 } else { ValType::I64 }).collect()
    };
    for (name, params, results) in FUNCTIONS {
        let ty = FuncType::new(linker.engine(), types(params), types(results));
        linker.func_new(MODULE, name, ty, |_, _, results| {
            results.iter_mut().for_each(|result| *result = Val::I32(BADF));
            Ok(())
        })?;
    }
    own(linker)?;
    time::provide(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The functions that do something.
fn own(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Of<'a> = Caller<'a, Guest>;
    linker.func_wrap(MODULE, "args_sizes_get", |caller: Of<'_>, count: i32, bytes: i32| {
        answer(caller, |memory, guest| sizes(memory, &guest.arguments, count, bytes))
    })?;
    linker.func_wrap(MODULE, "args_get", |caller: Of<'_>, list: i32, text: i32| {
        answer(caller, |memory, guest| strings(memory, &guest.arguments, list, text))
    })?;
    linker.func_wrap(MODULE, "environ_sizes_get", |caller: Of<'_>, count: i32, bytes: i32| {
        answer(caller, |memory, guest| sizes(memory, &guest.environment, count, bytes))
    })?;
    linker.func_wrap(MODULE, "environ_get", |caller: Of<'_>, list: i32, text: i32| {
        answer(caller, |memory, guest| strings(memory, &guest.environment, list, text))
    })?;
    linker.func_wrap(MODULE, "fd_write", |caller: Of<'_>, fd: i32, list: i32, count: i32, written: i32| {
        answer(caller, |memory, guest| fd_write(memory, guest, fd, (list, count), written))
    })?;
    linker.func_wrap(MODULE, "fd_read", |caller: Of<'_>, fd: i32, list: i32, count: i32, read: i32| {
        answer(caller, |memory, guest| fd_read(memory, guest, fd, (list, count), read))
    })?;
    linker.func_wrap(MODULE, "fd_close", |caller: Of<'_>, fd: i32| answer(caller, |_, _| standard(fd)))?;
    linker.func_wrap(MODULE, "fd_seek", |caller: Of<'_>, fd: i32, _: i64, _: i32, _: i32| {
        answer(caller, |_, _| standard(fd).and(Err(Refusal::Number(SPIPE))))
    })?;
    linker.func_wrap(MODULE, "fd_tell", |caller: Of<'_>, fd: i32, _: i32| {
        answer(caller, |_, _| standard(fd).and(Err(Refusal::Number(SPIPE))))
    })?;
    linker.func_wrap(MODULE, "fd_fdstat_get", |caller: Of<'_>, fd: i32, stat: i32| {
        answer(caller, |memory, _| fdstat(memory, fd, stat))
    })?;
    linker.func_wrap(MODULE, "fd_filestat_get", |caller: Of<'_>, fd: i32, stat: i32| {
        answer(caller, |memory, _| standard(fd).and_then(|()| put(memory, stat, &[0; 64])))
    })?;
    linker.func_wrap(MODULE, "random_get", |caller: Of<'_>, at: i32, length: i32| {
        answer(caller, |memory, guest| random(memory, guest, at, length))
    })?;
    linker.func_wrap(MODULE, "sched_yield", |caller: Of<'_>| answer(caller, |_, guest| Ok(guest.watch.look()?)))?;
    linker.func_wrap(MODULE, "proc_exit", |_: Of<'_>, status: i32| -> wasmtime::Result<()> {
        Err(Stop::Exit(status).into())
    })?;
    Ok(())
}

/// Gives a function the module's memory and its guest, and makes what it says a number.
fn answer(
    mut caller: Caller<'_, Guest>,
    function: impl FnOnce(&mut [u8], &mut Guest) -> Answer,
) -> wasmtime::Result<i32> {
    let Some(memory) = caller.get_export("memory").and_then(|export| export.into_memory()) else { return Ok(FAULT) };
    let memory: Memory = memory;
    let (bytes, guest) = memory.data_and_store_mut(&mut caller);
    match function(bytes, guest) {
        Ok(()) => Ok(SUCCESS),
        Err(Refusal::Number(number)) => Ok(number),
        Err(Refusal::End(stop)) => Err(stop.into()),
    }
}

fn sizes(memory: &mut [u8], strings: &[Vec<u8>], count: i32, bytes: i32) -> Answer {
    put_number(memory, count, strings.len())?;
    put_number(memory, bytes, strings.iter().map(|string| string.len() + 1).sum())
}

fn strings(memory: &mut [u8], strings: &[Vec<u8>], list: i32, text: i32) -> Answer {
    let (mut list, mut text) = (list, text);
    for string in strings {
        put_number(memory, list, text.cast_unsigned() as usize)?;
        put(memory, text, string)?;
        text = after(text, string.len())?;
        put(memory, text, &[0])?;
        (list, text) = (after(list, 4)?, after(text, 1)?);
    }
    Ok(())
}

fn fd_write(memory: &mut [u8], guest: &mut Guest, fd: i32, (list, count): (i32, i32), written: i32) -> Answer {
    if fd != 1 && fd != 2 {
        return Err(Refusal::Number(BADF));
    }
    let mut total = 0_usize;
    for at in 0..count.cast_unsigned() {
        let (address, length) = vector(memory, list, at)?;
        guest.sink.write(fd == 2, part(memory, address, length)?)?;
        total = total.saturating_add(length);
        guest.watch.look()?;
    }
    put_number(memory, written, total)
}

fn fd_read(memory: &mut [u8], guest: &mut Guest, fd: i32, (list, count): (i32, i32), read: i32) -> Answer {
    if fd != 0 {
        return Err(Refusal::Number(BADF));
    }
    let mut total = 0;
    for at in 0..count.cast_unsigned() {
        let (address, length) = vector(memory, list, at)?;
        let rest = &guest.input[guest.input_read..];
        let taken = rest.len().min(length);
        put(memory, address, &rest[..taken])?;
        guest.input_read += taken;
        total += taken;
        if taken < length {
            break;
        }
    }
    put_number(memory, read, total)
}

fn fdstat(memory: &mut [u8], fd: i32, at: i32) -> Answer {
    standard(fd)?;
    let rights = if fd == 0 { RIGHT_READ } else { RIGHT_WRITE };
    // File type (unknown), flags (none), rights, rights to inherit.
    let mut stat = [0; 24];
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    put(memory, at, &stat)
}

fn random(memory: &mut [u8], guest: &Guest, at: i32, length: i32) -> Answer {
    let room = part_mut(memory, at, length.cast_unsigned() as usize)?;
    for chunk in room.chunks_mut(64 << 10) {
        guest.watch.look()?;
        let mut filled = 0;
        while filled < chunk.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut chunk[filled..], flags).map_err(|_| Refusal::Number(IO))?;
        }
    }
    Ok(())
}

/// Standard input, output and error are open, and nothing else is.
fn standard(fd: i32) -> Answer {
    if (0..=2).contains(&fd) { Ok(()) } else { Err(Refusal::Number(BADF)) }
}

/// Gives address and length of one part of a scattered buffer.
fn vector(memory: &[u8], list: i32, index: u32) -> Result<(i32, usize), Refusal> {
    let at = u64::from(list.cast_unsigned()) + 8 * u64::from(index);
    let at = u32::try_from(at).map_err(|_| Refusal::Number(FAULT))?.cast_signed();
    let pair = part(memory, at, 8)?;
    let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |four| u32::from_le_bytes(*four));
    Ok((number(pair).cast_signed(), number(&pair[4..]) as usize))
}

fn part(memory: &[u8], at: i32, length: usize) -> Result<&[u8], Refusal> {
    let rest = memory.get(at.cast_unsigned() as usize..).and_then(|rest| rest.get(..length));
    rest.ok_or(Refusal::Number(FAULT))
}

fn part_mut(memory: &mut [u8], at: i32, length: usize) -> Result<&mut [u8], Refusal> {
    let rest = memory.get_mut(at.cast_unsigned() as usize..).and_then(|rest| rest.get_mut(..length));
    rest.ok_or(Refusal::Number(FAULT))
}

fn put(memory: &mut [u8], at: i32, bytes: &[u8]) -> Answer {
    part_mut(memory, at, bytes.len())?.copy_from_slice(bytes);
    Ok(())
}

fn put_number(memory: &mut [u8], at: i32, number: usize) -> Answer {
    let number = u32::try_from(number).map_err(|_| Refusal::Number(INVAL))?;
    put(memory, at, &number.to_le_bytes())
}

fn after(at: i32, bytes: usize) -> Result<i32, Refusal> {
    let next = u32::try_from(bytes).ok().and_then(|bytes| at.cast_unsigned().checked_add(bytes));
    next.map(u32::cast_signed).ok_or(Refusal::Number(FAULT))
}
