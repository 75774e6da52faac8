//! What is written: the request for the server, and the refusal for the client.
//!
//! INVARIANT: the server gets the bytes that were decided, under a head of which every field is the route's
//! own or on the list of what travels, and one Content-Length.

use super::gate::Route;
use super::request::Head;
use crate::denial::Answer;

/// Says that an answer is its connection's last.
pub(super) const CLOSES: &[u8] = b"connection: close\r\n";

/// The request for the server.
pub(super) fn request(route: &Route, head: &Head<'_>, with_session: bool, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(route.head.len() + head.length + body.len() + 40);
    out.extend_from_slice(&route.head);
    for field in &head.fields {
        if route.passes(field, with_session) {
            field.push_line(&mut out);
        }
    }
    end(&mut out, body);
    out
}

/// A whole answer of the gateway's own.
pub(super) fn answer(answer: &Answer, closes: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.body.len() + 256);
    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(&mut out, answer.status.into());
    out.extend_from_slice(b" \r\n");
    for (name, value) in &answer.headers {
        push_line(&mut out, name.as_bytes(), value.as_bytes());
    }
    if closes {
        out.extend_from_slice(CLOSES);
    }
    end(&mut out, answer.body.as_bytes());
    out
}

/// The framing, the empty line and the body.
fn end(out: &mut Vec<u8>, body: &[u8]) {
    push_length(out, body.len() as u64);
    out.extend_from_slice(body);
}

/// The framing of a body of this many bytes, and the empty line.
pub(super) fn push_length(out: &mut Vec<u8>, bytes: u64) {
    out.extend_from_slice(b"content-length: ");
    push_number(out, bytes);
    out.extend_from_slice(b"\r\n\r\n");
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A line of a head.
pub(super) fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
