//! A server's answer leads to the same however it is cut; and no name that is hidden leaves in a list.

use std::sync::{Arc, LazyLock};

use gateway_core::engine::Engine;
use gateway_core::http1::{Answering, Asked, State};
use serde_json::Value;

use crate::{cut, engine};

const POLICY: &str = r#"{"version":"1","default":"allow","hide":["secret"]}"#;

/// A size of pieces, and an answer.
pub fn holds(data: &[u8]) {
    let Some((whole, pieces)) = cut(data) else {
        return;
    };
    let (one, content) = relayed(&[whole]);
    let (other, same) = relayed(&pieces);
    // A head that is not whole may be known for odd, or not yet.
    if [&one, &other].contains(&&Ended::Not) && content.is_empty() && same.is_empty() {
        return;
    }
    assert_eq!(one, other);
    // A body that is passed on as it comes may have left in part when the rest turns out to be false.
    if one != Ended::Fault {
        assert_eq!(
            content.escape_ascii().to_string(),
            same.escape_ascii().to_string()
        );
    }
    for text in [content, same] {
        lists_nothing_hidden(&text);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Not,
    Done,
    Odd,
    Fault,
}

/// How it ended, and the content that left.
fn relayed(pieces: &[&[u8]]) -> (Ended, Vec<u8>) {
    static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| engine(POLICY));
    let asked = Asked {
        id: Some(b"1".as_slice().into()),
        legacy: true,
        ..Asked::default()
    };
    let mut answering = Answering::new(asked);
    let mut out = Vec::new();
    let mut ended = Ended::Not;
    for piece in pieces {
        ended = match answering.feed(&ENGINE, piece, &mut out).state {
            State::More => Ended::Not,
            State::Done { .. } => Ended::Done,
            State::Odd => Ended::Odd,
            State::Fault { .. } => Ended::Fault,
        };
        if ended != Ended::Not {
            break;
        }
    }
    (ended, content(&out))
}

/// The body without its framing.
fn content(out: &[u8]) -> Vec<u8> {
    let Some(end) = out.windows(4).position(|four| four == b"\r\n\r\n") else {
        assert!(out.is_empty(), "half a head left");
        return Vec::new();
    };
    let (head, body) = (&out[..end], &out[end + 4..]);
    let chunked = b"transfer-encoding: chunked";
    if !head.windows(chunked.len()).any(|part| part == chunked) {
        return body.to_vec();
    }
    let mut content = Vec::new();
    let mut rest = body;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).expect("our own chunk");
        let size = usize::from_str_radix(size, 16).expect("our own size");
        rest = &rest[end + 2..];
        let part = &rest[..size.min(rest.len())];
        content.extend_from_slice(part);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
    content
}

/// Lenient, as a client may be: any line's payload, or all of it, if it is JSON.
fn lists_nothing_hidden(content: &[u8]) {
    let lines = content.split(|byte| matches!(byte, b'\n' | b'\r'));
    let payloads = lines.map(|line| line.strip_prefix(b"data:").unwrap_or(line));
    for text in payloads.chain([content]) {
        if let Ok(message) = serde_json::from_slice::<Value>(text) {
            let tools = message["result"]["tools"].as_array().into_iter().flatten();
            for tool in tools {
                assert_ne!(tool["name"], "secret", "a hidden tool left");
            }
        }
    }
}
