//! The head of a server's answer, if it is one of the plain kind, and the framing of its body.
//!
//! INVARIANT: a head is accepted only if every reader finds the same body behind it and nothing in it needs a
//! second thought: HTTP/1.1, one framing, one media type that MCP has, no coding, no session but the request's.
//! Everything else is odd. A field passes to the client only because it is listed here; credentials, cookies,
//! challenges, redirects and framing are not.

use super::Asked;
use super::chunked::{Bad, Chunked};
use super::field::{self, Field, Name};
use super::forward::push_line;

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
/// which framing and the blank line are missing; what is there of any other means nothing.
pub(super) fn read(data: &[u8], asked: &Asked, lines: &mut Vec<u8>) -> Found {
    let front = data.get(..VERSION.len()).unwrap_or(data);
    if !VERSION.starts_with(front) {
        return Found::Odd;
    }
    let Some((status, mut rest)) = status(data) else {
        return unread(data);
    };
    let before = lines.len();
    lines.extend_from_slice(VERSION);
    lines.extend_from_slice(status);
    lines.extend_from_slice(b" \r\n");
    let mut fields = Fields::default();
    for _ in 0..=MAX_FIELDS {
        if let Some(content) = rest.strip_prefix(b"\r\n") {
            let bytes = data.len() - content.len();
            let status = match status {
                b"200" if asked.id.is_some() => OK,
                b"202" if asked.id.is_none() => ACCEPTED,
                [b'1', _, _] if status != b"101" => {
                    lines.truncate(before);
                    return Found::Informational(bytes);
                }
                _ => return Found::Odd,
            };
            let head = fields.into_head(bytes, status, asked, lines);
            return head.map_or(Found::Odd, Found::Head);
        }
        let Some((field, behind)) = Field::read(rest) else {
            return unread(rest);
        };
        fields.add(&field, lines);
        rest = behind;
    }
    Found::Odd
}

const VERSION: &[u8] = b"HTTP/1.1 ";

/// The three digits of the status, and what is behind its line; `None` if there is no such line, or not yet.
fn status(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (status, rest) = data.strip_prefix(VERSION)?.split_at_checked(3)?;
    let reason = field::text(rest);
    let separated = reason == 0 || rest.starts_with(b" ");
    let rest = rest.get(reason..)?.strip_prefix(b"\r\n")?;
    (separated && status.iter().all(u8::is_ascii_digit)).then_some((status, rest))
}

/// What a line is that cannot be read: odd, unless there is more of it to come.
fn unread(line: &[u8]) -> Found {
    if line.contains(&b'\n') {
        Found::Odd
    } else {
        Found::Partial
    }
}

/// The fields that matter here.
#[derive(Default)]
struct Fields<'a> {
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
    media_type: Option<&'a [u8]>,
    session: Option<&'a [u8]>,
    closes: bool,
    /// One that may be there once is there twice, or one that may not be there is.
    odd: bool,
}

impl<'a> Fields<'a> {
    fn add(&mut self, field: &Field<'a>, lines: &mut Vec<u8>) {
        let once = match field.name {
            Name::ContentLength => &mut self.length,
            Name::TransferEncoding => &mut self.coding,
            Name::Session => &mut self.session,
            Name::ContentType => &mut self.media_type,
            Name::ContentEncoding => return self.odd = true,
            Name::Connection => return self.closes |= names_close(field.value),
            Name::Allow
            | Name::Buffering
            | Name::CacheControl
            | Name::ContentLanguage
            | Name::ETag
            | Name::Expires
            | Name::LastModified
            | Name::RetryAfter
            | Name::Version => return field.push_line(lines),
            _ => return,
        };
        self.odd |= once.replace(field.value).is_some();
        if field.name == Name::ContentType {
            field.push_line(lines);
        }
    }

    /// `None` for what is odd.
    fn into_head(
        self,
        bytes: usize,
        status: u16,
        asked: &Asked,
        lines: &mut Vec<u8>,
    ) -> Option<Head> {
        if self.odd {
            return None;
        }
        let kind = match (status, self.media_type.map(media_type)) {
            (ACCEPTED, _) => Kind::Nothing,
            (_, kind) => kind??,
        };
        if let Some(session) = self.session {
            if asked.session.as_deref() != Some(session) {
                return None;
            }
            push_line(lines, b"mcp-session-id", session);
        }
        lines.extend_from_slice(&asked.told);
        let length = self.length.map(field::length);
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
