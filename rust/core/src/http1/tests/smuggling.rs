//! Requests whose end, or whose fields, two readers see differently: none is served here.

use super::support::*;
use crate::http1::{Intake, Received};

const BODY: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{}}}"#;
const JSON: &str = "Content-Type: application/json\r\n";

/// Sees the request given back: whole, at once, and also if its bytes come one by one.
#[track_caller]
fn is_given_back(request: &[u8]) {
    let gate = gate();
    let mut whole = Intake::default();
    let received = receive(&mut whole, &gate, request);
    assert!(
        matches!(received, Received::TakeOver),
        "{}: {received:?}",
        request.escape_ascii()
    );
    assert_eq!(whole.take_raw(), request);
    let mut pieces = Intake::default();
    for (at, byte) in request.iter().enumerate() {
        match receive(&mut pieces, &gate, &[*byte]) {
            Received::More => {}
            Received::TakeOver => return assert_eq!(pieces.take_raw(), request[..=at]),
            other => panic!("{}: {other:?}", request.escape_ascii()),
        }
    }
    panic!("{}: waited for more", request.escape_ascii());
}

/// A POST with these lines for a framing and this body.
fn framed(lines: &str, body: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\nHost: localhost:8000\r\n{JSON}{lines}\r\n{body}")
}

#[test]
fn the_plain_form_of_these_requests_is_served() {
    let length = BODY.len();
    let coded = format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n");
    for request in [
        framed(&format!("Content-Length: {length}\r\n"), BODY),
        framed("Transfer-Encoding: chunked\r\n", &coded),
    ] {
        assert!(matches!(first(&request), Received::Forward(_)), "{request}");
    }
}

#[test]
fn two_framings_are_none() {
    let length = BODY.len();
    let plain = format!("Content-Length: {length}\r\n");
    let coded = "0\r\n\r\n";
    for lines in [
        format!("{plain}Transfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\n{plain}"),
        format!("{plain}{plain}"),
        format!("{plain}content-length: 0\r\n"),
        "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(),
    ] {
        is_given_back(framed(&lines, BODY).as_bytes());
        is_given_back(framed(&lines, coded).as_bytes());
    }
}

#[test]
fn a_length_is_digits() {
    for value in [
        "",
        "+5",
        "-5",
        "5, 5",
        "5,5",
        "5 5",
        "5;",
        "0x5",
        "5.0",
        "5e0",
        "05",
        "00",
        "five",
        "٥",
        "0000000000000000005",
        "1000000000000000000",
        "18446744073709551621",
        "99999999999999999999999",
    ] {
        let request = framed(&format!("Content-Length: {value}\r\n"), "12345");
        is_given_back(request.as_bytes());
    }
}

