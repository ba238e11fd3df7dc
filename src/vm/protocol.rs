//! What the host and a worker process say to each other.
//!
//! A frame is a length (u32, little endian) and one MessagePack object of that many bytes: a [`ToWorker`] in one
//! direction, a [`FromWorker`] in the other, fields by name. The host asks, the worker answers, one question at a time;
//! `Hello` comes first. This module never touches a socket.
//!
//! Invariant: whatever bytes come, decoding ends in a message or an error and its memory is bounded. A frame's shape
//! (length, depth, number of objects) is checked on the bytes before anything is built from them, since a worker that
//! runs a hostile program counts as hostile itself.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::value::Value;
use crate::vm::program::{Context, Language, Program};

/// The version both sides must speak; it changes with every change of a message.
pub const VERSION: u32 = 1;
/// The most bytes of one frame, without its length.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// The most MessagePack objects in one frame: 16 MiB of one-byte objects would decode into half a GiB of values.
pub const FRAME_OBJECTS_MAX: usize = 1 << 21;
/// How deep a value may nest.
pub const VALUE_DEPTH_MAX: usize = 64;
/// How deep a frame may nest: each level of a value takes two, the message around it a few.
const FRAME_DEPTH_MAX: usize = 2 * VALUE_DEPTH_MAX + 6;
/// The most bytes of an error's message.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// The most lines of an error's traceback.
pub const TRACEBACK_LINES_MAX: usize = 32;

/// What the host says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker<'a> {
    /// Opens the conversation; answered by [`FromWorker::Ready`].
    Hello {
        /// The host's [`VERSION`].
        version: u32,
        /// The language the worker is started for.
        language: Language,
        /// What the worker imposes on itself before it answers.
        limits: WorkerLimits,
    },
    /// Puts a program into a fresh environment, dropping the one before; answered by `Loaded` or `LoadFailed`.
    Load {
        /// The program.
        program: Cow<'a, Program>,
        /// What the program finds around itself.
        context: Cow<'a, Context>,
    },
    /// Calls a function of the loaded program; answered by `Done` or `Failed` with the same number.
    Call {
        /// The number of the call.
        id: u64,
        /// The function's name.
        function: Cow<'a, str>,
        /// Its arguments.
        args: Cow<'a, [Value]>,
    },
}

/// What a worker answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// The worker is closed in and waits for a program.
    Ready(Ready),
    /// The program is loaded.
    Loaded,
    /// The program is not loaded.
    LoadFailed {
        /// Why.
        error: ScriptError,
    },
    /// A call ended well.
    Done {
        /// The number of the call.
        id: u64,
        /// What the function returned.
        value: Value,
        /// What the call used.
        usage: WorkerUsage,
    },
    /// A call ended in an error.
    Failed {
        /// The number of the call.
        id: u64,
        /// The error.
        error: ScriptError,
    },
}

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The worker's [`VERSION`].
    pub version: u32,
    /// The engine, such as `Lua 5.4`.
    pub engine: String,
    /// The layers of the sandbox that are active, by name.
    pub layers: Vec<String>,
    /// How complete the sandbox is: `full`, or `degraded(…)` with what is absent.
    pub grade: String,
}

/// What a worker imposes on itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Memory of the program, in bytes.
    pub memory_bytes: u64,
    /// Processor time of one load or call, in milliseconds.
    pub cpu_ms: u64,
}

/// What one call used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerUsage {
    /// Processor time, in microseconds.
    pub cpu_us: u64,
    /// The most memory the worker has had resident since it started, in bytes.
    pub memory_peak_bytes: u64,
}

/// The error of a program, with its place in the program's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptError {
    /// What kind of error.
    pub kind: ScriptErrorKind,
    /// What the engine or the program said, without the place.
    pub message: String,
    /// The file, such as `ray-tracer/main.lua`.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1; absent where the engine does not know it, as Lua never does.
    pub column: Option<u32>,
    /// The calls that led here, innermost first, one line of text each; only those in the program's own files.
    pub traceback: Vec<String>,
}

/// The kinds of error a program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScriptErrorKind {
    /// The text is no program.
    Syntax,
    /// The program raised it.
    Runtime,
    /// The program wanted more memory than its limit.
    MemoryLimit,
    /// The program has no such function.
    NoFunction,
    /// An argument or a result has no form on the other side.
    Value,
}

impl ScriptError {
    /// Makes an error without a place.
    pub fn new(kind: ScriptErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), file: None, line: None, column: None, traceback: Vec::new() }.bounded()
    }

    /// Cuts the texts to [`MESSAGE_BYTES_MAX`] and [`TRACEBACK_LINES_MAX`]: they are the program's and go into logs.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.traceback.truncate(TRACEBACK_LINES_MAX);
        for text in self.traceback.iter_mut().chain(&mut self.file).chain([&mut self.message]) {
            text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
        }
        self
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mark) in [
            (self.file.clone(), ":"),
            (self.line.map(|n| n.to_string()), ":"),
            (self.column.map(|n| n.to_string()), ":"),
        ] {
            if let Some(place) = place {
                write!(f, "{place}{mark}")?;
            }
        }
        write!(f, "{}{}", if self.file.is_some() || self.line.is_some() { " " } else { "" }, self.message)
    }
}

