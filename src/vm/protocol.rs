//! What the host and a worker process say to each other.
//!
//! A frame is a length (u32, little endian) and one MessagePack object of that many bytes: a [`ToWorker`] in one
//! direction, a [`FromWorker`] in the other, fields by name. The host asks, the worker answers, one question at a time;
//! `Hello` comes first and has two answers: `Enclosed` from the launcher, before any engine runs, and `Ready` from the
//! engine. A descriptor that comes with `Hello` becomes the engine's descriptor 3. This module never touches a socket.
//!
//! Invariant: whatever bytes come, decoding ends in a message or an error and its memory is bounded. A frame's shape
//! (length, depth, number of objects) is checked on the bytes before anything is built from them, since a worker that
//! runs a hostile program counts as hostile itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::value::{Value, tag};
use crate::vm::program::{Context, Language, Program};
use crate::vm::sandbox::{Absent, Barrier, Grade, Layer};
use crate::vm::storage::{StorageAnswer, StorageAsk};

/// The version both sides must speak; it changes with every change of a message.
pub const VERSION: u32 = 2;
/// The most bytes of one frame, without its length.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// The most MessagePack objects in one frame: 16 MiB of one-byte objects would decode into half a GiB of values.
pub const FRAME_OBJECTS_MAX: usize = 1 << 21;
/// How deep a value may nest.
pub const VALUE_DEPTH_MAX: usize = 64;
/// How deep a frame may nest: the message around a value takes a few levels. Extensions count with what is in them.
const FRAME_DEPTH_MAX: usize = VALUE_DEPTH_MAX + 6;
/// The most bytes of an error's message.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// The most lines of an error's traceback.
pub const TRACEBACK_LINES_MAX: usize = 32;

/// What the host says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker<'a> {
    /// Opens the conversation; answered by [`FromWorker::Enclosed`], then by [`FromWorker::Ready`].
    Hello {
        /// The host's [`VERSION`].
        version: u32,
        /// The language the worker is started for.
        language: Language,
        /// What the worker imposes on itself before it answers.
        limits: WorkerLimits,
        /// The engine, where it is another program; absent for one that the worker program itself has.
        image: Option<Image>,
        /// What is left out of the sandbox, to see that the rest holds.
        without: Vec<Barrier>,
    },
    /// Puts a program into a fresh environment, dropping the one before; answered by `Loaded` or `LoadFailed`.
    Load {
        /// The program.
        program: Cow<'a, Program>,
        /// What the program finds around itself.
        context: Cow<'a, Context>,
        /// The program as [`FromWorker::Compiled`] gave it, where the host has kept it; only such engines get one.
        #[serde(default, with = "compiled", skip_serializing_if = "Option::is_none")]
        compiled: Option<Vec<u8>>,
    },
    /// Calls a function of the loaded program; answered by `Done` or `Failed` with the same number.
    Call {
        /// The number of the call.
        id: u64,
        /// The function's name.
        function: Cow<'a, str>,
        /// Its arguments.
        args: Cow<'a, [Value]>,
        /// Whether the program is not called again: its state may go when this is answered.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_last: bool,
    },
    /// Answers [`FromWorker::Storage`].
    Storage {
        /// The answer.
        answer: StorageAnswer,
    },
}

/// What a worker answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// The sandbox is closed; no engine runs yet.
    Enclosed(Enclosed),
    /// The engine waits for a program.
    Ready(Ready),
    /// The program is loaded.
    Loaded,
    /// The program is loaded, and this is what it was compiled to, before any of it ran.
    Compiled {
        /// The compiled form, for the next time.
        #[serde(with = "crate::vm::program::source::bytes")]
        artefact: Vec<u8>,
    },
    /// The program is not loaded.
    LoadFailed {
        /// Why.
        error: ScriptError,
    },
    /// The program asks its storage, in the middle of loading or a call; answered by [`ToWorker::Storage`]. The only
    /// question that a worker asks.
    Storage {
        /// The question.
        ask: StorageAsk,
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

/// An engine that is a program of its own. The launcher executes it inside the sandbox with the descriptors 0 (socket),
/// 1 and 2 (pipes), and 3 where one came with `Hello`; it speaks this protocol from `Ready` on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The executable, an absolute path below one of `read_only`.
    pub program: PathBuf,
    /// Its arguments, without its own name.
    pub args: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// Files and directories of the host that it sees under the same absolute paths, to read and execute.
    pub read_only: Vec<PathBuf>,
}

/// What a launcher says of the sandbox it has closed. It comes before the first byte of a program, from code that no
/// program has touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enclosed {
    /// The launcher's [`VERSION`].
    pub version: u32,
    /// The layers that were seen to hold.
    pub layers: Vec<Layer>,
    /// The layers that do not, with reasons.
    pub absent: Vec<Absent>,
    /// What follows from the layers.
    pub grade: Grade,
    /// The process of the engine, by its number in the host's process namespace; zero where that is not known.
    pub process: u32,
}

