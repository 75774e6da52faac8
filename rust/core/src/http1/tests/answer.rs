//! Answers of servers, plain, odd and hostile.

use std::sync::Arc;

use crate::engine::{Engine, Options};
use crate::http1::Asked;
use crate::http1::{Answering, Reason, State};
use crate::limit::LimitTable;
use crate::policy::PolicySet;

pub(super) const OPEN: &str = r#"{"version":"1","default":"allow"}"#;
pub(super) const HIDING: &str = r#"{"version":"1","default":"allow","hide":["secret"]}"#;
pub(super) const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
pub(super) const LIST: &str =
    r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"secret"},{"name":"open"}]}}"#;
pub(super) const KEPT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"open"}]}}"#;
pub(super) const ASKS: &str =
    r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}"#;

pub(super) fn policy(text: &str) -> Arc<PolicySet> {
    Arc::new(PolicySet::parse(text.as_bytes(), "test.json").unwrap())
}

pub(super) fn engine(text: &str) -> Engine {
    let table = LimitTable::anonymous(16).unwrap();
    Engine::new(policy(text), Arc::new(table), Options::default())
}

pub(super) fn request() -> Asked {
    Asked {
        id: Some(b"1".as_slice().into()),
        legacy: true,
        ..Asked::default()
    }
}

/// What one piece after the other led to, joined.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) state: State,
    pub(super) out: Vec<u8>,
    pub(super) see: Vec<Vec<u8>>,
    pub(super) check: Option<Vec<u8>>,
    pub(super) answering: Answering,
}

pub(super) fn relay<'a>(
    engine: &Engine,
    asked: Asked,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Seen {
    let mut answering = Answering::new(asked);
    let (mut out, mut see, mut check) = (Vec::new(), Vec::new(), None);
    let mut state = State::More;
    for piece in pieces {
        let step = answering.feed(engine, piece, &mut out);
        see.extend(step.see);
        check = check.or(step.check);
        state = step.state;
    }
    Seen {
        state,
        out,
        see,
        check,
        answering,
    }
}

pub(super) fn answer(body: &str, fields: &[&str]) -> String {
    let more = [fields, &[""]].concat().join("\r\n");
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    )
}

pub(super) fn stream(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
         {length:x}\r\n{body}\r\n0\r\n\r\n"
    )
}

pub(super) fn one(policy: &str, asked: Asked, bytes: &str) -> Seen {
    relay(&engine(policy), asked, [bytes.as_bytes()])
}

pub(super) const DONE: State = State::Done { reusable: true };
const SPENT: State = State::Done { reusable: false };

#[test]
fn a_plain_answer_passes_in_one_piece() {
    let fields = [
        "Date: today",
        "ETag: W/\"x\"",
        "Set-Cookie: a=b",
        "mcp-session-id: s",
        "x-y: z",
    ];
    let asked = Asked {
        session: Some(b"s".as_slice().into()),
        told: b"ratelimit-policy: \"a\";q=3\r\nratelimit: \"a\";r=2\r\n".to_vec(),
        ..request()
    };
    let seen = one(OPEN, asked, &answer(RESULT, &fields));
    let wanted = format!(
        "HTTP/1.1 200 \r\ncontent-type: application/json\r\netag: W/\"x\"\r\nmcp-session-id: s\r\n\
         ratelimit-policy: \"a\";q=3\r\nratelimit: \"a\";r=2\r\ncontent-length: {}\r\n\r\n{RESULT}",
        RESULT.len()
    );
    assert_eq!(String::from_utf8(seen.out).unwrap(), wanted);
    assert_eq!((seen.state, seen.see.len(), seen.check), (DONE, 0, None));
    assert_eq!(
        (seen.answering.status(), seen.answering.started()),
        (200, true)
    );
}

#[test]
fn a_server_chooses_no_other_field_for_the_client() {
    let fields = [
        "set-cookie: a=b",
        "location: /x",
        "server: s",
        "www-authenticate: x",
        "x: y",
    ];
    let seen = one(OPEN, request(), &answer(RESULT, &fields));
    let head = String::from_utf8(seen.out).unwrap();
    let names: Vec<_> = head
        .lines()
        .take_while(|line| !line.is_empty())
        .skip(1)
        .collect();
    assert_eq!(
        names,
        ["content-type: application/json", "content-length: 48"]
    );
}

#[test]
fn chunks_become_a_length() {
    let seen = one(
        OPEN,
        request(),
        &stream(RESULT).replace("text/event-stream", "application/json; charset=UTF-8"),
    );
    assert!(
        seen.out
            .ends_with(format!("content-length: 48\r\n\r\n{RESULT}").as_bytes())
    );
    assert_eq!(seen.state, DONE);
}

