//! The pass itself.
#![expect(clippy::inline_always, reason = "see `Pass`")]

use super::keys::{self, Filter, Key};
use super::lanes::LANES;
use super::pile::Pile;
use super::{Bounds, Fault, FaultKind, Index, LONGEST, Node, lanes, number};

/// What a value lies in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Open {
    /// Its node.
    node: u32,
    container: Container,
    /// Its keys so far, if it is an object.
    met: Filter,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Container {
    /// None: it is the value.
    #[default]
    Nothing,
    Array,
    Object,
}

/// Reads one JSON text and leaves its nodes in `index`; answers with the source as text.
///
/// # Errors
///
/// The first fault met.
pub(super) fn scan<'s>(
    index: &mut Index,
    source: &'s [u8],
    bounds: &Bounds,
) -> Result<&'s str, Fault> {
    if source.len() > bounds.max_bytes.min(LONGEST) {
        return Err(fault(FaultKind::TooLarge, 0, "the body is too large"));
    }
    let Ok(text) = simdutf8::basic::from_utf8(source) else {
        return Err(not_utf8(source));
    };
    if text.starts_with('\u{feff}') {
        return Err(malformed(0, "a byte order mark stands before the text"));
    }
    index.nodes.clear();
    index.open.clear();
    Pass {
        bytes: source,
        at: 0,
        inside: Open::default(),
        nodes: &mut index.nodes,
        open: &mut index.open,
        keys: &mut index.keys,
        bounds,
        keys_left: bounds.max_keys,
    }
    .document()?;
    Ok(text)
}

/// Where the pass stands.
///
/// What runs for every value is always inlined and what does not run takes no reference to it, so that its
/// fields can live in registers: half the time of a small document otherwise goes into storing them.
struct Pass<'s, 'i> {
    bytes: &'s [u8],
    /// Offset of the next byte to look at.
    at: usize,
    /// The innermost container that is open; those around it are in `open`.
    inside: Open,
    nodes: &'i mut Pile<Node>,
    open: &'i mut Pile<Open>,
    keys: &'i mut Vec<Key>,
    bounds: &'i Bounds,
    keys_left: usize,
}

/// What a look at the start of a value found.
enum Met {
    /// A value, to its end.
    Whole,
    /// The start of an array or object whose first element or member comes next.
    Opened,
}