impl fmt::Display for Enclosed {
    /// Writes `full`, or `degraded(…)` with what is absent of the layers that count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = Layer::COUNTED.into_iter().filter(|layer| !self.layers.contains(layer));
        let missing: Vec<String> = missing.map(|layer| format!("no {layer}")).collect();
        match missing.as_slice() {
            [] => write!(f, "{}", self.grade),
            missing => write!(f, "{}({})", self.grade, missing.join(", ")),
        }
    }
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The engine's [`VERSION`].
    pub version: u32,
    /// The engine, such as `Lua 5.4`.
    pub engine: String,
}

/// What a worker imposes on itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Memory of the program, in bytes.
    pub memory_bytes: u64,
    /// Processor time of one load or call, in milliseconds.
    pub cpu_ms: u64,
    /// Size of the directory for temporary files, in bytes; none if zero.
    pub temp_bytes: u64,
    /// Instructions of one call, for engines that count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
}

/// What one call used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerUsage {
    /// Processor time, in microseconds.
    pub cpu_us: u64,
    /// The most memory the worker has had resident since it started, in bytes.
    pub memory_peak_bytes: u64,
    /// Instructions, where the engine counts them.
    #[serde(default)]
    pub fuel_used: u64,
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
    /// The program used more instructions than its limit.
    FuelLimit,
    /// The program ended by itself with this status, which is not zero.
    Exit(i32),
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

/// Writes bytes that may be absent as one MessagePack `bin`.
mod compiled {
    use serde::{Deserializer, Serializer};

    use crate::vm::program::source::bytes;

    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_bytes(bytes),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        bytes::deserialize(deserializer).map(Some)
    }
}

/// Walks over the objects of a frame without building them.
fn check_shape(frame: &[u8]) -> Result<(), FrameError> {
    let mut open = vec![Level { left: 1, end: None }];
    // The frame itself is the first level.
    let (mut at, mut objects, mut depth) = (0, 0, 1);
    while let Some(level) = open.last_mut() {
        if level.left == 0 {
            if level.end.is_some_and(|end| end != at) {
                return Err(FrameError::NoMessage {
                    reason: format!("an extension does not end with its content, at byte {at}"),
                });
            }
            depth -= usize::from(level.end.is_none());
            open.pop();
            continue;
        }
        level.left -= 1;
        objects += 1;
        if objects > FRAME_OBJECTS_MAX {
            return Err(FrameError::TooManyObjects);
        }
        let within = level.end;
        let object = object(&frame[at..])?;
        at += object.bytes;
        let end = object.content_bytes.map(|bytes| at + bytes);
        // A ratio is made of integers, which are extensions without content of their own; anything else that nests
        // does so in an array or a map, which is what the depth counts.
        if end.is_some() && within.is_some() {
            return Err(FrameError::NoMessage { reason: format!("an extension directly in another, at byte {at}") });
        }
        if object.children > 0 || end.is_some() {
            depth += usize::from(end.is_none());
            if depth > FRAME_DEPTH_MAX + 1 {
                return Err(FrameError::TooDeep);
            }
            open.push(Level { left: object.children, end });
        }
    }
    if at == frame.len() { Ok(()) } else { Err(FrameError::Trailing { at }) }
}

/// Objects that stand in another one.
struct Level {
    /// How many are still to come.
    left: u64,
    /// Where they must end, if they stand in an extension.
    end: Option<usize>,
}

/// An object without its children.
struct Object {
    bytes: usize,
    children: u64,
    /// For an extension of objects: how many bytes they take.
    content_bytes: Option<usize>,
}

/// Gives the object that `bytes` begin with.
fn object(bytes: &[u8]) -> Result<Object, FrameError> {
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
        0xd4..=0xd8 => return extension(bytes, 0, 1 << (marker - 0xd4)),
        0xc7 => return extension(bytes, 1, number(1)?),
        0xc8 => return extension(bytes, 2, number(2)?),
        0xc9 => return extension(bytes, 4, number(4)?),
        0xc1 => return Err(FrameError::NoMessage { reason: format!("marker `{marker:#04x}` is not used here") }),
    };
    match usize::try_from(rest) {
        Ok(rest) if rest < bytes.len() => Ok(Object { bytes: 1 + rest, children, content_bytes: None }),
        _ => Err(FrameError::Truncated),
    }
}

/// Gives the extension that `bytes` begin with, whose length takes `width` bytes.
fn extension(bytes: &[u8], width: usize, length: u64) -> Result<Object, FrameError> {
    let head = 2 + width;
    let tag = *bytes.get(head - 1).ok_or(FrameError::Truncated)?;
    let length = usize::try_from(length).ok().filter(|length| bytes.len() - head >= *length);
    let length = length.ok_or(FrameError::Truncated)?;
    Ok(match tag::objects(tag.cast_signed()) {
        Some(children) => Object { bytes: head, children, content_bytes: Some(length) },
        None => Object { bytes: head + length, children: 0, content_bytes: None },
    })
}

#[cfg(test)]
mod tests;