#[test]
fn a_coding_is_chunked_and_nothing_else() {
    for value in [
        "",
        "xchunked",
        "chunkedx",
        "chunked, chunked",
        "gzip, chunked",
        "chunked, identity",
        "identity",
        "chunked;a=b",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "ch\tunked",
    ] {
        let request = framed(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
        is_given_back(request.as_bytes());
    }
}

#[test]
fn chunks_are_strict() {
    for coded in [
        "1;a=b\r\nx\r\n0\r\n\r\n",
        "0\r\nTrailer: x\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffff\r\nx",
        "-1\r\nx\r\n",
        "0x1\r\nx\r\n",
        "1\nx\n0\n\n",
        "1 \r\nx\r\n",
        " 1\r\nx\r\n",
        "1\r\nxx\r\n",
        "1\r\nx0\r\n",
        "\r\n1\r\n",
        "z",
        "801\r\n",
        "7ff\r\n",
    ] {
        // The last is within the bound by itself.
        let coded = if coded.starts_with("7ff") {
            format!("{coded}{}\r\n2\r\n", "x".repeat(0x7FF))
        } else {
            coded.to_owned()
        };
        is_given_back(framed("Transfer-Encoding: chunked\r\n", &coded).as_bytes());
    }
}

#[test]
fn zeros_before_sizes_fill_no_memory() {
    let gate = gate();
    let mut intake = Intake::default();
    let head = framed("Transfer-Encoding: chunked\r\n", "");
    assert!(matches!(
        receive(&mut intake, &gate, head.as_bytes()),
        Received::More
    ));
    // The bound on a body is 2048 bytes.
    for sent in 0..2048 {
        if let Received::TakeOver = receive(&mut intake, &gate, b"000000000000001\r\nx\r\n") {
            assert!(sent > 500);
            return;
        }
    }
    panic!("all of it was kept");
}

#[test]
fn what_is_over_a_bound_is_not_waited_for() {
    is_given_back(framed("Content-Length: 2049\r\n", "").as_bytes());
    let long = format!("X-Long: {}\r\n", "x".repeat(4096));
    let request = framed(&long, "");
    let mut intake = Intake::default();
    let gate = gate();
    let (first, second) = request.as_bytes().split_at(4096);
    assert!(matches!(receive(&mut intake, &gate, first), Received::More));
    assert!(matches!(
        receive(&mut intake, &gate, &second[..1]),
        Received::TakeOver
    ));
    is_given_back(&request.as_bytes()[..4097]);
    let whole = Intake::default().receive(&gate, request.as_bytes(), &|| NOW);
    assert!(matches!(whole, Received::TakeOver));
    let many = "a: b\r\n".repeat(99);
    is_given_back(framed(&many, "").as_bytes());
    let fewer = "a: b\r\n".repeat(98);
    assert!(matches!(first_of(&fewer), Received::HandOver(_)));
}

fn first_of(lines: &str) -> Received {
    first(framed(lines, ""))
}

#[test]
fn lines_are_strict() {
    let request = post(BODY);
    for (good, bad) in [
        ("\r\nHost", "\nHost"),
        ("\r\nContent-Type", "\nContent-Type"),
        ("\r\n\r\n{", "\n\n{"),
        ("\r\n\r\n{", "\r\n\n{"),
        ("\r\n\r\n{", "\n\r\n{"),
        ("\r\nHost", "\r\r\nHost"),
        ("\r\nHost", "\rHost"),
        ("\r\nContent-Type", "\r\n Content-Type"),
        ("\r\nContent-Type", "\r\n\tContent-Type"),
        ("\r\nHost", "\r\n Host"),
        ("Host:", "Host :"),
        ("Host:", "Host\t:"),
        ("Host:", ":"),
        ("Host:", "Ho st:"),
        ("Host:", "Ho\0st:"),
        ("Host:", "(Host):"),
        ("Host:", "Höst:"),
        ("Host: ", "Host; "),
        ("Content-Length:", "Content-Length :"),
        ("Content-Length:", "Content-Length\t:"),
        ("Content-Length:", "\0Content-Length:"),
        ("Content-Length: ", "Content-Length\r\n : "),
        ("Content-Length: ", "Content-Length: \r\n "),
        ("Content-Length: ", "Content-Length:\u{b}"),
        ("Content-Length: ", "Content-Length:\u{a0}"),
        ("application/json", "application/json\0"),
        ("application/json", "application/json\u{1}"),
        ("application/json", "application/json\u{7f}"),
        ("application/json", "application/json\u{c}"),
        ("application/json", "application/jsön"),
        ("application/json", "application/json\rX: y"),
        ("POST /mcp HTTP/1.1", "POST  /mcp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "POST /mcp  HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "POST /mcp HTTP/1.1 "),
        ("POST /mcp HTTP/1.1", " POST /mcp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "\r\nPOST /mcp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "\nPOST /mcp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "POST\t/mcp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "POST /m cp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "POST /m\0cp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "POST /mcp\u{e9} HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "PO(ST /mcp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "POST HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "POST /mcp"),
        ("POST /mcp HTTP/1.1", "POST /mcp HTTP/1.0"),
        ("POST /mcp HTTP/1.1", "POST /mcp HTTP/1.2"),
        ("POST /mcp HTTP/1.1", "POST /mcp HTTP/2.0"),
        ("POST /mcp HTTP/1.1", "POST /mcp HTTP/1.10"),
        ("POST /mcp HTTP/1.1", "POST /mcp http/1.1"),
        (
            "POST /mcp HTTP/1.1",
            "POST http://localhost:8000/mcp HTTP/1.1",
        ),
        ("POST /mcp HTTP/1.1", "POST mcp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "OPTIONS * HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "CONNECT localhost:8000 HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "CONNECT /mcp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "HEAD /mcp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "GET /mcp HTTP/1.1"),
        ("POST /mcp HTTP/1.1", "DELETE /mcp HTTP/1.1"),
    ] {
        assert!(request.contains(good));
        is_given_back(request.replacen(good, bad, 1).as_bytes());
    }
}

#[test]
fn values_are_printable() {
    for byte in 0..=255 {
        for place in 0..9 {
            let mut value = *b"abcdefghi";
            value[place] = byte;
            let mut request = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
            request.extend_from_slice(&value);
            request.extend_from_slice(b"\r\n\r\n");
            match first(&request) {
                Received::HandOver(_) => assert!(matches!(byte, b'\t' | b' '..=b'~'), "{byte}"),
                Received::TakeOver => assert!(!matches!(byte, b'\t' | b' '..=b'~'), "{byte}"),
                other => panic!("{byte}: {other:?}"),
            }
        }
    }
}

#[test]
fn methods_whose_answers_are_framed_otherwise_are_not_served() {
    for line in ["HEAD /mcp", "CONNECT /mcp"] {
        is_given_back(format!("{line} HTTP/1.1\r\nHost: localhost:8000\r\n\r\n").as_bytes());
    }
}

#[test]
fn fields_that_change_the_connection_are_not_served() {
    for line in [
        "Expect: 100-continue",
        "Upgrade: h2c",
        "Upgrade: websocket",
        "Connection: upgrade",
        "Connection: close, keep-alive",
        "Connection: mcp-session-id",
        "Connection: te",
        "Connection:",
        "Connection: keep-alive\r\nConnection: close",
        "Host: localhost:8000",
        "host: other",
    ] {
        let lines = format!("{JSON}{line}\r\n");
        is_given_back(post_with(&lines, BODY).as_bytes());
    }
    let no_host = post(BODY).replace("Host: localhost:8000\r\n", "");
    is_given_back(no_host.as_bytes());
}

#[test]
fn other_protocols_are_seen_by_their_first_byte() {
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"\0",
        b"\r",
        b"\n",
        b" ",
        b"{\"jsonrpc\"",
    ] {
        is_given_back(&bytes[..1]);
    }
    is_given_back(b"PRI * HTTP/2.0\r\n\r\n");
}

#[test]
fn a_line_end_in_what_was_waited_for_is_seen_at_once() {
    is_given_back(b"POST /mcp HTTP/1.1\n");
    is_given_back(b"GET / HTTP/1.1\r\nHost: a\n");
}

#[test]
fn what_is_given_back_begins_behind_what_was_served() {
    let gate = gate();
    let mut intake = Intake::default();
    let bad = post(BODY).replace("Host:", "Host :");
    let both = post(BODY) + &bad;
    let received = receive(&mut intake, &gate, both.as_bytes());
    assert!(matches!(received, Received::Forward(_)));
    assert!(matches!(
        receive(&mut intake, &gate, b""),
        Received::TakeOver
    ));
    assert!(matches!(
        receive(&mut intake, &gate, b"more"),
        Received::TakeOver
    ));
    assert_eq!(intake.take_raw(), (bad + "more").as_bytes());
    assert!(intake.is_empty());
}