impl std::error::Error for ScriptError {}

/// A frame that is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It is longer than [`FRAME_BYTES_MAX`].
    #[error("frame of {bytes} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It nests too deep.
    #[error("frame nests deeper than {FRAME_DEPTH_MAX} levels (a value: {VALUE_DEPTH_MAX})")]
    TooDeep,
    /// It holds too many objects.
    #[error("frame holds more than {FRAME_OBJECTS_MAX} objects")]
    TooManyObjects,
    /// It ends in the middle of an object.
    #[error("frame ends within an object")]
    Truncated,
    /// Bytes follow its object.
    #[error("frame goes on after its object, at byte {at}")]
    Trailing {
        /// Where.
        at: usize,
    },
    /// It is no MessagePack at all, or no message of this protocol.
    #[error("frame is no message: {reason}")]
    NoMessage {
        /// Why.
        reason: String,
    },
}

/// Writes a message as a frame, its length first.
///
/// # Errors
/// The message is longer, deeper or larger than the receiver would accept.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    rmp_serde::encode::write_named(&mut frame, message)
        .map_err(|error| FrameError::NoMessage { reason: error.to_string() })?;
    let bytes = frame.len() - 4;
    if bytes > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { bytes });
    }
    check_shape(&frame[4..])?;
    let length = u32::try_from(bytes).expect("`FRAME_BYTES_MAX` fits in 32 bits");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Reads the length of a frame.
///
/// # Errors
/// The frame would be longer than [`FRAME_BYTES_MAX`].
pub fn frame_length(header: [u8; 4]) -> Result<usize, FrameError> {
    let bytes = u32::from_le_bytes(header) as usize;
    if bytes > FRAME_BYTES_MAX { Err(FrameError::TooLong { bytes }) } else { Ok(bytes) }
}

/// Reads a message from the bytes of a frame, without its length.
///
/// # Errors
/// The bytes are not exactly one message within the bounds.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    check_shape(frame)?;
    rmp_serde::from_slice(frame).map_err(|error| FrameError::NoMessage { reason: error.to_string() })
}

/// Walks over the objects of a frame without building them.
fn check_shape(frame: &[u8]) -> Result<(), FrameError> {
    let mut open = vec![1_u64];
    let (mut at, mut objects) = (0, 0);
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        objects += 1;
        if objects > FRAME_OBJECTS_MAX {
            return Err(FrameError::TooManyObjects);
        }
        let (bytes, children) = object(&frame[at..])?;
        at += bytes;
        if children > 0 {
            if open.len() > FRAME_DEPTH_MAX {
                return Err(FrameError::TooDeep);
            }
            open.push(children);
        }
    }
    if at == frame.len() { Ok(()) } else { Err(FrameError::Trailing { at }) }
}

/// Gives the size of the object that `bytes` begin with, without its children, and the number of these.
fn object(bytes: &[u8]) -> Result<(usize, u64), FrameError> {
    let marker = *bytes.first().ok_or(FrameError::Truncated)?;
    let number = |width: usize| -> Result<u64, FrameError> {
        let digits = bytes.get(1..=width).ok_or(FrameError::Truncated)?;
        Ok(digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)))
    };
    // (bytes after the marker, children)
    let (rest, children) = match marker {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
        0x80..=0x8f => (0, 2 * u64::from(marker & 0x0f)),
        0x90..=0x9f => (0, u64::from(marker & 0x0f)),
        0xa0..=0xbf => (u64::from(marker & 0x1f), 0),
        0xcc | 0xd0 => (1, 0),
        0xcd | 0xd1 => (2, 0),
        0xca | 0xce | 0xd2 => (4, 0),
        0xcb | 0xcf | 0xd3 => (8, 0),
        0xc4 | 0xd9 => (1 + number(1)?, 0),
        0xc5 | 0xda => (2 + number(2)?, 0),
        0xc6 | 0xdb => (4 + number(4)?, 0),
        0xdc => (2, number(2)?),
        0xdd => (4, number(4)?),
        0xde => (2, 2 * number(2)?),
        0xdf => (4, 2 * number(4)?),
        0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => {
            return Err(FrameError::NoMessage { reason: format!("marker `{marker:#04x}` is not used here") });
        }
    };
    match usize::try_from(rest) {
        Ok(rest) if rest < bytes.len() => Ok((1 + rest, children)),
        _ => Err(FrameError::Truncated),
    }
}

#[cfg(test)]
mod tests;
