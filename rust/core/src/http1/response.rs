//! The head of a server's answer, if it is one of the plain kind, and the framing of its body.
//!
//! INVARIANT: a head is accepted only if every reader finds the same body behind it and nothing in it needs a
//! second thought: HTTP/1.1, one framing, one media type that MCP has, no coding, no session but the request's.
//! Everything else is odd. A field passes to the client only because it is listed here; credentials, cookies,
//! challenges, redirects and framing are not.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use super::Asked;
use super::chunked::{Bad, Chunked};

/// The longest head that is read here, informational ones before it included, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;

/// More fields are odd.
const MAX_FIELDS: usize = 64;

const OK: u16 = 200;
const ACCEPTED: u16 = 202;

/// Media types with one of these parameters, or none, are plain: others could mean that some clients decode the
/// body in another way than it is read here.
const CHARSETS: [&[u8]; 4] = [
    b"charset=utf-8",
    b"charset=\"utf-8\"",
    b"charset=utf8",
    b"charset=us-ascii",
];

/// What was found at the front of some bytes.
#[derive(Debug)]
pub(super) enum Found {
    /// The beginning of a head.
    Partial,
    /// An informational answer of so many bytes, which means nothing to anyone here.
    Informational(usize),
    /// The head of the answer.
    Head(Head),
    /// Something else.
    Odd,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A JSON document.
    Json,
    /// A stream of events.
    Events,
    /// Nothing that anyone has to see: the message was a notification, and the server took it.
    Nothing,
}

/// A plain head.
#[derive(Debug)]
pub(super) struct Head {
    /// How many bytes it takes.
    pub(super) bytes: usize,
    pub(super) status: u16,
    pub(super) kind: Kind,
    pub(super) framing: Framing,
    /// The server's `Content-Length`.
    pub(super) length: Option<u64>,
    /// Whether the server ends the connection after this answer.
    pub(super) closes: bool,
}

/// How a body's end is known.
#[derive(Debug)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// Chunks say it.
    Chunked(Chunked),
}

impl Framing {
    /// Takes what `data` has of the body and appends it to `decoded`, if it had to be decoded. Answers with the
    /// content, how many bytes were used, and whether the body is complete; content is good also before a fault.
    pub(super) fn take<'a>(
        &mut self,
        data: &'a [u8],
        decoded: &'a mut Vec<u8>,
    ) -> (&'a [u8], Result<(usize, bool), Bad>) {
        match self {
            Self::Length(left) => {
                let there = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
                *left -= there as u64;
                let content = data.get(..there).unwrap_or_default();
                (content, Ok((there, *left == 0)))
            }
            Self::Chunked(chunked) => {
                let end = chunked.feed(data, decoded);
                (decoded, end)
            }
        }
    }
}

/// Reads the head at the front of `data`. Appends the head for the client to `lines`, each line with its CRLF, in
/// which framing and the blank line are missing; what is there of an odd one means nothing.
pub(super) fn read(data: &[u8], asked: &Asked, lines: &mut Vec<u8>) -> Found {
    // The parser would skip line ends here, which other readers take for an empty head.
    if data.first().is_some_and(|&first| first != b'H') {
        return Found::Odd;
    }
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
    let mut response = Response::new(&mut []);
    let config = ParserConfig::default();
    let bytes = match config.parse_response_with_uninit_headers(&mut response, data, &mut fields) {
        Ok(Status::Complete(bytes)) => bytes,
        Ok(Status::Partial) => return Found::Partial,
        Err(_) => return Found::Odd,
    };
    match (response.version, response.code) {
        (Some(1), Some(100 | 102..=199)) => Found::Informational(bytes),
        (Some(1), Some(status @ (OK | ACCEPTED))) if (status == OK) == asked.id.is_some() => {
            let fields = Fields::gather(response.headers, status, lines);
            let head = fields.and_then(|fields| fields.into_head(bytes, status, asked, lines));
            head.map_or(Found::Odd, Found::Head)
        }
        _ => Found::Odd,
    }
}

