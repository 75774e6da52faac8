//! Event streams cut into events, whatever the line ends and wherever the pieces break (WHATWG HTML,
//! "Server-sent events", 9.2.5 and 9.2.6).
//!
//! INVARIANT: the bytes of all events and of what is pending, joined, are the bytes that came in, and each byte
//! is looked at once. An event longer than the bound is not held: only its end is found.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// The longest event that is held in memory to be read.
pub const MAX_EVENT_BYTES: usize = 4 << 20;

/// Memory that a cutter keeps from one event to the next.
const KEPT_BYTES: usize = 64 << 10;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// One event, its bytes untouched, up to and with the blank line that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    raw: &'a [u8],
}

impl<'a> Event<'a> {
    /// An event of these bytes.
    #[must_use]
    pub const fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// Its bytes.
    #[must_use]
    pub const fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// The payload, its lines joined with LF; `None` if the event has no data field. Allocates only where there
    /// are several lines.
    #[must_use]
    pub fn data(self) -> Option<Cow<'a, [u8]>> {
        let mut values = self.lines().filter_map(Line::data);
        let mut data = Cow::Borrowed(values.next()?);
        for value in values {
            let joined = data.to_mut();
            joined.push(b'\n');
            joined.extend_from_slice(value);
        }
        Some(data)
    }

    /// Whether some reader could find a field in the middle of a line that is no payload: Unicode knows line ends
    /// that event streams do not have, and readers exist that take them for one.
    #[must_use]
    pub fn is_ambiguous(self) -> bool {
        let mut others = self.lines().filter(|line| line.data().is_none());
        others.any(|line| holds_other_line_end(line.content))
    }

    /// The lines that are neither a field nor a comment: a client that keeps to the standard ignores them.
    pub fn strays(self) -> impl Iterator<Item = &'a [u8]> {
        let others = self.lines().filter(|line| !line.is_known());
        others.map(|line| line.content)
    }

    /// The bytes of the event with another payload; every other line keeps its bytes and its place.
    #[must_use]
    pub fn with_data(self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.raw.len() + data.len());
        let mut placed = false;
        for line in self.lines() {
            if line.data().is_none() {
                out.extend_from_slice(line.content);
                out.extend_from_slice(line.end);
            } else if !placed {
                placed = true;
                if line.content.starts_with(BOM) {
                    out.extend_from_slice(BOM);
                }
                let end = if line.end.is_empty() { b"\n" } else { line.end };
                for part in data.split(|&byte| byte == b'\n') {
                    out.extend_from_slice(b"data: ");
                    out.extend_from_slice(part);
                    out.extend_from_slice(end);
                }
            }
        }
        out
    }

    fn lines(self) -> Lines<'a> {
        Lines { rest: self.raw }
    }
}

/// A line and the bytes that end it, which only the last one may lack.
#[derive(Clone, Copy)]
struct Line<'a> {
    content: &'a [u8],
    end: &'a [u8],
}

impl<'a> Line<'a> {
    /// The value, if it is a data field.
    fn data(self) -> Option<&'a [u8]> {
        let line = self.content.strip_prefix(BOM).unwrap_or(self.content);
        match line.strip_prefix(b"data")?.split_first() {
            None => Some(&[]),
            Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
            Some(_) => None,
        }
    }

    fn is_known(&self) -> bool {
        let line = self.content.strip_prefix(BOM).unwrap_or(self.content);
        let colon = memchr(b':', line).unwrap_or(line.len());
        let name = line.get(..colon).unwrap_or_default();
        matches!(name, b"" | b"data" | b"event" | b"id" | b"retry")
    }
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let length = memchr2(b'\n', b'\r', self.rest).unwrap_or(self.rest.len());
        let (content, behind) = self.rest.split_at(length);
        let (end, rest) = behind.split_at(line_end(behind));
        self.rest = rest;
        Some(Line { content, end })
    }
}

