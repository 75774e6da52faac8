//! What is written: the request for the server, and the refusal for the client.
//!
//! INVARIANT: the server gets the bytes that were decided, under a head of which every field is the route's
//! own or on the list of what travels, and one Content-Length.

use super::gate::Route;
use super::request::Head;
use crate::decision::Decision;
use crate::denial::{self, Answer};

/// Says that an answer is its connection's last.
pub(super) const CLOSES: &[u8] = b"connection: close\r\n";

/// The request for the server.
pub(super) fn request(route: &Route, head: &Head<'_>, with_session: bool, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(route.head.len() + head.length + body.len() + 40);
    out.extend_from_slice(&route.head);
    for field in &head.fields {
        if !route.passes(field, with_session) {
            continue;
        }
        match field.name.text() {
            Some(text) => out.extend_from_slice(text),
            None => out.extend(field.lower()),
        }
        out.extend_from_slice(b": ");
        out.extend_from_slice(field.value);
        out.extend_from_slice(b"\r\n");
    }
    end(&mut out, body);
    out
}

/// A whole answer of the gateway's own.
pub(super) fn answer(answer: &Answer, closes: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.body.len() + 256);
    out.extend_from_slice(b"HTTP/1.1 ");
    number(&mut out, answer.status.into());
    out.extend_from_slice(b" \r\n");
    lines(&mut out, &answer.headers);
    if closes {
        out.extend_from_slice(CLOSES);
    }
    end(&mut out, answer.body.as_bytes());
    out
}

/// The limits that applied, as lines of a head.
pub(super) fn limits(decision: &Decision) -> Vec<u8> {
    let mut out = Vec::new();
    lines(&mut out, &denial::limit_headers(decision));
    out
}

fn lines(out: &mut Vec<u8>, fields: &[(&'static str, String)]) {
    for (name, value) in fields {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// The framing, the empty line and the body.
fn end(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(b"content-length: ");
    number(out, body.len());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

fn number(out: &mut Vec<u8>, number: usize) {
    if number >= 10 {
        self::number(out, number / 10);
    }
    out.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
}
