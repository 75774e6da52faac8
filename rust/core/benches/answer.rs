//! What it costs to pass an answer on: a short document, and one event of a stream.
//!
//! `cargo bench --bench answer`. A server's bytes go in and a client's come out, head and framing included; the
//! policy hides nothing, or something that is not there.
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

use criterion::{Criterion, criterion_group, criterion_main};
use gateway_core::engine::{Engine, Options};
use gateway_core::http1::{Answering, Asked, State};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;

const DONE: State = State::Done { reusable: true };

fn engine(policy: &str) -> Engine {
    let policy = PolicySet::parse(policy.as_bytes(), "bench.json").expect("compiles");
    let table = LimitTable::anonymous(16).expect("memory");
    Engine::new(Arc::new(policy), Arc::new(table), Options::default())
}

fn asked() -> Asked {
    Asked {
        id: Some(b"42".as_slice().into()),
        legacy: true,
        session: Some(b"0123456789abcdef0123456789abcdef".as_slice().into()),
        told: b"ratelimit-policy: \"calls\";q=100;w=60\r\nratelimit: \"calls\";r=99;t=60\r\n"
            .to_vec(),
    }
}

/// A tool's result of 290 bytes, about one call's worth of prose.
fn result() -> String {
    let result = |text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":42,"result":{{"content":[{{"type":"text","text":"{text}"}}],"structuredContent":{{"jobs":[1,2,3],"next":null}},"isError":false}}}}"#
        )
    };
    let bare = result("").len();
    result(&"x".repeat(290 - bare))
}

fn head(kind: &str, framing: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\ncontent-type: {kind}\r\n\
         cache-control: no-cache\r\nmcp-session-id: 0123456789abcdef0123456789abcdef\r\n{framing}\r\n\r\n"
    )
}

fn documents(c: &mut Criterion) {
    let body = result();
    assert_eq!(body.len(), 290);
    let head = head("application/json", "content-length: 290");
    let answer = format!("{head}{body}").into_bytes();
    let mut group = c.benchmark_group("document of 290 bytes");
    for (name, policy) in [
        ("plain", r#"{"version":"1","default":"allow"}"#),
        (
            "filtered",
            r#"{"version":"1","default":"allow","hide":["x"]}"#,
        ),
    ] {
        let engine = engine(policy);
        let mut out = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                asked,
                |asked| {
                    out.clear();
                    let mut answering = Answering::new(asked);
                    let step = answering.feed(&engine, black_box(&answer), &mut out);
                    assert_eq!(step.state, DONE);
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn events(c: &mut Criterion) {
    let note = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#;
    let event = format!("event: message\r\ndata: {note}\r\n\r\n");
    let piece = format!("{:x}\r\n{event}\r\n", event.len()).into_bytes();
    let head = head("text/event-stream", "transfer-encoding: chunked");
    let mut group = c.benchmark_group("event of 116 bytes");
    for (name, policy) in [
        ("plain", r#"{"version":"1","default":"allow"}"#),
        (
            "filtered",
            r#"{"version":"1","default":"allow","hide":["x"]}"#,
        ),
    ] {
        let engine = engine(policy);
        let mut out = Vec::new();
        let mut answering = Answering::new(asked());
        answering.feed(&engine, head.as_bytes(), &mut out);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                answering.feed(&engine, black_box(&piece), &mut out).state
            });
        });
        assert!(out.ends_with(&piece));
    }
    group.finish();
}

criterion_group!(benches, documents, events);
criterion_main!(benches);