/// Length of the line end at the front of `bytes`: 0 where there is none.
fn line_end(bytes: &[u8]) -> usize {
    match bytes {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

fn holds_other_line_end(line: &[u8]) -> bool {
    line.iter().enumerate().any(|(at, byte)| match byte {
        0x0b | 0x0c | 0x1c..=0x1e => true,
        0xc2 => line.get(at + 1) == Some(&0x85),
        0xe2 => matches!(line.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])),
        _ => false,
    })
}

/// What a piece of a stream completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// An event.
    Event(Event<'a>),
    /// An event that is longer than the bound, of which nothing is kept.
    TooLong,
}

/// Cuts a stream that comes in arbitrary pieces into events.
///
/// An event is handed out with the first byte that proves it complete. If that is a CR, an LF that belongs to it
/// may still follow, and if it comes in another piece it is handed out as an event of its own that says nothing.
#[derive(Clone, Debug)]
pub struct Cutter {
    limit: usize,
    /// The beginning of the pending event unless that is too long, or, before the next call, the event that was
    /// handed out last.
    held: Vec<u8>,
    /// Bytes of the pending event.
    pending: usize,
    /// The last byte of the pending event ends a line, so that another line end makes a blank one.
    line_begins: bool,
    /// The last piece ended in a CR, of which an LF may be the other half.
    after_cr: bool,
}

impl Default for Cutter {
    fn default() -> Self {
        Self::new(MAX_EVENT_BYTES)
    }
}

impl Cutter {
    /// A cutter that holds at most `limit` bytes of an event.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            held: Vec::new(),
            pending: 0,
            line_begins: false,
            after_cr: false,
        }
    }

    /// The next event that `rest`, which is what is left of a piece, completes; takes from `rest` what belongs to
    /// it. `None` once all of the piece has been taken.
    pub fn next<'a, 'p: 'a>(&'a mut self, rest: &mut &'p [u8]) -> Option<Cut<'a>> {
        if self.pending == 0 {
            self.held.clear();
            self.held.shrink_to(KEPT_BYTES);
        }
        if rest.is_empty() {
            return None;
        }
        let other_half = std::mem::take(&mut self.after_cr) && rest.starts_with(b"\n");
        let end = if other_half && self.is_between_events() {
            Some(1)
        } else {
            self.find_end(rest, usize::from(other_half))
        };
        let (piece, behind) = rest.split_at(end.unwrap_or(rest.len()));
        *rest = behind;
        self.after_cr = behind.is_empty() && piece.ends_with(b"\r");
        self.pending = self.pending.saturating_add(piece.len());
        let too_long = self.is_too_long();
        if too_long {
            self.held = Vec::new();
        } else if end.is_none() || !self.held.is_empty() {
            self.held.extend_from_slice(piece);
        }
        end?;
        self.pending = 0;
        Some(if too_long {
            Cut::TooLong
        } else if self.held.is_empty() {
            Cut::Event(Event::new(piece))
        } else {
            Cut::Event(Event::new(&self.held))
        })
    }

    /// How many bytes came of an event whose end has not come yet.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.pending
    }

    /// Whether the pending event is longer than the bound already.
    #[must_use]
    pub const fn is_too_long(&self) -> bool {
        self.pending > self.limit
    }

    /// Whether no event is pending, so that another one may be put into the stream here.
    #[must_use]
    pub const fn is_between_events(&self) -> bool {
        self.pending == 0
    }

    /// Looks from `at` for the end of the pending event, which is past the second of two line ends in a row.
    fn find_end(&mut self, piece: &[u8], mut at: usize) -> Option<usize> {
        loop {
            let rest = piece.get(at..).unwrap_or_default();
            let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            if length > 0 {
                self.line_begins = false;
            }
            let end = line_end(rest.get(length..).unwrap_or_default());
            if end == 0 {
                return None;
            }
            at += length + end;
            if std::mem::replace(&mut self.line_begins, true) {
                self.line_begins = false;
                return Some(at);
            }
        }
    }
}