#[test]
fn what_chunks_carry_beside_content_does_not_pass() {
    let bytes = stream(RESULT).replace("text/event-stream", "application/json");
    let (start, end) = ("\r\n30\r\n", "0\r\n\r\n");
    let bytes = bytes.replace(start, "\r\n30;a=b\r\n");
    let bytes = bytes.replace(end, "0\r\nset-cookie: a\r\n\r\n");
    let seen = one(OPEN, request(), &bytes);
    assert!(
        seen.out
            .ends_with(format!("content-length: 48\r\n\r\n{RESULT}").as_bytes())
    );
    assert_eq!(seen.state, DONE);
}

#[test]
fn a_202_passes_without_its_body() {
    let note = Asked::default();
    for (fields, body) in [
        ("content-length: 0\r\n", ""),
        ("content-length: 4\r\ncontent-type: text/plain\r\n", "body"),
        ("transfer-encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n"),
    ] {
        let bytes = format!("HTTP/1.1 202 Accepted\r\n{fields}\r\n{body}");
        let seen = one(OPEN, note.clone(), &bytes);
        let out = String::from_utf8(seen.out).unwrap();
        assert!(out.starts_with("HTTP/1.1 202 \r\n") && out.ends_with("content-length: 0\r\n\r\n"));
        assert_eq!(seen.state, DONE, "{bytes}");
        let seen = one(OPEN, note.clone(), &bytes[..bytes.len() - 1]);
        assert_eq!((seen.out.len(), seen.state), (0, State::More), "{bytes}");
    }
}

