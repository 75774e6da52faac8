//! What the way in costs around a decision: from a request's bytes to the server's, or to a refusal's.

#![expect(
    missing_docs,
    reason = "a macro of criterion makes an undocumented function"
)]
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up must stop"
)]

use std::hint::black_box;
use std::sync::Arc;

mod common;

use common::{NOW, SLOTS, body};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_core::caller::Caller;
use gateway_core::claims::Claims;
use gateway_core::engine::{Engine, Options};
use gateway_core::http1::{Gate, GateOptions, Intake, Received, Route};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;

const POLICY: &str = r#"{"version":"1","default":"deny","tools":{"submit_proposal":{"limits":[
    {"counter":"a","window":"minute","max":2000000000},{"counter":"b","window":"hour","max":2000000000},
    {"counter":"c","window":"day","max":2000000000}]},"search":{}}}"#;

const SESSION: &str = "1868a90c5d6e4f3f9c1f6d3c2b1a0f9e";

/// A request as the Python SDK sends it.
fn request(body: &str) -> Vec<u8> {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept-Encoding: gzip, deflate\r\n\
         Connection: keep-alive\r\nUser-Agent: python-httpx/0.28.1\r\n\
         accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n\
         mcp-session-id: {SESSION}\r\nmcp-protocol-version: 2025-06-18\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn engine() -> Arc<Engine> {
    let policy = PolicySet::parse(POLICY.as_bytes(), "bench.json").expect("compiles");
    let table = LimitTable::anonymous(SLOTS).expect("memory");
    let key = table.binding_key("session", "upwork", SESSION.as_bytes());
    let owner = table.owner_word("bench");
    table
        .bind(key, owner, 20_250_618, NOW, u64::MAX >> 1)
        .expect("a place");
    Arc::new(Engine::new(
        Arc::new(policy),
        Arc::new(table),
        Options::default(),
    ))
}

fn gate(engine: &Arc<Engine>) -> Gate {
    let mut gate = Gate::new(GateOptions {
        max_head_bytes: 32 << 10,
        max_body_bytes: 1 << 20,
        hosts: Some(vec![b"localhost:8000".to_vec(), b"127.0.0.1:8000".to_vec()]),
        ..GateOptions::default()
    });
    let route = Route {
        engine: engine.clone(),
        grant: "bench".into(),
        server: "upwork".into(),
        head: b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:9000\r\naccept-encoding: identity\r\n"
            .to_vec(),
        own_names: vec![b"host".to_vec(), b"accept-encoding".to_vec()],
        tag: 0,
    };
    gate.add_route(b"/mcp".to_vec(), route, true);
    gate
}

fn http1(c: &mut Criterion) {
    let engine = engine();
    let gate = gate(&engine);
    let mut intake = Intake::default();
    let mut group = c.benchmark_group("http1");
    for (name, tool) in [
        ("forward, 3 limits", "submit_proposal"),
        ("forward", "search"),
        ("answer", "other"),
    ] {
        let body = body(tool);
        let request = request(&body);
        group.throughput(Throughput::Bytes(request.len() as u64));
        let received = intake.receive(&gate, &request, &|| NOW);
        assert_eq!(
            matches!(received, Received::Forward(_)),
            name.starts_with("forward"),
            "{received:?}"
        );
        group.bench_function(name, |b| {
            b.iter(|| intake.receive(&gate, black_box(&request), &|| NOW));
        });
        let session = Some(SESSION.to_owned());
        let caller = Caller::new(
            "bench".into(),
            "upwork".into(),
            session,
            Some("2025-06-18".into()),
        );
        let claims = Claims {
            version: Some(b"2025-06-18"),
            ..Claims::default()
        };
        group.bench_function(format!("{name}: its decision"), |b| {
            b.iter(|| engine.decide(&caller, black_box(body.as_bytes()), Some(&claims), NOW));
        });
    }
    group.finish();
}

criterion_group!(benches, http1);
criterion_main!(benches);
