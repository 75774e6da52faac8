//! Header fields: the names that mean something here, and the lines that carry them.
//!
//! INVARIANT: a [`Field`] is one line that has one reading: a token, a colon right behind it, and a value of
//! printable ASCII and tabs without the blanks around it (RFC 9112 section 5; no folding, no obs-text).

use super::forward::push_line;

/// Which bytes are a token's (RFC 9110 section 5.6.2).
const TOKEN: [bool; 256] = token();

const fn token() -> [bool; 256] {
    let mut table = [false; 256];
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
        table[byte as usize] = !delimiter;
        byte += 1;
    }
    table
}

/// Whether a token may have this byte.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or_default()
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
            /// Those that have one spelling.
            pub(super) const LISTED: &[(&[u8], Self)] = &[$(($text, Self::$name),)*];

            /// How many there are.
            pub(super) const COUNT: usize = Self::Other as usize + 1;

            /// The name's lower-case spelling, where it has one.
            pub(super) const fn text(self) -> Option<&'static [u8]> {
                match self {
                    $(Self::$name => Some($text),)*
                    Self::Mcp | Self::Other => None,
                }
            }
        }
    };
}

names! {
    Accept = b"accept",
    Allow = b"allow",
    Authorization = b"authorization",
    Baggage = b"baggage",
    Buffering = b"x-accel-buffering",
    CacheControl = b"cache-control",
    Connection = b"connection",
    ContentEncoding = b"content-encoding",
    ContentLanguage = b"content-language",
    ContentLength = b"content-length",
    ContentType = b"content-type",
    ETag = b"etag",
    Expect = b"expect",
    Expires = b"expires",
    Host = b"host",
    LastEventId = b"last-event-id",
    LastModified = b"last-modified",
    Method = b"mcp-method",
    Origin = b"origin",
    RetryAfter = b"retry-after",
    Session = b"mcp-session-id",
    Subject = b"mcp-name",
    TraceParent = b"traceparent",
    TraceState = b"tracestate",
    TransferEncoding = b"transfer-encoding",
    Upgrade = b"upgrade",
    UserAgent = b"user-agent",
    Version = b"mcp-protocol-version",
}

/// A short name in words, so that it is compared at once: its bytes, zeros, and its length.
type Packed = [[u8; 8]; 3];

/// A packed name is shorter than this.
const PACKED: usize = size_of::<Packed>();

/// No name: none is so long.
const NOTHING: Packed = [[0xFF; 8]; 3];

/// Every listed name at its [`slot`].
const SLOTS: [(Packed, Name); 64] = slots();

const fn slots() -> [(Packed, Name); 64] {
    let mut slots = [(NOTHING, Name::Other); 64];
    let mut listed = Name::LISTED;
    while let [(text, name), others @ ..] = listed {
        assert!(text.len() < PACKED, "a name is too long");
        let mut packed = [[0; 8]; 3];
        let mut at = 0;
        while at < text.len() {
            packed[at / 8][at % 8] = text[at];
            at += 1;
        }
        packed[2][7] = text.len().to_le_bytes()[0];
        let place = &mut slots[slot(packed)];
        assert!(
            place.0[2][7] == NOTHING[2][7],
            "two names have one slot: try other factors"
        );
        *place = (packed, *name);
        listed = others;
    }
    slots
}

/// Where a name is looked for.
const fn slot([a, b, c]: Packed) -> usize {
    let mixed = u64::from_le_bytes(a) ^ u64::from_le_bytes(b) ^ u64::from_le_bytes(c);
    (mixed.wrapping_mul(0x0067_dba8_5898_9009) >> 58) as usize
}

impl Name {
    /// This name alone, as a set.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Whether it is in this set.
    pub(super) const fn is_any(self, names: u32) -> bool {
        names & self.bit() != 0
    }

    /// The name that is spelt so; `None` if it is no token.
    fn of(spelt: &[u8]) -> Option<Self> {
        let mut packed = Packed::default();
        let bytes = packed.as_flattened_mut();
        let Some((place, [.., length])) = bytes.split_at_mut_checked(spelt.len()) else {
            return Self::unlisted(spelt);
        };
        place.copy_from_slice(spelt);
        *length = spelt.len().to_le_bytes()[0];
        bytes.make_ascii_lowercase();
        match SLOTS.get(slot(packed)) {
            Some((listed, name)) if *listed == packed => Some(*name),
            _ => Self::unlisted(spelt),
        }
    }

    /// What a name is that is not listed above.
    fn unlisted(spelt: &[u8]) -> Option<Self> {
        let token = !spelt.is_empty() && spelt.iter().all(|byte| is_token(*byte));
        let mcp = |front: &[u8]| front.eq_ignore_ascii_case(b"mcp-");
        match (token, spelt.get(..4).is_some_and(mcp)) {
            (false, _) => None,
            (true, true) => Some(Self::Mcp),
            (true, false) => Some(Self::Other),
        }
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
    /// Of the line, its CRLF included.
    pub(super) bytes: usize,
}

impl<'a> Field<'a> {
    /// Reads the line that `input` begins with, and returns what is behind its CRLF; `None` if there is no
    /// such line, or not yet.
    pub(super) fn read(input: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (spelt, rest) = input.split_at_checked(memchr::memchr(b':', input)?)?;
        let name = Name::of(spelt)?;
        let mut rest = rest.strip_prefix(b":")?;
        while let [b' ' | b'\t', behind @ ..] = rest {
            rest = behind;
        }
        let (mut value, rest) = rest.split_at_checked(text(rest))?;
        let rest = rest.strip_prefix(b"\r\n")?;
        while let [before @ .., b' ' | b'\t'] = value {
            value = before;
        }
        let bytes = input.len() - rest.len();
        let field = Self {
            name,
            spelt,
            value,
            bytes,
        };
        Some((field, rest))
    }

    /// Appends the line, with its name in lower case.
    pub(super) fn push_line(&self, out: &mut Vec<u8>) {
        match self.name.text() {
            Some(name) => push_line(out, name, self.value),
            None => push_line(out, &self.spelt.to_ascii_lowercase(), self.value),
        }
    }
}

/// How many bytes at the front are printable ASCII or tabs.
pub(super) fn text(bytes: &[u8]) -> usize {
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

/// A Content-Length; one with zeros in front has been read as octal by some.
pub(super) fn length(digits: &[u8]) -> Option<u64> {
    if !matches!(digits, [b'0'] | [b'1'..=b'9', ..]) || digits.len() > LENGTH_DIGITS {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Digits of the longest Content-Length that is read.
const LENGTH_DIGITS: usize = 18;
