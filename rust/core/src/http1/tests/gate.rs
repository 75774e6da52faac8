//! What is decided here, and what is left to the application.

use super::support::*;
use crate::http1::Received;

const JSON: &str = "Content-Type: application/json\r\n";

fn with(lines: &str) -> Received {
    first(post_with(lines, &call("look")))
}

#[test]
fn heads_that_every_admission_takes_are_decided() {
    for lines in [
        JSON,
        "content-type:application/json\r\n",
        "CONTENT-TYPE: Application/JSON ; charset=utf-8\r\n",
        "Content-Type: application/json; charset=UTF-8\r\n",
        "Content-Type: application/json;charset=utf-8\r\n",
    ] {
        let passes = !lines.contains(" ;");
        assert_eq!(
            matches!(with(lines), Received::Forward(_)),
            passes,
            "{lines}"
        );
    }
    for line in [
        "Accept: application/json",
        "Accept: text/event-stream",
        "Accept: */*",
        "Accept: text/html, Application/JSON",
        "Accept: text/html;q=0.9 ,\t*/*",
        "Connection: Keep-Alive",
        "X-Anything: \"(at) all\"\t,;=",
        "mcp-a: 1\r\nmcp-b: 1",
        "x: 1\r\nx: 2",
        "user-agent: a\r\nuser-agent: b",
        "Authorization: Bearer x",
        "Cookie: a=b",
        "Empty:",
    ] {
        let received = with(&format!("{JSON}{line}\r\n"));
        assert!(
            matches!(received, Received::Forward(_)),
            "{line}: {received:?}"
        );
    }
}

#[test]
fn what_an_admission_might_refuse_is_handed_over_undecided() {
    for line in [
        "Origin: http://localhost:8000",
        "Content-Encoding: identity",
        "Last-Event-ID: 5",
        "Accept: text/html",
        "Accept:",
        "Accept: application/json;q=0",
        "Accept: */*;q=0.1",
        "Accept: application/jsonx",
        "Accept: */*\r\nAccept: */*",
        "Connection: close",
        "content-type: application/json",
        "Authorization: a\r\nAuthorization: b",
        "mcp-protocol-version: 2025-06-18\r\nmcp-protocol-version: 2025-06-18",
        "mcp-session-id: a\r\nMcp-Session-Id: a",
        "mcp-method: tools/call\r\nmcp-method: tools/call",
        "mcp-name: look\r\nmcp-name: look",
        "mcp-a: 1\r\nMCP-A: 1",
        "mcp-param-with-a-long-name: 1\r\nmcp-param-with-a-long-name: 1",
    ] {
        let handed = handed(with(&format!("{JSON}{line}\r\n")));
        assert!(handed.decision.is_none(), "{line}");
        assert!(handed.caller.is_none() && handed.tag.is_none());
        assert_eq!(handed.body, call("look").as_bytes());
    }
    for lines in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/json; charset=latin-1\r\n",
        "Content-Type: application/json; charset=utf-8; a=b\r\n",
        "Content-Type: application/jsonl\r\n",
    ] {
        assert!(handed(with(lines)).decision.is_none(), "{lines}");
    }
}

#[test]
fn only_the_listeners_own_hosts_and_routes_are_decided() {
    let plain = post(&call("look"));
    for (good, other) in [
        ("localhost:8000", "LOCALHOST:8000"),
        ("localhost:8000", "localhost"),
        ("localhost:8000", "evil.example"),
        ("localhost:8000", ""),
        ("/mcp", "/mcp/"),
        ("/mcp", "/MCP"),
        ("/mcp", "/mcp?a"),
        ("/mcp", "/%6dcp"),
        ("/mcp", "/"),
        ("POST", "PUT"),
        ("POST", "post"),
    ] {
        let request = plain.replacen(good, other, 1);
        let received = first(&request);
        if request.starts_with("POST") {
            assert!(handed(received).decision.is_none(), "{request}");
        } else {
            // Only POST has a body.
            assert!(matches!(received, Received::TakeOver), "{request}");
        }
    }
    assert!(matches!(
        first(plain.replacen("localhost", "127.0.0.1", 1)),
        Received::Forward(_)
    ));
}

#[test]
fn requests_without_a_body_are_handed_over() {
    for method in ["GET", "DELETE", "PUT", "OPTIONS", "X-ANY"] {
        for length in ["", "Content-Length: 0\r\n"] {
            let handed = handed(first(format!(
                "{method} /any?q=1 HTTP/1.1\r\nHost: a\r\n{length}LAST-Event-ID:  7 \r\n\r\n"
            )));
            assert_eq!(handed.method, method.as_bytes());
            assert_eq!(handed.target, b"/any?q=1");
            let last = (b"last-event-id".to_vec(), b"7".to_vec());
            assert_eq!(handed.headers.last(), Some(&last));
            assert!(handed.body.is_empty() && handed.decision.is_none());
        }
    }
    let handed = handed(first(
        "POST /mcp HTTP/1.1\r\nHost: localhost:8000\r\nContent-Type: application/json\r\n\r\n",
    ));
    assert!(handed.decision.is_none());
    assert!(matches!(first(post("")), Received::Answer(_)));
    // Some readers take it for GET.
    let folded = first("get /any HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(folded, Received::TakeOver));
}

#[test]
fn claims_are_read_from_the_head() {
    let modern = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{},
        "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let lines = |name: &str| {
        format!(
            "{JSON}Mcp-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {name}\r\n\
            Mcp-Session-Id: nobody\r\n"
        )
    };
    let Received::Forward(forward) = first(post_with(&lines("look"), modern)) else {
        panic!("not forwarded");
    };
    let text = String::from_utf8(forward.bytes).unwrap();
    assert!(!text.contains("mcp-session-id"), "{text}");
    assert!(text.contains("mcp-method: tools/call\r\nmcp-name: look\r\n"));
    assert!(!forward.asked.legacy && forward.asked.session.is_none());
    assert_eq!(forward.caller.session(), None);
    let Received::Answer(answer) = first(post_with(&lines("look_again"), modern)) else {
        panic!("not refused");
    };
    assert!(answer.starts_with(b"HTTP/1.1 400 \r\n"));
}

#[test]
fn each_decision_is_timed() {
    let engine = engine();
    let gate = gate_to(&engine);
    let ticks = std::cell::Cell::new(NOW.0);
    let clock = || {
        ticks.set(ticks.get() + 1000);
        crate::time::Nanos(ticks.get())
    };
    let mut intake = crate::http1::Intake::default();
    for request in [
        post(&call("look")),
        post(&call("steal")),
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
    ] {
        let _ = intake.receive(&gate, request.as_bytes(), &clock);
    }
    let (_, sum, count) = engine.counts().phase(crate::counts::Phase::Decide).read();
    assert_eq!((sum, count), (2000, 2));
}
