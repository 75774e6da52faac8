//! Strict JSON, read where it lies.
//!
//! One pass over the bytes decides whether they are exactly one RFC 8259 text and, while at it, writes an
//! index of the values it met. Everything else in this crate reads arguments through that index, so the
//! bytes that were decided on are the very bytes that are forwarded.
//!
//! INVARIANT: a [`Value`] exists only for a source in which every reader, however lenient, must see the same
//! thing: valid UTF-8, no duplicate key at any depth (compared after decoding escapes), no lone surrogate,
//! no number that overflows or vanishes in a double, nothing but blanks around the one value.
//!
//! The scan neither recurses nor, once its buffers have grown to the size of the traffic, allocates. Memory
//! is 12 bytes a value (keys included), and the time is linear in the source but for objects that may have a key
//! twice, whose keys are compared in pairs if they are few and sorted if they are not.

mod keys;
mod lanes;
mod number;
mod pile;
mod scan;
mod text;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;

pub(crate) use number::shape;
use pile::Pile;
pub use text::{Chars, Text};
pub use value::{Elements, Kind, Members, Value};

/// Offsets are 32 bits wide and the index borrows one of them: no source may be longer than this.
const LONGEST: usize = 0x7fff_ffff;

/// How large a document may be before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the whole source; never more than 2 GiB - 1, whatever is asked for.
    pub max_bytes: usize,
    /// Arrays and objects inside each other: 1 admits `[]` and refuses `[[]]`.
    pub max_depth: usize,
    /// Keys of all objects together.
    pub max_keys: usize,
}

impl Default for Bounds {
    /// What a request may be: 1 MiB, 64 levels, 10 000 keys.
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_depth: 64,
            max_keys: 10_000,
        }
    }
}

/// Why a source was refused, coarse enough to choose an answer by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Not one JSON text in UTF-8.
    Malformed,
    /// An object has a key twice.
    DuplicateKey,
    /// More levels than [`Bounds::max_depth`].
    TooDeep,
    /// More bytes than [`Bounds::max_bytes`].
    TooLarge,
    /// More keys than [`Bounds::max_keys`].
    TooManyKeys,
    /// A number that a finite double cannot hold, or that is not zero but rounds to zero.
    NumberOutOfRange,
}

/// A refused source: why, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What sort of fault it is.
    pub kind: FaultKind,
    /// Bytes from the start of the source to the offending byte.
    pub offset: usize,
    /// For people: lower case, no full stop, nothing of the source in it.
    pub reason: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.reason, self.offset)
    }
}

impl std::error::Error for Fault {}

/// The buffers of a scan, kept from one document to the next.
///
/// They grow to the largest document seen and stay there; under [`Bounds::default`] that is at most about
/// 7 MB, reached by a source of nothing but single digits.
#[derive(Debug, Default)]
pub struct Index {
    nodes: Pile<Node>,
    open: Pile<scan::Open>,
    keys: Vec<keys::Key>,
}

impl Index {
    /// Reads `source` as one JSON text within `bounds`.
    ///
    /// # Errors
    ///
    /// The first fault met. Size is looked at first, then the encoding, then the text from left to right;
    /// the keys of an object are compared where the object ends.
    pub fn scan<'a>(&'a mut self, source: &'a [u8], bounds: &Bounds) -> Result<Value<'a>, Fault> {
        let source = scan::scan(self, source, bounds)?;
        Ok(Value::root(source, self.nodes.as_slice()))
    }
}

/// One value of a scanned document. A member of an object is two nodes, its key and then its value.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Offset of the first byte.
    start: u32,
    /// Offset past the last byte.
    end: u32,
    /// Number of the node after this one and all that is inside it; the top bit is set for a string that
    /// has an escape.
    next: u32,
}

impl Node {
    const ESCAPED: u32 = 0x8000_0000;

    const fn next(self) -> usize {
        (self.next & !Self::ESCAPED) as usize
    }

    const fn is_escaped(self) -> bool {
        self.next & Self::ESCAPED != 0
    }
}

const _: () = assert!(size_of::<Node>() == 12);
