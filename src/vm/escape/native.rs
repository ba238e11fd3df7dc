//! Attacks by system calls and by what a process can do to itself, made from inside a sandbox by the worker itself.
//!
//! Lua and WebAssembly have no system calls, so what stands behind their engines is attacked as whoever took an engine
//! over would: as native code. Most attacks are one call with its arguments, a line in a table; the others are functions
//! in `acts`. Nothing here runs anywhere but in a worker that a self-test has started, and each attack is bounded or ends
//! with its worker.

mod acts;
mod table;

use std::ffi::{CStr, CString};
use std::io;

use crate::value::Value;

pub(super) use table::ATTACKS;

/// What the host put up outside for the attacks to reach.
#[derive(Debug)]
pub(super) struct Bait {
    /// A file that anybody may write.
    file: CString,
    /// A port on which somebody listens.
    port: u16,
    /// The name of an abstract socket on which somebody listens.
    socket: String,
    /// The process of the host.
    host: i32,
}

/// One attack.
#[derive(Debug)]
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) tries: &'static str,
    pub(super) act: Act,
    pub(super) ends: super::Ends,
}

/// How it is done.
#[derive(Debug)]
pub(super) enum Act {
    /// One system call, which must fail.
    Call(i64, &'static [Arg]),
    /// A function that tells what came of it, if it returns.
    Code(fn(&Bait) -> Outcome),
}

/// An argument of a system call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    /// A number.
    N(i64),
    /// A text.
    S(&'static CStr),
    /// The path of the bait.
    File,
    /// The process of the host.
    Host,
    /// The parent of this process.
    Parent,
    /// A kibibyte of zeros, which the kernel may write.
    Zeros,
}

/// What came of an attack that returned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was stopped, and by what: the name of an error number, or a sentence.
    Stopped(String),
    /// It was not.
    Escaped(String),
}

impl Bait {
    /// Reads what the host says: path, port, name, process.
    fn from_values(args: &[Value]) -> Option<Self> {
        let [Value::Str(file), Value::Int(port), Value::Str(socket), Value::Int(host)] = args else { return None };
        Some(Self {
            file: CString::new(file.as_str()).ok()?,
            port: u16::try_from(*port).ok()?,
            socket: socket.clone(),
            host: i32::try_from(*host).ok()?,
        })
    }
}

/// Makes an attack, and gives what came of it in words: `contained: …` or `escaped: …`.
///
/// # Errors
/// There is no such attack, or the arguments are not those of [`Bait`].
pub(crate) fn attack(name: &str, args: &[Value]) -> Result<Value, String> {
    let attack = ATTACKS.iter().find(|attack| attack.name == name).ok_or_else(|| format!("no attack `{name}`"))?;
    let bait = Bait::from_values(args).ok_or("an attack takes a path, a port, a name and a process")?;
    let outcome = match attack.act {
        Act::Call(number, args) => of_call(number, args, &bait),
        Act::Code(act) => act(&bait),
    };
    Ok(Value::Str(match outcome {
        Outcome::Stopped(by) => format!("contained: {by}"),
        Outcome::Escaped(how) => format!("escaped: {how}"),
    }))
}

fn of_call(number: i64, args: &[Arg], bait: &Bait) -> Outcome {
    let mut zeros = [0_u8; 1024];
    let mut raw = [0; 6];
    for (raw, arg) in raw.iter_mut().zip(args) {
        *raw = match arg {
            Arg::N(number) => *number,
            Arg::S(text) => text.as_ptr() as i64,
            Arg::File => bait.file.as_ptr() as i64,
            Arg::Host => bait.host.into(),
            Arg::Parent => rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get().into()),
            Arg::Zeros => zeros.as_mut_ptr() as i64,
        };
    }
    stopped_or(raw_call(number, raw))
}

/// Tells a failed call from one that went through.
fn stopped_or(result: io::Result<i64>) -> Outcome {
    match result {
        Err(error) => Outcome::Stopped(error_name(&error)),
        Ok(given) => Outcome::Escaped(format!("the call gave {given}")),
    }
}

/// Makes a system call.
///
/// The arguments are numbers, or addresses of what lives through the call: a text, or a buffer of a kibibyte, which is more
/// than any call in the table writes. A call that would harm this process's own memory is what an attacker may do as
/// well; the process has nothing else to lose.
#[expect(unsafe_code, reason = "the attacks are system calls")]
fn raw_call(number: i64, args: [i64; 6]) -> io::Result<i64> {
    // SAFETY: addresses among the arguments are valid for what the table's calls read and write, as said above.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Gives the name of an error number, such as `EPERM`.
fn error_name(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("errno {number}"), |(_, name)| (*name).to_owned())
}

const NAMES: [(i32, &str); 27] = [
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::ESRCH, "ESRCH"),
    (libc::EIO, "EIO"),
    (libc::EBADF, "EBADF"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EBUSY, "EBUSY"),
    (libc::EXDEV, "EXDEV"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::EINVAL, "EINVAL"),
    (libc::EMFILE, "EMFILE"),
    (libc::ETXTBSY, "ETXTBSY"),
    (libc::EFBIG, "EFBIG"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::EROFS, "EROFS"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ELOOP, "ELOOP"),
    (libc::EOVERFLOW, "EOVERFLOW"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
];
