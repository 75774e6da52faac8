//! Answers, proper and spoilt, in whatever pieces they come.

use proptest::prelude::*;

use super::answer::{ASKS, HIDING, LIST, OPEN, RESULT, engine, relay, request};
use crate::http1::Asked;
use crate::http1::answer::State;
use crate::http1::chunked::Chunked;

/// What a client has: the head, the content, and whether it is all of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    head: Vec<u8>,
    content: Vec<u8>,
    whole: bool,
}

fn got(out: &[u8]) -> Got {
    let Some(end) = out.windows(4).position(|four| four == b"\r\n\r\n") else {
        assert!(out.is_empty(), "half a head left: {}", out.escape_ascii());
        return Got::default();
    };
    let (head, body) = out.split_at(end + 4);
    let head = head.to_vec();
    let text = String::from_utf8_lossy(&head);
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    if let Some(length) = length {
        assert!(!text.contains("transfer-encoding"));
        let length: usize = length.parse().unwrap();
        assert!(body.len() <= length, "something behind the end");
        let (content, whole) = (body.to_vec(), body.len() == length);
        return Got {
            head,
            content,
            whole,
        };
    }
    assert!(text.contains("\r\ntransfer-encoding: chunked\r\n"));
    let mut content = Vec::new();
    let (used, whole) = Chunked::default().feed(body, &mut content).unwrap();
    assert_eq!(used, body.len(), "something behind the end");
    Got {
        head,
        content,
        whole,
    }
}

fn documents() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![RESULT, LIST, ASKS, "[]", "{", "", r#"{"error":1}"#]).prop_map(str::to_owned),
        1 => (65_400..65_700_usize).prop_map(|size| RESULT.replace("[]", &format!("\"{}\"", "x".repeat(size - 50)))),
    ]
}

fn events() -> impl Strategy<Value = String> {
    let names = vec!["data: ", "data:", "\u{feff}data: "];
    let halves = LIST.replace("[{", "[\ndata:{");
    let data = vec![
        RESULT.into(),
        LIST.into(),
        ASKS.into(),
        String::new(),
        halves,
        "{\"tools\":".into(),
    ];
    let payload = (prop::sample::select(names), prop::sample::select(data));
    let other = prop::sample::select(vec!["id: 1", ":", "x\u{2028}", "data", "database: x", ""]);
    let line = prop_oneof![
        payload.prop_map(|(name, data)| format!("{name}{data}")),
        other.prop_map(str::to_owned),
    ];
    let end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    let line = (line, end, 1..3_usize).prop_map(|(line, end, ends)| line + &end.repeat(ends));
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
}

/// The end of a head and a body: with its length, or in chunks of these sizes in turn.
fn framed(body: &[u8], sizes: Option<&[usize]>) -> Vec<u8> {
    let Some(sizes) = sizes else {
        let length = format!("content-length: {}\r\n\r\n", body.len());
        return [length.as_bytes(), body].concat();
    };
    let mut framed = b"transfer-encoding: chunked\r\n\r\n".to_vec();
    let mut rest = body;
    for size in sizes.iter().cycle() {
        let (chunk, behind) = rest.split_at(rest.len().min(*size));
        framed.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
        rest = behind;
        if chunk.is_empty() {
            break;
        }
    }
    framed
}

