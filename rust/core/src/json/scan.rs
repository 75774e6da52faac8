//! The pass itself.
#![expect(clippy::inline_always, reason = "see `Pass`")]

use super::keys::{self, Key};
use super::{Bounds, Fault, FaultKind, Index, LONGEST, Node, number};

/// An array or object whose end has not been met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// Its node.
    node: u32,
    /// Where its keys begin in the pile of keys, or [`Open::ARRAY`].
    first_key: u32,
}

impl Open {
    const ARRAY: u32 = u32::MAX;
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
    let text = std::str::from_utf8(source)
        .map_err(|error| malformed(error.valid_up_to(), "the text is not valid utf-8"))?;
    if text.starts_with('\u{feff}') {
        return Err(malformed(0, "a byte order mark stands before the text"));
    }
    index.nodes.clear();
    index.open.clear();
    index.keys.clear();
    let mut pass = Pass {
        text,
        bytes: source,
        at: 0,
        index,
        bounds,
        keys_left: bounds.max_keys,
    };
    pass.document()?;
    Ok(text)
}

/// Where the pass stands.
///
/// What runs for every value is always inlined and what does not run takes no reference to it, so that its
/// fields can live in registers: half the time of a small document otherwise goes into storing them.
struct Pass<'s, 'i> {
    text: &'s str,
    bytes: &'s [u8],
    /// Offset of the next byte to look at.
    at: usize,
    index: &'i mut Index,
    bounds: &'i Bounds,
    keys_left: usize,
}

/// What a look at the start of a value found.
enum Met {
    /// A value, to its end.
    Whole,
    /// The start of an array or object whose first element or member comes next.
    Opened { object: bool },
}

impl Pass<'_, '_> {
    fn document(&mut self) -> Result<(), Fault> {
        let mut is_member = false;
        loop {
            if is_member {
                self.key()?;
            }
            match self.value()? {
                Met::Whole => {}
                Met::Opened { object } => {
                    is_member = object;
                    continue;
                }
            }
            // A value ended here: close what closes with it, until another one has to follow.
            loop {
                let Some(&open) = self.index.open.last() else {
                    self.blanks();
                    return if self.at >= self.bytes.len() {
                        Ok(())
                    } else {
                        Err(self.unexpected("something follows the text"))
                    };
                };
                is_member = open.first_key != Open::ARRAY;
                match self.blanks() {
                    b',' => {
                        self.at += 1;
                        break;
                    }
                    b']' if !is_member => self.close()?,
                    b'}' if is_member => self.close()?,
                    _ if is_member => return Err(self.unexpected("`,` or `}` is missing")),
                    _ => return Err(self.unexpected("`,` or `]` is missing")),
                }
            }
        }
    }

