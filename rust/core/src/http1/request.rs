//! The head of a request, read in one pass.
//!
//! INVARIANT: a [`Head`] exists only for a request of HTTP/1.1 whose end every reader sees at the same place
//! (RFC 9112): one space where one is meant, CRLF for every line end, one Host, one framing, no request to
//! switch protocols or to wait.

use smallvec::SmallVec;

use super::field::{self, Field, Name, is_token};

/// Most fields of a head.
const MAX_FIELDS: usize = 100;

/// The request is not plain: another parser has to say what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotPlain;

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; 0 without a word about it.
    Length(u64),
    /// As many as its chunks say.
    Chunked,
}

/// The head of a request, borrowing the bytes it was read from.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) fields: SmallVec<[Field<'a>; 16]>,
    /// Where the first of them begins.
    pub(super) fields_at: usize,
    /// Bytes of the head, its empty line included.
    pub(super) length: usize,
    pub(super) framing: Framing,
    /// The names that are there, as a set.
    names: u32,
    /// Where in `fields` a name that is there is first.
    places: [u8; Name::COUNT],
    /// The names that are there more than once, as a set.
    repeated: u32,
}

impl<'a> Head<'a> {
    /// Reads the head that `input` begins with.
    ///
    /// # Errors
    ///
    /// [`NotPlain`], also if the head is incomplete: [`Search`] tells.
    pub(super) fn read(input: &'a [u8]) -> Result<Self, NotPlain> {
        let (method, rest) = word(input, is_token)?;
        let (target, rest) = word(rest, |byte| matches!(byte, 0x21..=0x7E))?;
        let mut rest = rest.strip_prefix(b"HTTP/1.1\r\n").ok_or(NotPlain)?;
        // The forms of a target that are for proxies, and methods whose answers are framed in their own way or
        // that some readers take for others in capitals.
        let folds = method.iter().any(u8::is_ascii_lowercase);
        if target.first() != Some(&b'/') || matches!(method, b"CONNECT" | b"HEAD") || folds {
            return Err(NotPlain);
        }
        let mut head = Self {
            method,
            target,
            fields: SmallVec::new(),
            fields_at: input.len() - rest.len(),
            length: 0,
            framing: Framing::Length(0),
            names: 0,
            places: [0; Name::COUNT],
            repeated: 0,
        };
        let behind = loop {
            if let Some(behind) = rest.strip_prefix(b"\r\n") {
                break behind;
            }
            let (field, behind) = Field::read(rest).ok_or(NotPlain)?;
            head.take(field)?;
            rest = behind;
        };
        head.length = input.len() - behind.len();
        head.frame()?;
        Ok(head)
    }

    fn take(&mut self, field: Field<'a>) -> Result<(), NotPlain> {
        let at = self.fields.len();
        if at == MAX_FIELDS {
            return Err(NotPlain);
        }
        let bit = field.name.bit();
        let same = |other: &Field<'_>| other.spelt.eq_ignore_ascii_case(field.spelt);
        if self.names & bit == 0 {
            if let (Some(place), Ok(at)) = (self.places.get_mut(field.name as usize), at.try_into())
            {
                *place = at;
            }
        } else if field.name != Name::Mcp || self.fields.iter().any(same) {
            self.repeated |= bit;
        }
        self.names |= bit;
        self.fields.push(field);
        Ok(())
    }

    /// Says how long the body is, where there are no two ways to say it.
    fn frame(&mut self) -> Result<(), NotPlain> {
        const SWITCHES: u32 = Name::Expect.bit() | Name::Upgrade.bit();
        const SINGLE: u32 = Name::Host.bit()
            | Name::Connection.bit()
            | Name::ContentLength.bit()
            | Name::TransferEncoding.bit();
        let is_option = |value: &[u8]| {
            value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
        };
        let plain = self.names & SWITCHES == 0
            && self.repeated & SINGLE == 0
            && self.has(Name::Host)
            && self.value(Name::Connection).is_none_or(is_option);
        if !plain {
            return Err(NotPlain);
        }
        self.framing = match (
            self.value(Name::ContentLength),
            self.value(Name::TransferEncoding),
        ) {
            (None, None) => Framing::Length(0),
            (Some(digits), None) => Framing::Length(field::length(digits).ok_or(NotPlain)?),
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
            _ => return Err(NotPlain),
        };
        Ok(())
    }

    /// Whether there is a field of this name.
    pub(super) fn has(&self, name: Name) -> bool {
        self.names & name.bit() != 0
    }

    /// Whether there is a field of one of these names.
    pub(super) fn has_any(&self, names: u32) -> bool {
        self.names & names != 0
    }

    /// Whether one of these names is there more than once.
    pub(super) fn repeats_any(&self, names: u32) -> bool {
        self.repeated & names != 0
    }

    /// The value of the first field of this name.
    pub(super) fn value(&self, name: Name) -> Option<&'a [u8]> {
        if !self.has(name) {
            return None;
        }
        let place = self.places.get(name as usize)?;
        let field = self.fields.get(usize::from(*place))?;
        Some(field.value)
    }
}

/// A word of the request line, and what is behind the one space after it.
fn word(input: &[u8], is_part: impl Fn(u8) -> bool) -> Result<(&[u8], &[u8]), NotPlain> {
    let length = input
        .iter()
        .position(|byte| !is_part(*byte))
        .ok_or(NotPlain)?;
    let (word, rest) = input.split_at_checked(length).ok_or(NotPlain)?;
    let rest = rest.strip_prefix(b" ").ok_or(NotPlain)?;
    if word.is_empty() {
        Err(NotPlain)
    } else {
        Ok((word, rest))
    }
}

/// How far the search for the end of a head went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Search {
    seen: usize,
}

impl Search {
    /// Whether nothing was searched yet.
    pub(super) fn is_new(self) -> bool {
        self.seen == 0
    }

    /// Looks for the empty line that ends the head `input` begins with, and goes on where it stopped when
    /// there was less of it.
    ///
    /// # Errors
    ///
    /// [`NotPlain`] as soon as this cannot become a head: it begins with what no method has, a line ends in
    /// LF alone, or there are more than `most` bytes and still no end.
    pub(super) fn finds_end(&mut self, input: &[u8], most: usize) -> Result<bool, NotPlain> {
        if input.first().is_some_and(|byte| !is_token(*byte)) {
            return Err(NotPlain);
        }
        while let Some(at) = find(input, b'\n', self.seen) {
            let line = input.get(..at).unwrap_or_default();
            if !line.ends_with(b"\r") {
                return Err(NotPlain);
            }
            self.seen = at + 1;
            if line.ends_with(b"\r\n\r") {
                return Ok(true);
            }
        }
        self.seen = input.len();
        if input.len() > most {
            return Err(NotPlain);
        }
        Ok(false)
    }
}

fn find(bytes: &[u8], byte: u8, from: usize) -> Option<usize> {
    memchr::memchr(byte, bytes.get(from..)?).map(|at| from + at)
}