impl Pass<'_, '_> {
    fn document(&mut self) -> Result<(), Fault> {
        loop {
            if self.inside.container == Container::Object {
                self.key()?;
            }
            match self.value()? {
                Met::Whole => {}
                Met::Opened => continue,
            }
            // A value ended here: close what closes with it, until another one has to follow.
            loop {
                match (self.next(), self.inside.container) {
                    (_, Container::Nothing) => return self.finish(),
                    (b',', _) => {
                        self.at = past(self.at, 1);
                        break;
                    }
                    (b']', Container::Array) | (b'}', Container::Object) => self.close()?,
                    (_, Container::Array) => {
                        return Err(self.unexpected("`,` or `]` is missing"));
                    }
                    (_, Container::Object) => {
                        return Err(self.unexpected("`,` or `}` is missing"));
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn finish(&self) -> Result<(), Fault> {
        if self.at >= self.bytes.len() {
            Ok(())
        } else {
            Err(self.unexpected("something follows the text"))
        }
    }

    /// Reads a scalar or an empty container, or opens a container that is not empty.
    #[inline(always)]
    fn value(&mut self) -> Result<Met, Fault> {
        match self.next() {
            b'"' => {
                self.string::<false>()?;
            }
            b'{' => return self.open(Container::Object, b'}'),
            b'[' => return self.open(Container::Array, b']'),
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            _ => return Err(self.unexpected("a value is missing")),
        }
        Ok(Met::Whole)
    }

    /// The next byte, or 0 at the end: a NUL is nowhere part of the grammar, so that needs no case of its own.
    #[inline(always)]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Skips blanks and answers with the byte after them.
    #[inline(always)]
    fn next(&mut self) -> u8 {
        let byte = self.peek();
        if byte > b' ' {
            return byte;
        }
        self.at = skip_blanks(self.bytes, self.at);
        self.peek()
    }

    #[inline(always)]
    fn open(&mut self, container: Container, closing: u8) -> Result<Met, Fault> {
        let start = self.at;
        let depth = self.open.len();
        if depth >= self.bounds.max_depth {
            let reason = "arrays and objects are nested too deeply";
            return Err(fault(FaultKind::TooDeep, start, reason));
        }
        self.at = past(self.at, 1);
        if self.next() == closing {
            self.at = past(self.at, 1);
            self.push(start, false);
            return Ok(Met::Whole);
        }
        self.open.push(self.inside);
        self.inside = Open {
            node: narrow(self.nodes.len()),
            container,
            met: Filter::default(),
        };
        // What is not known yet, the end and the node after it, is filled in by `close`.
        self.push(start, false);
        Ok(Met::Opened)
    }

    #[inline(always)]
    fn close(&mut self) -> Result<(), Fault> {
        self.at = past(self.at, 1);
        let Open { node, met, .. } = self.inside;
        let next = narrow(self.nodes.len());
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.end = narrow(self.at);
            node.next = next;
        }
        if met.may_repeat() {
            keys::distinct(self.bytes, self.nodes.as_slice(), node, self.keys)?;
        }
        self.inside = self.open.pop();
        Ok(())
    }

    /// Adds the node of a value that lies between `start` and here.
    #[inline(always)]
    fn push(&mut self, start: usize, escaped: bool) {
        let next = narrow(past(self.nodes.len(), 1));
        self.nodes.push(Node {
            start: narrow(start),
            end: narrow(self.at),
            next: if escaped { next | Node::ESCAPED } else { next },
        });
    }

    /// Reads a key and its colon.
    #[inline(always)]
    fn key(&mut self) -> Result<(), Fault> {
        if self.next() != b'"' {
            return Err(self.unexpected("a key in quotes is missing"));
        }
        let start = self.at;
        if self.keys_left == 0 {
            let reason = "there are too many keys";
            return Err(fault(FaultKind::TooManyKeys, start, reason));
        }
        self.keys_left -= 1;
        let fingerprint = self.string::<true>()?;
        self.inside.met.add(fingerprint);
        if self.next() != b':' {
            return Err(self.unexpected("`:` is missing"));
        }
        self.at = past(self.at, 1);
        Ok(())
    }

    /// Reads a string; the fingerprint if it is a key.
    #[inline(always)]
    fn string<const KEY: bool>(&mut self) -> Result<u64, Fault> {
        let start = self.at;
        let (quote, fingerprint) = plain::<KEY>(self.bytes, start);
        if quote != 0 {
            self.at = past(quote, 1);
            self.push(start, false);
            return Ok(fingerprint);
        }
        let (quote, escaped) = unusual_string(self.bytes, start)?;
        self.at = past(quote, 1);
        self.push(start, escaped);
        Ok(if KEY {
            let raw = self.bytes.get(start + 1..quote).unwrap_or_default();
            keys::fingerprint(raw, escaped)
        } else {
            0
        })
    }

    #[inline(always)]
    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at = match number::obvious(self.bytes, start) {
            0 => unusual_number(self.bytes, start)?,
            end => end,
        };
        self.push(start, false);
        Ok(())
    }

    #[inline(always)]
    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.unexpected("a value is missing"));
        }
        self.at += word.len();
        self.push(start, false);
        Ok(())
    }

    #[inline(always)]
    fn unexpected(&self, reason: &'static str) -> Fault {
        unexpected(self.bytes, self.at, reason)
    }
}

/// The fault of a source that is not UTF-8.
#[cold]
fn not_utf8(source: &[u8]) -> Fault {
    let valid = std::str::from_utf8(source).map_or_else(|error| error.valid_up_to(), str::len);
    malformed(valid, "the text is not valid utf-8")
}

/// The fault of meeting what does not belong at `at`, or the end of the source.
#[cold]
fn unexpected(bytes: &[u8], at: usize, reason: &'static str) -> Fault {
    if at >= bytes.len() {
        malformed(bytes.len(), "the text ends too early")
    } else {
        malformed(at, reason)
    }
}

/// Reads the escape at `start` and answers with the offset past it.
#[cold]
fn escape(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let lone = || malformed(start, "an escape is half of a surrogate pair");
    match bytes.get(start + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(start + 2),
        Some(b'u') => match unit(bytes, start + 2)? {
            0xd800..=0xdbff => {
                let rest = bytes.get(start + 6..).unwrap_or_default();
                if !rest.starts_with(b"\\u") {
                    return Err(lone());
                }
                match unit(bytes, start + 8)? {
                    0xdc00..=0xdfff => Ok(start + 12),
                    _ => Err(lone()),
                }
            }
            0xdc00..=0xdfff => Err(lone()),
            _ => Ok(start + 6),
        },
        _ => Err(unexpected(
            bytes,
            start + 1,
            "an escape is not one of json's",
        )),
    }
}

