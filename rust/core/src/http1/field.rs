//! Header fields: the names that mean something here, and the lines that carry them.
//!
//! INVARIANT: a [`Field`] is one line that has one reading: a token, a colon right behind it, and a value of
//! printable ASCII and tabs without the blanks around it (RFC 9112 section 5; no folding, no obs-text).

/// Bytes of a token (RFC 9110 section 5.6.2) in lower case; 0 for every other byte.
const TOKEN: [u8; 256] = token();

const fn token() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte: u8 = 0x21;
    while byte < 0x7F {
        let delimiter = matches!(
            byte,
            b'"' | b'('
                | b')'
                | b','
                | b'/'
                | b':'
                | b';'
                | b'<'
                | b'='
                | b'>'
                | b'?'
                | b'@'
                | b'['
                | b'\\'
                | b']'
                | b'{'
                | b'}'
        );
        if !delimiter {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
}

/// The lower-case form of a byte of a token.
pub(super) fn token_byte(byte: u8) -> Option<u8> {
    TOKEN
        .get(usize::from(byte))
        .copied()
        .filter(|lower| *lower != 0)
}

macro_rules! names {
    ($($name:ident = $text:literal,)*) => {
        /// A name that means something here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Name {
            $($name,)*
            /// Another name of the protocol's, `mcp-…`.
            Mcp,
            /// Any other.
            Other,
        }

        impl Name {
            /// The name's lower-case spelling, where it has one.
            pub(super) const fn text(self) -> Option<&'static [u8]> {
                match self {
                    $(Self::$name => Some($text),)*
                    Self::Mcp | Self::Other => None,
                }
            }

            fn of(lower: &[u8]) -> Self {
                match lower {
                    $($text => Self::$name,)*
                    _ if lower.starts_with(b"mcp-") => Self::Mcp,
                    _ => Self::Other,
                }
            }
        }
    };
}

names! {
    Accept = b"accept",
    Authorization = b"authorization",
    Baggage = b"baggage",
    Connection = b"connection",
    ContentEncoding = b"content-encoding",
    ContentLength = b"content-length",
    ContentType = b"content-type",
    Expect = b"expect",
    Host = b"host",
    LastEventId = b"last-event-id",
    Method = b"mcp-method",
    Subject = b"mcp-name",
    Origin = b"origin",
    Session = b"mcp-session-id",
    TraceParent = b"traceparent",
    TraceState = b"tracestate",
    TransferEncoding = b"transfer-encoding",
    Upgrade = b"upgrade",
    UserAgent = b"user-agent",
    Version = b"mcp-protocol-version",
}

/// Bytes of the longest name above.
const LONGEST: usize = 20;

impl Name {
    /// This name alone, as a set.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// One header field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) name: Name,
    /// The name as it was spelt.
    pub(super) spelt: &'a [u8],
    /// Without the blanks around it.
    pub(super) value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Reads the line that `input` begins with, and returns what is behind its CRLF; `None` if there is no
    /// such line, or not yet.
    pub(super) fn read(input: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut lower = [0; LONGEST];
        let mut length = 0;
        for (byte, place) in input.iter().zip(&mut lower) {
            let folded = TOKEN.get(usize::from(*byte)).copied().unwrap_or_default();
            if folded == 0 {
                break;
            }
            *place = folded;
            length += 1;
        }
        if length == LONGEST {
            let rest = input.get(LONGEST..).unwrap_or_default();
            length += rest
                .iter()
                .take_while(|byte| token_byte(**byte).is_some())
                .count();
        }
        let (spelt, rest) = input.split_at_checked(length)?;
        if spelt.is_empty() {
            return None;
        }
        let mut rest = rest.strip_prefix(b":")?;
        while let [b' ' | b'\t', behind @ ..] = rest {
            rest = behind;
        }
        let (mut value, rest) = rest.split_at_checked(text(rest))?;
        let rest = rest.strip_prefix(b"\r\n")?;
        while let [before @ .., b' ' | b'\t'] = value {
            value = before;
        }
        let name = match lower.get(..length) {
            Some(lower) => Name::of(lower),
            None if lower.starts_with(b"mcp-") => Name::Mcp,
            None => Name::Other,
        };
        Some((Self { name, spelt, value }, rest))
    }
}

/// How many bytes at the front are printable ASCII or tabs.
fn text(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += printable(bytes.get(at..).unwrap_or_default());
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// How many bytes at the front are printable ASCII.
#[inline]
fn printable(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk() {
        let other = unprintable(u64::from_le_bytes(*chunk));
        if other != 0 {
            return bytes.len() - rest.len() + other.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    bytes.len() - rest.len()
        + rest
            .iter()
            .take_while(|byte| matches!(byte, 0x20..=0x7E))
            .count()
}

/// Sets the top bit of the lowest byte of `word` that is not printable ASCII. Bits above that one may be wrong,
/// because a subtraction borrows; bits below it are clear.
#[inline]
const fn unprintable(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    // Below 0x20 the first borrows; of what is not ASCII, 0xFF shows in the first and all else in the second.
    let control = word.wrapping_sub(ONES * 0x20);
    let delete = (word ^ (ONES * 0x7F)).wrapping_sub(ONES);
    (control | delete) & TOPS
}
