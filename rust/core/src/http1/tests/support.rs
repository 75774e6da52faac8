//! A listener with one server behind it, and requests to it.

use std::sync::Arc;

use crate::engine::{Engine, Options};
use crate::http1::{Gate, GateOptions, HandedOver, Intake, Received, Route};
use crate::limit::LimitTable;
use crate::policy::PolicySet;
use crate::time::Nanos;

/// 2026-03-02T10:00:05Z.
pub(super) const NOW: Nanos = Nanos(1_772_445_605 * Nanos::SECOND);

pub(super) const OWN: &str =
    "POST /rpc HTTP/1.1\r\nhost: server.example\r\naccept-encoding: identity\r\nmcp-own: 1\r\n";

const POLICY: &str = r#"{"version":"1","default":"deny","methods":{"tasks/get":{}},"tools":{
    "pay":{"limits":[{"counter":"payments","window":"minute","max":3}]},"look":{},"look_again":{}}}"#;

pub(super) fn engine() -> Arc<Engine> {
    let policy = PolicySet::parse(POLICY.as_bytes(), "policy.json").unwrap();
    let table = Arc::new(LimitTable::anonymous(1024).unwrap());
    Arc::new(Engine::new(Arc::new(policy), table, Options::default()))
}

pub(super) fn gate_to(engine: &Arc<Engine>) -> Gate {
    let mut gate = Gate::new(GateOptions {
        max_head_bytes: 4096,
        max_body_bytes: 2048,
        hosts: Some(vec![b"localhost:8000".to_vec(), b"127.0.0.1:8000".to_vec()]),
        ..GateOptions::default()
    });
    let route = Route {
        engine: engine.clone(),
        grant: "laptop".into(),
        server: "bank".into(),
        head: OWN.into(),
        own_names: vec![
            b"host".to_vec(),
            b"accept-encoding".to_vec(),
            b"mcp-own".to_vec(),
        ],
        tag: 5,
    };
    gate.add_route(b"/mcp".to_vec(), route, true);
    let other = Route {
        engine: engine.clone(),
        grant: "laptop".into(),
        server: "other".into(),
        head: OWN.into(),
        own_names: Vec::new(),
        tag: 6,
    };
    gate.add_route(b"/other".to_vec(), other, true);
    gate
}

pub(super) fn gate() -> Gate {
    gate_to(&engine())
}

pub(super) fn receive(intake: &mut Intake, gate: &Gate, data: &[u8]) -> Received {
    intake.receive(gate, data, &|| NOW)
}

/// What becomes of these bytes on a new connection.
pub(super) fn first(data: impl AsRef<[u8]>) -> Received {
    receive(&mut Intake::default(), &gate(), data.as_ref())
}

pub(super) fn call(tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
    )
}

/// A POST with these lines of its head between the Host and the Content-Length.
pub(super) fn post_with(lines: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost:8000\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    )
}

pub(super) fn post(body: &str) -> String {
    post_with("Content-Type: application/json\r\n", body)
}

/// What was handed over.
pub(super) fn handed(received: Received) -> HandedOver {
    match received {
        Received::HandOver(handed) => *handed,
        other => panic!("not handed over: {other:?}"),
    }
}

/// What became of a message, in words that can be compared.
pub(super) fn words(received: Received) -> String {
    match received {
        Received::Forward(forward) => format!(
            "forward {} {:?} {:?} {:?}",
            forward.bytes.escape_ascii(),
            forward.tag,
            forward.asked,
            forward.caller
        ),
        Received::Answer(answer) => format!("Answer {}", answer.escape_ascii()),
        Received::HandOver(mut handed) => {
            // Its own reservation and digest make each decision another.
            let allowed = handed.decision.take().map(|decision| decision.allowed);
            format!("{allowed:?} {handed:?}")
        }
        other => format!("{other:?}"),
    }
}