    /// Reads a scalar or an empty container, or opens a container that is not empty.
    #[inline(always)]
    fn value(&mut self) -> Result<Met, Fault> {
        match self.blanks() {
            b'"' => {
                self.string()?;
            }
            b'{' => {
                self.open(narrow(self.index.keys.len()))?;
                if self.blanks() != b'}' {
                    return Ok(Met::Opened { object: true });
                }
                self.close()?;
            }
            b'[' => {
                self.open(Open::ARRAY)?;
                if self.blanks() != b']' {
                    return Ok(Met::Opened { object: false });
                }
                self.close()?;
            }
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
    fn blanks(&mut self) -> u8 {
        loop {
            match self.peek() {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return byte,
            }
        }
    }

    #[inline(always)]
    fn open(&mut self, first_key: u32) -> Result<(), Fault> {
        if self.index.open.len() >= self.bounds.max_depth {
            let reason = "arrays and objects are nested too deeply";
            return Err(fault(FaultKind::TooDeep, self.at, reason));
        }
        self.index.open.push(Open {
            node: narrow(self.index.nodes.len()),
            first_key,
        });
        // What is not known yet, the end and the node after it, is filled in by `close`.
        self.push(self.at, false);
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    fn close(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let Some(open) = self.index.open.pop() else {
            return Ok(());
        };
        let next = narrow(self.index.nodes.len());
        if let Some(node) = self.index.nodes.get_mut(open.node as usize) {
            node.end = narrow(self.at);
            node.next = next;
        }
        if open.first_key != Open::ARRAY {
            self.distinct(open.first_key as usize)?;
            self.index.keys.truncate(open.first_key as usize);
        }
        Ok(())
    }

    /// Adds the node of a value that lies between `start` and here.
    #[inline(always)]
    fn push(&mut self, start: usize, escaped: bool) {
        let next = narrow(self.index.nodes.len() + 1);
        self.index.nodes.push(Node {
            start: narrow(start),
            end: narrow(self.at),
            next: if escaped { next | Node::ESCAPED } else { next },
        });
    }

    /// Reads a key and its colon.
    #[inline(always)]
    fn key(&mut self) -> Result<(), Fault> {
        if self.blanks() != b'"' {
            return Err(self.unexpected("a key in quotes is missing"));
        }
        let start = self.at;
        if self.keys_left == 0 {
            let reason = "there are too many keys";
            return Err(fault(FaultKind::TooManyKeys, start, reason));
        }
        self.keys_left -= 1;
        let node = narrow(self.index.nodes.len());
        let escaped = self.string()?;
        let raw = self.bytes.get(start + 1..self.at - 1);
        let key = Key::new(raw.unwrap_or_default(), escaped, node);
        self.index.keys.push(key);
        if self.blanks() != b':' {
            return Err(self.unexpected("`:` is missing"));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a string and answers whether it has an escape.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, Fault> {
        let start = self.at;
        let mut at = start + 1;
        let mut escaped = false;
        loop {
            at += ordinary(self.bytes.get(at..).unwrap_or_default());
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at = escape(self.bytes, at)?;
                }
                _ => {
                    let reason = "a string has a raw control character";
                    return Err(unexpected(self.bytes, at, reason));
                }
            }
        }
        self.at = at + 1;
        self.push(start, escaped);
        Ok(escaped)
    }

    #[inline(always)]
    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let shape = number::shape(self.bytes, start)
            .map_err(|(offset, reason)| unexpected(self.bytes, offset, reason))?;
        self.at = shape.end;
        let text = self.text.get(start..shape.end).unwrap_or_default();
        if !number::in_range(text, &shape) {
            let reason = "a number is out of a double's range";
            return Err(fault(FaultKind::NumberOutOfRange, start, reason));
        }
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

    /// Refuses the object whose keys are those from `first` on if two of them are equal.
    #[inline(always)]
    fn distinct(&mut self, first: usize) -> Result<(), Fault> {
        let (text, nodes) = (self.text, &self.index.nodes);
        let keys = self.index.keys.get_mut(first..).unwrap_or_default();
        match keys::twin(text, nodes, keys) {
            None => Ok(()),
            Some(node) => {
                let offset = nodes.get(node as usize).map_or(0, |key| key.start as usize);
                let reason = "an object has the same key twice";
                Err(fault(FaultKind::DuplicateKey, offset, reason))
            }
        }
    }

    fn unexpected(&self, reason: &'static str) -> Fault {
        unexpected(self.bytes, self.at, reason)
    }
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

/// How many bytes at the front of `bytes` a string may hold as they are: neither quote, backslash nor control
/// character.
#[inline]
fn ordinary(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk() {
        let special = special(u64::from_le_bytes(*chunk));
        if special != 0 {
            return bytes.len() - rest.len() + special.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    bytes.len() - rest.len()
        + rest
            .iter()
            .take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
            .count()
}

/// Sets the top bit of the lowest byte of `word` that is a quote, a backslash or a control character. Bits
/// above that one may be wrong, because a subtraction borrows; bits below it are clear.
#[inline]
const fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    // With bit 1 flipped the quote is 0x20, right above the control characters, which stay among themselves.
    let control_or_quote = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (control_or_quote | backslash) & !word & TOPS
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
const fn fault(kind: FaultKind, offset: usize, reason: &'static str) -> Fault {
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
