//! What becomes of plain requests.

use super::support::*;
use crate::decision::Kind;
use crate::http1::{Forward, Gate, GateOptions, Intake, Phase, Received};

fn forwarded(received: Received) -> Forward {
    match received {
        Received::Forward(forward) => forward,
        other => panic!("not forwarded: {other:?}"),
    }
}

#[test]
fn an_allowed_call_is_forwarded() {
    let lines = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
        User-Agent: python-httpx/0.28\r\nConnection: keep-alive\r\nAccept-Encoding: gzip\r\n\
        Cookie: a=b\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 1\r\nMCP-Protocol-Version: 2025-06-18\r\n\
        Traceparent: 00-1-2-03\r\nMcp-Own: 2\r\nMcp-Param-A:\t x \t\r\n";
    let forward = forwarded(first(post_with(lines, &call("pay"))));
    assert_eq!(forward.tag, 5);
    let expected = format!(
        "{OWN}content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
        user-agent: python-httpx/0.28\r\nmcp-protocol-version: 2025-06-18\r\ntraceparent: 00-1-2-03\r\n\
        mcp-param-a: x\r\ncontent-length: {}\r\n\r\n{}",
        call("pay").len(),
        call("pay"),
    );
    assert_eq!(String::from_utf8(forward.bytes).unwrap(), expected);
    assert!(forward.decision.allowed && forward.decision.reservation.is_some());
    assert_eq!(forward.asked.id.as_deref(), Some(&b"\"a\""[..]));
    assert_eq!(
        String::from_utf8(forward.asked.told).unwrap(),
        "ratelimit-policy: \"payments\";q=3;w=60\r\nratelimit: \"payments\";r=2;t=55\r\n"
    );
    assert!(forward.asked.legacy && forward.asked.session.is_none());
}

#[test]
fn a_refused_call_is_answered() {
    let Received::Answer(answer) = first(post(&call("steal"))) else {
        panic!("not answered");
    };
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        head,
        format!(
            "HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: {}",
            body.len()
        )
    );
    assert!(body.contains("POLICY DENIED"), "{body}");
}

#[test]
fn one_message_after_the_other() {
    let gate = gate();
    let mut intake = Intake::default();
    let two = post(&call("look")) + &post(&call("pay"));
    assert_eq!(intake.phase(), Phase::Idle);
    forwarded(receive(&mut intake, &gate, two.as_bytes()));
    assert!(!intake.is_empty());
    forwarded(receive(&mut intake, &gate, b""));
    assert!(intake.is_empty());
    assert!(matches!(receive(&mut intake, &gate, b""), Received::More));
}

#[test]
fn what_is_waited_for() {
    let gate = gate();
    let mut intake = Intake::default();
    let request = post(&call("look"));
    let (head, body) = request.split_at(request.find('{').unwrap());
    for (piece, phase) in [
        (&head[..9], Phase::Head),
        (&head[9..], Phase::Body { received: 0 }),
        (&body[..7], Phase::Body { received: 7 }),
    ] {
        let received = receive(&mut intake, &gate, piece.as_bytes());
        assert!(matches!(received, Received::More));
        assert_eq!(intake.phase(), phase);
    }
    forwarded(receive(&mut intake, &gate, &body.as_bytes()[7..]));
    assert_eq!(intake.phase(), Phase::Idle);
}

#[test]
fn a_chunked_body_is_forwarded_whole() {
    let body = call("look");
    let (a, b) = body.split_at(10);
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost:8000\r\ncontent-type: application/json\r\n\
        transfer-encoding: Chunked\r\n\r\na\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
        b.len()
    );
    let forward = forwarded(first(request));
    let end = format!("content-length: {}\r\n\r\n{body}", body.len());
    assert!(forward.bytes.ends_with(end.as_bytes()));
}

#[test]
fn a_session_passes_if_it_is_the_grants() {
    let engine = engine();
    let (gate, table) = (gate_to(&engine), engine.table());
    let ask = |version: &str, session: &str| {
        let lines =
            format!("Content-Type: application/json\r\n{version}Mcp-Session-Id: {session}\r\n");
        receive(
            &mut Intake::default(),
            &gate,
            post_with(&lines, &call("look")).as_bytes(),
        )
    };
    let handed = handed(ask("", "s1"));
    assert!(handed.decision.is_none() && handed.tag.is_none());
    let bind = |session: &str, grant, revision| {
        let key = table.binding_key("session", "bank", session.as_bytes());
        let owner = table.owner_word(grant);
        table.bind(key, owner, revision, NOW, 1 << 50).unwrap();
    };
    bind("s1", "laptop", 20_250_326);
    bind("s2", "phone", 20_250_326);
    let forward = forwarded(ask("", "s1"));
    assert_eq!(forward.asked.session.as_deref(), Some(&b"s1"[..]));
    assert_eq!(forward.caller.session(), Some("s1"));
    assert_eq!(forward.caller.revision(), Some("2025-03-26"));
    assert!(
        String::from_utf8(forward.bytes)
            .unwrap()
            .contains("mcp-session-id: s1\r\n")
    );
    assert!(matches!(ask("", "s2"), Received::HandOver(_)));
    let stateless = "MCP-Protocol-Version: 2026-07-28\r\n";
    assert!(matches!(ask(stateless, "s2"), Received::Answer(_)));
}

