//! Strings of a scanned document: compared and decoded without copying.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str;

/// The content of a JSON string: a key or a value.
///
/// Equality and order are those of the decoded text, by code point.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a str,
    start: u32,
    plain: bool,
}

impl<'a> Text<'a> {
    /// `start` is the offset of the opening quote; `raw` is what lies between the quotes.
    pub(super) const fn new(raw: &'a str, start: u32, plain: bool) -> Self {
        Self { raw, start, plain }
    }

    /// What stands between the quotes, escapes as they were written.
    #[must_use]
    pub const fn raw(self) -> &'a str {
        self.raw
    }

    /// Offset of the opening quote in the source.
    #[must_use]
    pub const fn start(self) -> usize {
        self.start as usize
    }

    /// Offset past the closing quote in the source.
    #[must_use]
    pub const fn end(self) -> usize {
        self.start() + self.raw.len() + 2
    }

    /// There is no escape: what was written is what is meant.
    #[must_use]
    pub const fn is_plain(self) -> bool {
        self.plain
    }

    /// The decoded text where that takes no decoding.
    #[must_use]
    pub fn plain(self) -> Option<&'a str> {
        self.plain.then_some(self.raw)
    }

    /// The decoded text; allocates only where there is an escape.
    #[inline]
    #[must_use]
    pub fn to_cow(self) -> Cow<'a, str> {
        match self.plain() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(self.decoded()),
        }
    }

    #[cold]
    fn decoded(self) -> String {
        self.chars().collect()
    }

    /// The decoded characters.
    #[must_use]
    pub fn chars(self) -> Chars<'a> {
        Chars {
            rest: self.raw.chars(),
        }
    }

    /// The decoded text is `other`. Does not allocate.
    #[inline]
    #[must_use]
    pub fn eq_str(self, other: &str) -> bool {
        if self.plain {
            self.raw == other
        } else {
            self.chars().eq(other.chars())
        }
    }

    /// Order of the decoded text against `other`, by code point. Does not allocate.
    #[must_use]
    pub fn cmp_str(self, other: &str) -> Ordering {
        if self.plain {
            // UTF-8 sorts as its code points do.
            self.raw.cmp(other)
        } else {
            self.chars().cmp(other.chars())
        }
    }

    /// The decoded text has a U+0000 in it, which can only have been written as an escape.
    #[must_use]
    pub fn has_nul(self) -> bool {
        !self.plain && self.chars().any(|c| c == '\0')
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.plain && other.plain {
            self.raw == other.raw
        } else {
            self.chars().eq(other.chars())
        }
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.plain && other.plain {
            self.raw.cmp(other.raw)
        } else {
            self.chars().cmp(other.chars())
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.raw)
    }
}

/// The decoded characters of a [`Text`].
#[derive(Clone, Debug)]
pub struct Chars<'a> {
    rest: str::Chars<'a>,
}

impl Chars<'_> {
    /// The scan has checked that four hexadecimal digits stand here.
    fn unit(&mut self) -> u32 {
        self.rest.by_ref().take(4).fold(0, |unit, digit| {
            unit << 4 | digit.to_digit(16).unwrap_or_default()
        })
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.rest.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut code = self.unit();
                if let 0xd800..=0xdbff = code {
                    // The scan has checked that the other half follows: skip its `\u`.
                    self.rest.by_ref().take(2).for_each(drop);
                    code = 0x10000 + ((code & 0x3ff) << 10) + (self.unit() & 0x3ff);
                }
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            itself => itself,
        })
    }
}

impl Iterator for Chars<'_> {
    type Item = char;

    #[inline]
    fn next(&mut self) -> Option<char> {
        match self.rest.next()? {
            '\\' => self.escape(),
            c => Some(c),
        }
    }
}