/// Reads the four hexadecimal digits at `start`.
fn unit(bytes: &[u8], start: usize) -> Result<u32, Fault> {
    (start..start + 4).try_fold(0, |unit, at| {
        let digit = bytes
            .get(at)
            .and_then(|&byte| char::from(byte).to_digit(16));
        digit
            .map(|digit| unit << 4 | digit)
            .ok_or_else(|| unexpected(bytes, at, "`\\u` lacks its four digits"))
    })
}

/// The offset of the quote that ends the string at `start`, and the string's fingerprint if it is a key. The
/// offset is 0 where it takes a closer look: at an escape, a control character, or close to the end of the source.
///
/// Not inlined: it is small, and what it needs would push everything else out of the registers.
#[inline(never)]
fn plain<const KEY: bool>(bytes: &[u8], start: usize) -> (usize, u64) {
    let first = past(start, 1);
    let Some((chunk, rest)) = bytes.get(first..).and_then(<[u8]>::split_first_chunk) else {
        return (0, 0);
    };
    let special = lanes::special(chunk);
    if special == 0 {
        return long::<KEY>(bytes, chunk, rest);
    }
    let count = special.trailing_zeros() as usize;
    if chunk.get(count) != Some(&b'"') {
        return (0, 0);
    }
    let fingerprint = if KEY { keys::end(0, chunk, count) } else { 0 };
    (past(first, count), fingerprint)
}

/// [`plain`] for a string of which `rest` comes after its first chunk.
fn long<const KEY: bool>(bytes: &[u8], first: &[u8; LANES], mut rest: &[u8]) -> (usize, u64) {
    let mut fingerprint = if KEY { keys::mix(0, first) } else { 0 };
    while let Some((chunk, after)) = rest.split_first_chunk() {
        let special = lanes::special(chunk);
        if special != 0 {
            let count = special.trailing_zeros() as usize;
            if chunk.get(count) != Some(&b'"') {
                break;
            }
            if KEY {
                fingerprint = keys::end(fingerprint, chunk, count);
            }
            let before = bytes.len().wrapping_sub(rest.len());
            return (past(before, count), fingerprint);
        }
        if KEY {
            fingerprint = keys::mix(fingerprint, chunk);
        }
        rest = after;
    }
    (0, 0)
}

/// The offset of the quote that ends any string, and whether it has an escape.
#[inline(never)]
fn unusual_string(bytes: &[u8], start: usize) -> Result<(usize, bool), Fault> {
    let mut at = start + 1;
    let mut escaped = false;
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok((at, escaped)),
            Some(b'\\') => {
                escaped = true;
                at = escape(bytes, at)?;
            }
            Some(0x20..) => at += 1,
            _ => {
                let reason = "a string has a raw control character";
                return Err(unexpected(bytes, at, reason));
            }
        }
    }
}

/// Where a number ends that has an exponent, a fault or very many digits.
#[cold]
fn unusual_number(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let shape = number::shape(bytes, start)
        .map_err(|(offset, reason)| unexpected(bytes, offset, reason))?;
    if !number::in_range(bytes, start, &shape) {
        let reason = "a number is out of a double's range";
        return Err(fault(FaultKind::NumberOutOfRange, start, reason));
    }
    Ok(shape.end)
}

/// The offset of the first byte from `at` on that is not blank.
#[inline(never)]
fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The offset `count` bytes past `at`. It cannot overflow: no source is longer than [`LONGEST`].
#[inline(always)]
const fn past(at: usize, count: usize) -> usize {
    at.wrapping_add(count)
}

/// Offsets and node numbers fit: no source is longer than [`LONGEST`], and every node takes a byte of it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a checked conversion costs as much as the rest"
)]
#[inline]
const fn narrow(number: usize) -> u32 {
    number as u32
}

#[cold]
pub(super) const fn fault(kind: FaultKind, offset: usize, reason: &'static str) -> Fault {
    Fault {
        kind,
        offset,
        reason,
    }
}

#[cold]
const fn malformed(offset: usize, reason: &'static str) -> Fault {
    fault(FaultKind::Malformed, offset, reason)
}