/// The fields that matter here, each at most once.
#[derive(Default)]
struct Fields<'a> {
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
    media_type: Option<&'a [u8]>,
    session: Option<&'a [u8]>,
    closes: bool,
}

impl<'a> Fields<'a> {
    /// `None` for what is odd.
    fn gather(fields: &[Header<'a>], status: u16, lines: &mut Vec<u8>) -> Option<Self> {
        let first: &[u8] = if status == OK {
            b"HTTP/1.1 200 \r\n"
        } else {
            b"HTTP/1.1 202 \r\n"
        };
        lines.extend_from_slice(first);
        let mut gathered = Self::default();
        for field in fields {
            gathered.add(field, lines)?;
        }
        Some(gathered)
    }

    fn add(&mut self, field: &Header<'a>, lines: &mut Vec<u8>) -> Option<()> {
        let mut lower = [0; LONGEST_NAME];
        let Some(name) = lower.get_mut(..field.name.len()) else {
            return Some(());
        };
        name.copy_from_slice(field.name.as_bytes());
        name.make_ascii_lowercase();
        let value = field.value;
        match &*name {
            b"content-length" => once(&mut self.length, value)?,
            b"transfer-encoding" => once(&mut self.coding, value)?,
            b"mcp-session-id" => once(&mut self.session, value)?,
            b"content-encoding" => return None,
            b"connection" => self.closes |= names_close(value),
            b"content-type" => {
                once(&mut self.media_type, value)?;
                line(lines, name, value);
            }
            b"allow"
            | b"cache-control"
            | b"content-language"
            | b"etag"
            | b"expires"
            | b"last-modified"
            | b"mcp-protocol-version"
            | b"retry-after"
            | b"x-accel-buffering" => line(lines, name, value),
            _ => {}
        }
        Some(())
    }

    fn into_head(
        self,
        bytes: usize,
        status: u16,
        asked: &Asked,
        lines: &mut Vec<u8>,
    ) -> Option<Head> {
        let kind = match (status, self.media_type.map(media_type)) {
            (ACCEPTED, _) => Kind::Nothing,
            (_, kind) => kind??,
        };
        if let Some(session) = self.session {
            if asked.session.as_deref() != Some(session) {
                return None;
            }
            line(lines, b"mcp-session-id", session);
        }
        lines.extend_from_slice(&asked.told);
        let length = self.length.map(read_length);
        let framing = match (length, self.coding) {
            (Some(length), None) => Framing::Length(length?),
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => {
                Framing::Chunked(Chunked::passing_over(MAX_HEAD_BYTES))
            }
            _ => return None,
        };
        Some(Head {
            bytes,
            status,
            kind,
            framing,
            length: length.flatten(),
            closes: self.closes,
        })
    }
}

/// Bytes of the longest name that matters.
const LONGEST_NAME: usize = 20;

/// `None` if it was there already.
fn once<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8]) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        lines.extend_from_slice(part);
    }
}

/// Digits only, where other readers would take a sign or a list of equal lengths.
fn read_length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits)?;
    text.parse().ok()
}

fn names_close(value: &[u8]) -> bool {
    let mut options = value.split(|&byte| byte == b',');
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

fn media_type(value: &[u8]) -> Option<Kind> {
    let mut parts = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next()?;
    let plain = match (parts.next(), parts.next()) {
        (None, _) => true,
        (Some(one), None) => CHARSETS.iter().any(|plain| one.eq_ignore_ascii_case(plain)),
        _ => false,
    };
    if plain && name.eq_ignore_ascii_case(b"application/json") {
        Some(Kind::Json)
    } else if plain && name.eq_ignore_ascii_case(b"text/event-stream") {
        Some(Kind::Events)
    } else {
        None
    }
}
