//! What the HTTP headers claim about the message, held against the message itself.
//!
//! INVARIANT: headers decide nothing. They are compared with the body, and a disagreement is refused, so that
//! a server that believes the headers and one that believes the body read the same request (SEP-2243;
//! MCP 2026-07-28, Streamable HTTP, "Server Validation").

use crate::message::BATCH_REVISION;
use crate::message::{Era, Message, Shape};

/// The header fields that mirror the body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims<'a> {
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a [u8]>,
    /// `Mcp-Method`.
    pub method: Option<&'a [u8]>,
    /// `Mcp-Name`, still encoded.
    pub name: Option<&'a [u8]>,
    /// `traceparent`, which claims nothing of the message and is recorded with it.
    pub trace: Option<&'a [u8]>,
    /// A field that may come once and came twice.
    pub repeated: Option<&'static str>,
}

/// A disagreement: the JSON-RPC code to answer with, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// -32020 for a header that differs or lacks, -32602 for a body that lacks what the header promises.
    pub rpc_code: i32,
    /// For the client's log.
    pub reason: String,
}

/// The last revision with sessions; a later date in the version header makes the request stateless.
pub const LAST_LEGACY: &[u8] = b"2025-11-25";

/// JSON-RPC's code for headers that say something else than the body.
pub const HEADER_MISMATCH: i32 = -32020;
const INVALID_PARAMS: i32 = -32602;
const INVALID_REQUEST: i32 = -32600;

const ONCE: &[&str] = &[
    "mcp-protocol-version",
    "mcp-session-id",
    "mcp-method",
    "mcp-name",
    "content-type",
    "content-length",
    "host",
    "authorization",
];

impl<'a> Claims<'a> {
    /// Collects the claims from header fields with lower-case names.
    pub fn read(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut claims = Self::default();
        let mut seen = 0_u8;
        for (name, value) in headers {
            if name == b"traceparent" {
                claims.trace = Some(value.trim_ascii());
                continue;
            }
            // Every name of `ONCE` is 4, 8, 10, 12, 13, 14 or 20 bytes long; most others fall out here.
            if !matches!(name.len(), 4 | 8 | 10 | 12 | 13 | 14 | 20) {
                continue;
            }
            let Some(at) = ONCE.iter().position(|once| once.as_bytes() == name) else {
                continue;
            };
            if seen & (1 << at) != 0 {
                claims.repeated = ONCE.get(at).copied();
            }
            seen |= 1 << at;
            match at {
                0 => claims.version = Some(value.trim_ascii()),
                2 => claims.method = Some(value.trim_ascii()),
                3 => claims.name = Some(value.trim_ascii()),
                _ => {}
            }
        }
        claims
    }

    /// Whether the version header names a stateless revision.
    #[must_use]
    pub fn modern(&self) -> bool {
        self.version
            .is_some_and(|version| is_revision(version) && version > LAST_LEGACY)
    }

    /// Whether they claim what only holds of a single message.
    #[must_use]
    pub fn speaks_of_one(&self) -> bool {
        self.method.is_some() || self.name.is_some() || self.modern()
    }

    /// Whether the client is known to speak 2025-11-25 or later.
    #[must_use]
    pub fn recent(&self) -> bool {
        self.version
            .is_some_and(|version| is_revision(version) && version >= LAST_LEGACY)
    }

    /// Holds the claims against the message.
    ///
    /// # Errors
    ///
    /// [`Disagreement`] where a server that reads the one would see another request than a server that
    /// reads the other.
    pub fn check(&self, message: &Message<'_>) -> Result<(), Disagreement> {
        if message.era == Era::Legacy {
            if self.modern() && message.shape == Shape::Request {
                return Err(Disagreement {
                    rpc_code: INVALID_PARAMS,
                    reason: "params._meta lacks `io.modelcontextprotocol/protocolVersion`, which the revision \
                             in the version header requires"
                        .into(),
                });
            }
            if self.modern() && message.shape == Shape::Response {
                return Err(Disagreement {
                    rpc_code: INVALID_REQUEST,
                    reason: "this revision has no responses from client to server".into(),
                });
            }
        } else {
            match (self.version, &message.version) {
                (Some(claimed), Some(stated)) if stated.to_cow().as_bytes() == claimed => {}
                (None, _) => return Err(mismatch("the `MCP-Protocol-Version` header is missing")),
                _ => {
                    return Err(mismatch(
                        "the `MCP-Protocol-Version` header differs from `_meta`",
                    ));
                }
            }
        }
        let required = message.era == Era::Modern;
        match (self.method, &message.method) {
            (Some(claimed), Some(method)) if method.to_cow().as_bytes() == claimed => {}
            (None, _) if !required => {}
            (None, _) => return Err(mismatch("the `Mcp-Method` header is missing")),
            _ => return Err(mismatch("the `Mcp-Method` header differs from `method`")),
        }
        self.check_name(message, required)
    }