/// Bytes as a server could send them; now and then cut off, or with something behind, and perhaps spoilt.
fn answers(may_be_spoilt: bool) -> impl Strategy<Value = Vec<u8>> {
    let early = vec!["", "", "HTTP/1.1 103 Early\r\nlink: x\r\n\r\n"];
    let status = vec!["200 OK", "200 OK", "200", "202 Accepted", "500 Oh"];
    let fields = vec![
        "",
        "",
        "connection: close\r\n",
        "etag: x\r\n",
        "date: x\n",
        "bad name: x\r\n",
    ];
    let body = prop_oneof![
        documents().prop_map(|body| ("application/json", body)),
        events().prop_map(|body| ("text/event-stream", body)),
    ];
    let head = [early, status, fields].map(prop::sample::select);
    let sizes = prop::option::of(prop::collection::vec(1..60_usize, 1..4));
    let spoil = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    let cut = prop::option::weighted(0.3, any::<prop::sample::Index>());
    let behind = prop::option::weighted(0.1, Just(b"HTTP/1.1 200"));
    (head, body, sizes, spoil, cut, behind).prop_map(
        move |([early, status, field], (kind, body), sizes, spoil, cut, behind)| {
            let head = format!("{early}HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{field}");
            let framed = framed(body.as_bytes(), sizes.as_deref());
            let mut bytes = [head.as_bytes(), &framed].concat();
            if let Some((at, byte)) = spoil.filter(|_| may_be_spoilt) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(at) = cut {
                bytes.truncate(at.index(bytes.len()));
            }
            bytes.extend(behind.into_iter().flatten());
            bytes
        },
    )
}

fn askeds() -> impl Strategy<Value = Asked> {
    let id = prop::option::weighted(0.8, Just(b"1".as_slice().into()));
    (id, any::<bool>()).prop_map(|(id, legacy)| Asked {
        id,
        legacy,
        ..request()
    })
}

/// Pieces of these sizes in turn.
fn pieces<'b>(bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(rest.len().min(*size));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

proptest! {
    #[test]
    fn where_pieces_break_changes_nothing(
        bytes in answers(true),
        asked in askeds(),
        sizes in prop::collection::vec(prop_oneof![1..9_usize, 1..400_usize], 1..9),
        hiding in any::<bool>(),
    ) {
        let engine = engine(if hiding { HIDING } else { OPEN });
        let mut whole = relay(&engine, asked.clone(), [bytes.as_slice()]);
        let mut cut = relay(&engine, asked, pieces(&bytes, &sizes));
        let (client, same) = (got(&whole.out), got(&cut.out));
        prop_assert_eq!(client.whole, matches!(whole.state, State::Done { .. }));
        prop_assert_eq!(client.head.is_empty(), !whole.answering.started());
        prop_assert_eq!(client, same);
        if whole.state == State::Odd {
            prop_assert_eq!(whole.answering.take_raw(), bytes.clone());
            // In pieces it may be known only when the head is complete.
            let step = cut.answering.feed(&engine, b"\r\n\r\n", &mut cut.out);
            prop_assert_eq!(step.state, State::Odd);
            prop_assert_eq!(cut.answering.take_raw(), [bytes.as_slice(), b"\r\n\r\n"].concat());
            return Ok(());
        }
        prop_assert_eq!(&whole.state, &cut.state);
        prop_assert_eq!((whole.see, whole.check), (cut.see, cut.check));
        let of = |answering: &mut crate::http1::answer::Answering| {
            (answering.answered(), answering.may_close_with_event(), answering.status(), answering.end())
        };
        prop_assert_eq!(of(&mut whole.answering), of(&mut cut.answering));
    }

    #[test]
    fn what_is_hidden_does_not_leave(
        bytes in answers(false),
        sizes in prop::collection::vec(1..400_usize, 1..9),
    ) {
        let seen = relay(&engine(HIDING), request(), pieces(&bytes, &sizes));
        prop_assert!(!got(&seen.out).content.windows(8).any(|word| word == b"\"secret\""));
    }

    #[test]
    fn any_bytes_are_answered(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        start in prop::sample::select(vec![
            "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        ]),
        sizes in prop::collection::vec(1..99_usize, 1..4),
    ) {
        let bytes = [start.as_bytes(), &bytes].concat();
        let seen = relay(&engine(OPEN), request(), pieces(&bytes, &sizes));
        prop_assert_eq!(got(&seen.out).whole, matches!(seen.state, State::Done { .. }));
    }
}