#[test]
fn what_is_not_plain_is_given_back_whole() {
    let plain = answer(RESULT, &[]);
    let many: Vec<String> = (0..20_000).map(|n| format!("x-{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let odd = [
        "\0\u{1}garbage\r\n\r\n".to_owned(),
        format!("\r\n{plain}"),
        plain.replace("HTTP/1.1", "HTTP/1.0"),
        plain.replace("HTTP/1.1", "HTTP/2.0"),
        plain.replace("200 OK", "204 No"),
        plain.replace("200 OK", "2000 OK"),
        plain.replace("200 OK", "200\tOK"),
        plain.replace("200 OK", "20x OK"),
        plain.replace("200 OK\r\n", "200 OK\n"),
        plain.replace("48\r\n", "48\n"),
        plain.replace("200 OK", "201 Created"),
        plain.replace("200 OK", "202 Accepted"),
        plain.replace("200 OK", "307 Elsewhere"),
        plain.replace("200 OK", "401 No"),
        plain.replace("200 OK", "404 Session"),
        plain.replace("200 OK", "500 Oh"),
        plain.replace("application/json", "text/html"),
        plain.replace("application/json", "application/json; charset=utf-16"),
        plain.replace("application/json", "application/json; a=b"),
        plain.replace("application/json", "application/json; charset=utf-8; a=b"),
        plain.replace("Content-Type: application/json\r\n", ""),
        plain.replace("Content-Length: 48\r\n", ""),
        plain.replace("Content-Length: 48", "Content-Length: +48"),
        plain.replace("Content-Length: 48", "Content-Length: 48, 48"),
        plain.replace("Content-Length: 48", "Content-Length: 0x30"),
        plain.replace("Content-Length: 48", "Content-Length: 048"),
        plain.replace("Content-Length: 48", "Content-Length: "),
        plain.replace(
            "Content-Length: 48",
            "Content-Length: 99999999999999999999999",
        ),
        plain.replace("Content-Length: 48", "Content-Length : 48"),
        plain.replace("Content-Length: 48", "Content-Length: 4\r\n 8"),
        plain.replace("Content-Length: 48", "Transfer-Encoding: gzip, chunked"),
        plain.replace("Content-Length: 48", "Transfer-Encoding: identity"),
        answer(RESULT, &["transfer-encoding: chunked"]),
        answer(RESULT, &["content-length: 3"]),
        answer(RESULT, &["content-length: 48"]),
        answer(RESULT, &["content-type: text/event-stream"]),
        answer(RESULT, &["content-encoding: gzip"]),
        answer(RESULT, &["content-encoding: identity"]),
        answer(RESULT, &["mcp-session-id: foreign"]),
        answer(RESULT, &["bad name: x"]),
        answer(RESULT, &["x: a\u{0}b"]),
        answer(RESULT, &["x: \u{e9}"]),
        answer(RESULT, &[": x"]),
        answer(RESULT, &many),
        format!("{}{plain}", "HTTP/1.1 103 Early\r\n\r\n".repeat(9)),
        format!("HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n{plain}"),
    ];
    for bytes in odd {
        let mut seen = one(OPEN, request(), &bytes);
        let shown = bytes.get(..300).unwrap_or(&bytes);
        assert_eq!((seen.state, seen.out.len()), (State::Odd, 0), "{shown:?}");
        let step = seen.answering.feed(&engine(OPEN), b"more", &mut seen.out);
        assert_eq!(step.state, State::Odd);
        assert_eq!(seen.answering.take_raw(), format!("{bytes}more").as_bytes());
        assert!(!seen.answering.started());
    }
}

#[test]
fn a_line_that_cannot_be_read_is_odd_once_it_is_whole() {
    for (bytes, state) in [
        ("", State::More),
        ("HTTP/1.", State::More),
        ("HTTP/1.1 20", State::More),
        ("HTTP/1.1 200 OK\r", State::More),
        ("HTTP/1.1 200 OK\r\n", State::More),
        ("HTTP/1.1 200 OK\r\nbad name", State::More),
        ("HTTP/1.1 200 OK\r\nx: y\r", State::More),
        ("HTTP/1.1 200 OK\r\nbad name: x\r\n", State::Odd),
        ("HTTP/1.1 200 OK\n", State::Odd),
        ("HTTP/1.0", State::Odd),
        ("http", State::Odd),
        ("\r\nHTTP/1.1", State::Odd),
    ] {
        assert_eq!(one(OPEN, request(), bytes).state, state, "{bytes:?}");
    }
}

#[test]
fn informational_answers_are_passed_over() {
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n".repeat(4);
    let seen = one(OPEN, request(), &format!("{early}{}", answer(RESULT, &[])));
    assert_eq!(seen.state, DONE);
    assert!(seen.out.starts_with(b"HTTP/1.1 200 \r\n"));
}

#[test]
fn a_head_that_never_ends_is_given_back_at_the_bound() {
    let engine = engine(OPEN);
    let mut answering = Answering::new(request());
    let mut out = Vec::new();
    let mut fed = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    assert_eq!(answering.feed(&engine, &fed, &mut out).state, State::More);
    while answering.feed(&engine, b"abc", &mut out).state == State::More {
        fed.extend_from_slice(b"abc");
        assert!(fed.len() <= 64 << 10);
    }
    fed.extend_from_slice(b"abc");
    assert_eq!(answering.take_raw(), fed);
}

#[test]
fn a_head_over_the_bound_is_given_back_however_it_comes() {
    let filler = format!("x: {}", "y".repeat((64 << 10) - 76));
    for (more, state) in [("", DONE), ("y", State::Odd)] {
        let bytes = answer(RESULT, &[&format!("{filler}{more}")]);
        assert_eq!(bytes.len() - RESULT.len(), (64 << 10) + more.len());
        assert_eq!(one(OPEN, request(), &bytes).state, state);
        let pieces = bytes.as_bytes().chunks(1000);
        assert_eq!(relay(&engine(OPEN), request(), pieces).state, state);
        let early = format!(
            "HTTP/1.1 103 Early\r\n{filler}{more}\r\n\r\n{}",
            answer(RESULT, &[])
        );
        assert_eq!(one(OPEN, request(), &early).state, State::Odd);
    }
}

#[test]
fn a_document_is_held_against_the_request() {
    for (id, document, sound) in [
        ("1", RESULT, true),
        ("\"a\"", r#"{"id":"a","result":{}}"#, true),
        ("1", r#"{"id":2,"result":{}}"#, false),
        ("1", r#"{"id":"1","result":{}}"#, false),
        ("1", r#"{"id":true,"result":{}}"#, false),
        ("1", r#"{"id":1.0,"result":{}}"#, false),
        ("1", r#"{"result":{}}"#, false),
        ("1", r#"{"error":{"code":1}}"#, true),
        ("1", r#"{"id":null,"error":{"code":1}}"#, true),
        ("1", r#"{"id":2,"error":{"code":1}}"#, false),
        ("1", r#"[{"id":1,"result":{}}]"#, false),
        ("1", r#"{"id":1,"id":1,"result":{}}"#, false),
        ("1", r#"{"id":1,"result":"\ud800"}"#, false),
        ("1", "not JSON", false),
        ("1", "", false),
    ] {
        let asked = Asked {
            id: Some(id.as_bytes().into()),
            ..request()
        };
        let seen = one(OPEN, asked, &answer(document, &[]));
        let check = (!sound).then(|| document.as_bytes().to_vec());
        assert_eq!((seen.state, seen.check), (DONE, check), "{document}");
        assert!(seen.out.ends_with(format!("\r\n\r\n{document}").as_bytes()));
    }
}

#[test]
fn a_document_that_asks_is_seen() {
    let document = ASKS.replace(":7", ":1");
    let seen = one(OPEN, request(), &answer(&document, &[]));
    assert_eq!(
        (seen.see, seen.check),
        (vec![document.clone().into_bytes()], None)
    );
    let modern = Asked {
        legacy: false,
        ..request()
    };
    assert!(one(OPEN, modern, &answer(&document, &[])).see.is_empty());
}

#[test]
fn hidden_tools_leave_no_document() {
    let seen = one(HIDING, request(), &answer(LIST, &[]));
    let wanted = format!("content-length: {}\r\n\r\n{KEPT}", KEPT.len());
    assert!(seen.out.ends_with(wanted.as_bytes()));
    assert_eq!((seen.state, seen.check), (DONE, None));
    let unreadable = LIST.replace("[{", "[{\"name\":1,");
    let seen = one(HIDING, request(), &answer(&unreadable, &[]));
    assert_eq!(
        (fault(&seen.state), seen.out.len()),
        (Some(Reason::Invalid), 0)
    );
}

pub(super) fn fault(state: &State) -> Option<Reason> {
    match state {
        State::Fault { reason, .. } => Some(*reason),
        _ => None,
    }
}

#[test]
fn a_long_document_passes_as_it_comes_unless_it_is_filtered() {
    let long = format!(r#"{{"id":1,"result":"{}"}}"#, "x".repeat(64 << 10));
    for bytes in [
        answer(&long, &[]),
        stream(&long).replace("text/event-stream", "application/json"),
    ] {
        let engine = engine(OPEN);
        let (first, last) = bytes.as_bytes().split_at(bytes.len() - 9);
        let seen = relay(&engine, request(), [first]);
        assert_eq!(seen.state, State::More);
        assert!(seen.out.len() > 64 << 10);
        let seen = relay(&engine, request(), [first, last]);
        assert_eq!((seen.state, seen.check), (DONE, None));
        let (held, sent) = bytes.as_bytes().split_at(1000);
        assert!(relay(&engine, request(), [held]).out.is_empty());
        assert!(relay(&engine, request(), [held, sent]).out.len() > long.len());
    }
    let seen = one(HIDING, request(), &answer(&long, &[]));
    assert!(seen.out.ends_with(long.as_bytes()));
    let longest = format!(r#"{{"id":1,"result":"{}"}}"#, "x".repeat(4 << 20));
    let seen = one(HIDING, request(), &answer(&longest, &[]));
    assert_eq!(
        (fault(&seen.state), seen.out.len()),
        (Some(Reason::Invalid), 0)
    );
}

#[test]
fn the_connection_is_not_used_again_behind_a_doubt() {
    let whole = answer(RESULT, &[]);
    assert_eq!(one(OPEN, request(), &format!("{whole}x")).state, SPENT);
    let mut seen = one(OPEN, request(), &whole);
    let length = seen.out.len();
    assert_eq!(
        seen.answering.feed(&engine(OPEN), &[], &mut seen.out).state,
        DONE
    );
    assert_eq!(
        seen.answering
            .feed(&engine(OPEN), b"x", &mut seen.out)
            .state,
        SPENT
    );
    assert_eq!(seen.out.len(), length);
    assert_eq!(one(OPEN, request(), &whole).answering.end().state, SPENT);
    for field in ["connection: close", "connection: keep-alive, Close"] {
        assert_eq!(one(OPEN, request(), &answer(RESULT, &[field])).state, SPENT);
    }
    let kept = answer(RESULT, &["connection: keep-alive"]);
    assert_eq!(one(OPEN, request(), &kept).state, DONE);
}

#[test]
fn an_answer_that_breaks_off_is_a_fault_wherever_it_does() {
    for whole in [answer(RESULT, &[]), stream(&format!("data: {RESULT}\n\n"))] {
        for cut in 0..whole.len() {
            let mut seen = one(OPEN, request(), &whole[..cut]);
            assert_eq!(seen.state, State::More, "{cut}");
            let ended = seen.answering.end();
            assert_eq!(fault(&ended.state), Some(Reason::Reset), "{cut}");
            assert!(!seen.out.ends_with(b"0\r\n\r\n") && !seen.out.ends_with(RESULT.as_bytes()));
            assert_eq!(seen.answering.end(), ended);
        }
    }
}

#[test]
fn an_answer_can_be_its_connection_s_last_until_its_head_leaves() {
    let engine = engine(OPEN);
    let bytes = answer(RESULT, &[]);
    for at in [0, 20, bytes.len() - 9, bytes.len()] {
        let (before, behind) = bytes.as_bytes().split_at(at);
        let mut answering = Answering::new(request());
        let mut out = Vec::new();
        answering.feed(&engine, before, &mut out);
        answering.close();
        answering.close();
        answering.feed(&engine, behind, &mut out);
        let text = String::from_utf8(out).unwrap();
        let closes = usize::from(at < bytes.len());
        assert_eq!(
            text.matches("connection: close\r\n").count(),
            closes,
            "{at}"
        );
        assert!(text.ends_with(&format!("content-length: 48\r\n\r\n{RESULT}")));
    }
}
