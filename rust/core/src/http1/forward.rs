//! What is written: lines of a head, framing, and the gateway's own answers.

use crate::denial::Answer;

/// Says that an answer is its connection's last.
pub(super) const CLOSES: &[u8] = b"connection: close\r\n";

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
pub(super) fn end(out: &mut Vec<u8>, body: &[u8]) {
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
