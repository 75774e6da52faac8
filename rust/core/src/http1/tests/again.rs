//! What a connection remembers of the head before changes nothing.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::support::*;
use crate::http1::{Gate, GateOptions, Intake, Received};

/// What becomes of these bytes, and what is left of them.
fn outcome(intake: &mut Intake, gate: &Gate, bytes: &[u8]) -> (String, Vec<u8>) {
    let received = receive(intake, gate, bytes);
    (words(received), intake.take_raw())
}

/// Compares a connection that has served `before` with a new one.
fn agree(gate: &Gate, before: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut used = Intake::default();
    let served = receive(&mut used, gate, before.as_bytes());
    prop_assert!(!matches!(served, Received::More | Received::TakeOver));
    prop_assert!(used.is_empty());
    let fresh = outcome(&mut Intake::default(), gate, bytes);
    let received = receive(&mut used, gate, bytes);
    prop_assert_eq!((words(received), used.take_raw()), fresh);
    Ok(())
}

const MODERN: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"look","arguments":{},"_meta":{
    "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

const LINES: &str = "Content-Type: application/json\r\nMCP-Protocol-Version: 2026-07-28\r\n\
    Mcp-Method: tools/call\r\naccept: */*\r\nMcp-Name: look\r\nTraceParent: 00-0af7-b7ad-01\r\n";

#[test]
fn one_byte_makes_it_another_head_or_does_not() {
    let gate = gate();
    let before = post_with(LINES, MODERN);
    let forwarded = first(&before);
    assert!(matches!(forwarded, Received::Forward(_)), "{forwarded:?}");
    let head = before.len() - MODERN.len();
    for at in 0..head {
        for byte in *b"\0\t\n\r \"+,0129:;AZaz_\x7F\xC3" {
            let mut changed = before.clone().into_bytes();
            changed[at] = byte;
            agree(&gate, &before, &changed).unwrap();
        }
        let mut shorter = before.clone().into_bytes();
        shorter.remove(at);
        agree(&gate, &before, &shorter).unwrap();
        agree(&gate, &before, &before.as_bytes()[..at]).unwrap();
    }
}

#[test]
fn the_values_that_vary_are_those_of_the_message() {
    let gate = gate();
    let mut intake = Intake::default();
    let mut ask = |lines: &str, body: &str| {
        let request = post_with(lines, body);
        match receive(&mut intake, &gate, request.as_bytes()) {
            Received::Forward(forward) => {
                let head = String::from_utf8(forward.bytes).unwrap();
                let (head, sent) = head.split_once("\r\n\r\n").unwrap();
                assert_eq!(sent, body);
                assert!(
                    head.ends_with(&format!("\r\ncontent-length: {}", body.len())),
                    "{head}"
                );
                head.to_owned()
            }
            other => words(other),
        }
    };
    let head = ask(LINES, MODERN);
    let sent = "content-type: application/json\r\nmcp-protocol-version: 2026-07-28\r\n\
        mcp-method: tools/call\r\naccept: */*\r\nmcp-name: look\r\ntraceparent: 00-0af7-b7ad-01\r\n";
    assert!(head.contains(sent), "{head}");
    let again = LINES
        .replace("look", "look_again")
        .replace("0af7", "c0de00");
    let head = ask(&again, &MODERN.replace("look", "look_again"));
    assert!(
        head.contains("\r\nmcp-name: look_again\r\ntraceparent: 00-c0de00-b7ad-01\r\n"),
        "{head}"
    );
    let differs = ask(LINES, &MODERN.replace("look", "look_again"));
    assert!(differs.contains("header-mismatch"), "{differs}");
    let differs = ask(&LINES.replace("tools/call", "tools/list"), MODERN);
    assert!(differs.contains("header-mismatch"), "{differs}");
}

#[test]
fn another_gate_looks_for_itself() {
    let engine = engine();
    let open = gate_to(&engine);
    let closed = Gate::new(GateOptions {
        max_head_bytes: 4096,
        max_body_bytes: 4096,
        hosts: None,
        ..GateOptions::default()
    });
    let request = post(&call("look"));
    let mut intake = Intake::default();
    for gate in [&open, &closed, &open, &gate_to(&engine)] {
        let fresh = outcome(&mut Intake::default(), gate, request.as_bytes());
        let received = receive(&mut intake, gate, request.as_bytes());
        assert_eq!(words(received), fresh.0);
    }
}

#[test]
fn a_long_head_is_forgotten() {
    let gate = gate();
    let mut intake = Intake::default();
    let mut remembered = |lines: &str| {
        let request = post_with(
            &format!("Content-Type: application/json\r\n{lines}"),
            &call("look"),
        );
        let received = receive(&mut intake, &gate, request.as_bytes());
        assert!(matches!(received, Received::Forward(_)), "{received:?}");
        format!("{intake:?}").len()
    };
    let short = remembered("");
    let long = format!("x: {}\r\n", "y".repeat(2000));
    assert!(remembered(&long) < short);
    assert_eq!(remembered(""), short);
}

/// Lines of which a client could send any, in any order.
const SOME: &[&str] = &[
    "Content-Type: application/json\r\n",
    "content-type: application/json; charset=utf-8\r\n",
    "Accept: */*\r\n",
    "User-Agent: a/1\r\n",
    "User-Agent:  a/2 \r\n",
    "Mcp-Method: tools/call\r\n",
    "mcp-name: look\r\n",
    "Mcp-Name: pay\r\n",
    "traceparent: 1\r\n",
    "traceparent: 22\r\n",
    "MCP-Protocol-Version: 2025-11-25\r\n",
    "mcp-x: 1\r\n",
    "Connection: keep-alive\r\n",
    "Connection: close\r\n",
    "X: y\r\n",
];

fn requests() -> impl Strategy<Value = String> {
    let lines = subsequence(SOME, 1..SOME.len()).prop_shuffle();
    let body = select(vec![
        call("look"),
        call("look_again"),
        call("steal"),
        "{".to_owned(),
    ]);
    (lines, body, any::<bool>()).prop_map(|(lines, body, coded)| {
        let lines = lines.concat();
        if !coded {
            return post_with(&lines, &body);
        }
        format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost:8000\r\n{lines}Transfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    })
}

proptest! {
    #[test]
    fn one_request_after_the_other(requests in proptest::collection::vec(requests(), 1..6)) {
        let gate = gate();
        let mut used = Intake::default();
        for request in &requests {
            let (fresh, kept) = outcome(&mut Intake::default(), &gate, request.as_bytes());
            let received = receive(&mut used, &gate, request.as_bytes());
            let over = matches!(received, Received::TakeOver);
            prop_assert_eq!(words(received), fresh);
            if over {
                prop_assert_eq!(used.take_raw(), kept);
                break;
            }
        }
    }
}