#[test]
fn a_connection_remembers_its_sender_only_while_it_is_the_same() {
    let engine = engine();
    let (gate, table) = (gate_to(&engine), engine.table());
    let mut intake = Intake::default();
    let mut ask = |session: &str| {
        let lines = format!("Content-Type: application/json\r\n{session}");
        let received = receive(
            &mut intake,
            &gate,
            post_with(&lines, &call("look")).as_bytes(),
        );
        matches!(received, Received::Forward(_)).then(|| forwarded(received).caller)
    };
    let key = table.binding_key("session", "bank", b"s");
    let owner = table.owner_word("laptop");
    table.bind(key, owner, 0, NOW, 1 << 50).unwrap();
    let first = ask("Mcp-Session-Id: s\r\n").unwrap();
    assert_eq!((first.session(), first.revision()), (Some("s"), None));
    assert!(std::sync::Arc::ptr_eq(
        &first,
        &ask("Mcp-Session-Id: s\r\n").unwrap()
    ));
    table.bind(key, owner, 20_250_618, NOW, 1 << 50).unwrap();
    let later = ask("Mcp-Session-Id: s\r\n").unwrap();
    assert_eq!(later.revision(), Some("2025-06-18"));
    assert_eq!(ask("").unwrap().session(), None);
    assert_eq!(ask("Mcp-Session-Id: s\r\n").unwrap().session(), Some("s"));
    table.unbind(key);
    assert!(ask("Mcp-Session-Id: s\r\n").is_none());
    assert_eq!(ask("").unwrap().server(), "bank");
    let other = post(&call("look")).replace("/mcp", "/other");
    let other = forwarded(receive(&mut intake, &gate, other.as_bytes()));
    assert_eq!((other.caller.server(), other.tag), ("other", 6));
}

#[test]
fn what_needs_more_than_passing_on_is_handed_over_decided() {
    let task = call("look").replace("\"arguments\":{}", "\"arguments\":{},\"task\":{}");
    let extension = call("look").replace("\"arguments\":{}", "\"arguments\":{\"a\":\"x/tasks\"}");
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let listen = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"_meta":{
        "io.modelcontextprotocol/protocolVersion":"2026-07-28",
        "io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let get = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t"}}"#;
    for (body, kind) in [
        (task.as_str(), Kind::Request),
        (&extension, Kind::Request),
        (initialize, Kind::Request),
        (listen, Kind::Request),
        (get, Kind::Request),
        (response, Kind::Response),
    ] {
        let lines = if body == listen {
            "Content-Type: application/json\r\nMcp-Protocol-Version: 2026-07-28\r\n\
                Mcp-Method: subscriptions/listen\r\n"
        } else {
            "Content-Type: application/json\r\n"
        };
        let handed = handed(first(post_with(lines, body)));
        let decision = handed.decision.unwrap();
        assert!(decision.allowed, "{body}: {}", decision.message);
        assert_eq!((decision.kind, handed.tag), (kind, Some(5)));
        assert_eq!(handed.caller.unwrap().grant(), "laptop");
        assert_eq!(handed.body, body.as_bytes());
        assert_eq!(handed.target, b"/mcp");
        assert_eq!(
            handed.headers[1],
            (b"content-type".to_vec(), b"application/json".to_vec())
        );
    }
    let close = call("look").replace(
        "\"arguments\":{}",
        "\"arguments\":{\"task\":1,\"multitask\":2}",
    );
    assert!(matches!(first(post(&close)), Received::HandOver(_)));
    let other = call("look").replace(
        "\"arguments\":{}",
        "\"arguments\":{\"a\":\"my task /task\"}",
    );
    assert!(matches!(first(post(&other)), Received::Forward(_)));
}

#[test]
fn a_panic_is_an_answer_and_an_end() {
    let gate = gate();
    let mut intake = Intake::default();
    let clock = || panic!("no time");
    let request = post(&call("look"));
    let (first, second) = request.split_at(30);
    assert!(matches!(
        intake.receive(&gate, first.as_bytes(), &clock),
        Received::More
    ));
    let Received::Failed(answer) = intake.receive(&gate, second.as_bytes(), &clock) else {
        panic!("not failed");
    };
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 500 \r\n") && head.contains("\r\nconnection: close\r\n"));
    assert!(head.ends_with(&format!("content-length: {}", body.len())));
    assert!(intake.is_empty());
}

#[test]
fn a_notification_asks_for_no_answer() {
    let body = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let forward = forwarded(first(post(body)));
    assert_eq!(forward.asked.id, None);
    assert!(forward.asked.told.is_empty());
}

#[test]
fn a_large_message_leaves_no_large_buffer() {
    let gate = Gate::new(GateOptions {
        max_head_bytes: 4096,
        max_body_bytes: 1 << 20,
        hosts: None,
        ..GateOptions::default()
    });
    let mut intake = Intake::default();
    let request = post(&"x".repeat(1 << 19));
    let (first, second) = request.split_at(1 << 18);
    assert!(matches!(
        receive(&mut intake, &gate, first.as_bytes()),
        Received::More
    ));
    assert!(matches!(
        receive(&mut intake, &gate, second.as_bytes()),
        Received::HandOver(_)
    ));
    assert!(intake.take_raw().capacity() <= 1 << 14);
}