    /// Why these claims cannot be about an array, if they cannot: it has no one method and no one name, and
    /// only one revision has arrays.
    #[must_use]
    pub fn contradicts_array(&self) -> Option<&'static str> {
        if self.method.is_some() || self.name.is_some() {
            return Some("an array of messages has no one method or name for a header to mirror");
        }
        self.version
            .is_some_and(|version| version != BATCH_REVISION.as_bytes())
            .then_some("the `MCP-Protocol-Version` header names a revision without arrays")
    }

    fn check_name(&self, message: &Message<'_>, required: bool) -> Result<(), Disagreement> {
        let method = message.method.as_ref();
        let named = method.is_some_and(|method| {
            ["tools/call", "prompts/get", "resources/read"]
                .iter()
                .any(|m| method.eq_str(m))
        });
        match (self.name, &message.target) {
            (Some(claimed), Some(target)) => {
                let decoded = decode(claimed).ok_or_else(|| {
                    mismatch("the `Mcp-Name` header is not valid base64 of UTF-8 in its `=?base64?…?=` form")
                })?;
                if decoded == target.to_cow().as_bytes() {
                    Ok(())
                } else {
                    Err(mismatch(
                        "the `Mcp-Name` header differs from the name in `params`",
                    ))
                }
            }
            // A name for a message that has none to compare with: a lenient router could believe it.
            (Some(_), None) => Err(mismatch(
                "the `Mcp-Name` header names what the body does not",
            )),
            (None, _) if required && named => Err(mismatch("the `Mcp-Name` header is missing")),
            (None, _) => Ok(()),
        }
    }
}

fn mismatch(reason: &str) -> Disagreement {
    Disagreement {
        rpc_code: HEADER_MISMATCH,
        reason: reason.into(),
    }
}

fn is_revision(text: &[u8]) -> bool {
    text.len() == 10
        && text.iter().enumerate().all(|(i, byte)| match i {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// Decodes a header value: `=?base64?<standard base64 of UTF-8>?=`, or itself. `None` is a broken encoding.
fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let Some(inner) = value
        .strip_prefix(b"=?base64?")
        .and_then(|rest| rest.strip_suffix(b"?="))
    else {
        return Some(value.to_vec());
    };
    let bytes = base64(inner)?;
    std::str::from_utf8(&bytes).ok()?;
    Some(bytes)
}

/// Strict RFC 4648 section 4: padding required, no foreign characters, no stray bits.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() % 4 != 0 {
        return None;
    }
    let body = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    let mut out = Vec::with_capacity(body.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for &byte in body {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(digit)) & 0xFFFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xFF).ok()?);
        }
    }
    (bits & ((1 << held) - 1) == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_strict() {
        assert_eq!(base64(b"ZGVsZXRl").as_deref(), Some(b"delete".as_slice()));
        assert_eq!(base64(b"YQ==").as_deref(), Some(b"a".as_slice()));
        let every = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let word = |three: &[u8]| {
            three
                .iter()
                .fold(0, |word, &byte| word << 8 | u32::from(byte))
        };
        let digits = |at: u32| (0..4).fold(0, |word, place| word << 6 | (4 * at + place));
        let found = base64(every).unwrap_or_default();
        assert!(found.chunks(3).map(word).eq((0..16).map(digits)));
        for bad in [
            &b"YQ"[..],
            b"YQ=",
            b"YR==",
            b"Y=Q=",
            b"YQ==\n",
            b"Y-Q_",
            b"====",
            b"Y===",
        ] {
            assert_eq!(base64(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn the_sentinel_is_exact() {
        assert_eq!(decode(b"=?base64?YQ==?=").as_deref(), Some(b"a".as_slice()));
        assert_eq!(
            decode(b"=?BASE64?YQ==?=").as_deref(),
            Some(b"=?BASE64?YQ==?=".as_slice())
        );
        assert_eq!(
            decode(b"=?base64?YQ==").as_deref(),
            Some(b"=?base64?YQ==".as_slice())
        );
        assert_eq!(decode(b"=?base64?!?="), None);
        assert_eq!(decode(b"=?base64?/w==?="), None, "not UTF-8");
    }

    #[test]
    fn a_field_that_comes_twice_is_noticed() {
        let fields: [(&[u8], &[u8]); 3] = [
            (b"mcp-name", b"a"),
            (b"accept", b"*/*"),
            (b"mcp-name", b"a"),
        ];
        assert_eq!(Claims::read(fields.into_iter()).repeated, Some("mcp-name"));
    }

    #[test]
    fn only_a_later_date_is_modern() {
        let at = |version| Claims {
            version: Some(version),
            ..Claims::default()
        };
        assert!(at(b"2026-07-28").modern());
        assert!(!at(b"2025-11-25").modern());
        assert!(!at(b"latest").modern());
    }
}
