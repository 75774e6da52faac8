//! What it costs to read one message, from bytes to its parts; and, for scale, larger bodies by the megabyte.
//!
//! `cargo bench --bench scan`. Figures are of one core and one warm index, as a worker has them.
#![expect(
    missing_docs,
    reason = "the macros below make public items without docs"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on may panic"
)]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_core::json::{Bounds, Index, Value};
use gateway_core::message;

/// A call of 330 bytes as a current client writes it.
const CALL: &str = concat!(
    r#"{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{"name":"submit_proposal","arguments":"#,
    r#"{"job_id":"~01","bid":250.5,"cover":"Hello"},"_meta":{"progressToken":42,"#,
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientCapabilities":{},"#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"x","v":"1"}}}}"#
);
const _: () = assert!(CALL.len() == 330);

fn call(c: &mut Criterion) {
    let bounds = Bounds::default();
    let mut index = Index::default();
    let mut group = c.benchmark_group("call of 330 bytes");
    group.throughput(Throughput::Bytes(CALL.len() as u64));
    group.bench_function("scan", |b| {
        b.iter(|| {
            index
                .scan(black_box(CALL.as_bytes()), &bounds)
                .map(Value::end)
        });
    });
    group.bench_function("scan and read", |b| {
        b.iter(|| {
            let value = index.scan(black_box(CALL.as_bytes()), &bounds).unwrap();
            message::read(value).is_ok()
        });
    });
    group.finish();
}

fn bodies(c: &mut Criterion) {
    let mut text = String::new();
    let mut escaped = String::new();
    let mut keys = String::new();
    let mut alike = String::new();
    for n in 0..9_999 {
        let _ = write!(text, "plain prose of a longer argument, number {n}; ");
        let _ = write!(escaped, r"line {n}\nwith \u00e9scapes\t");
        let _ = write!(keys, r#""key_{n}":{n},"#);
        let _ = write!(alike, r#""prefix--{n:06}--suffix":{n},"#);
    }
    let bounds = Bounds::default();
    let mut index = Index::default();
    let mut group = c.benchmark_group("large body");
    for (name, body) in [
        ("text", format!("[\"{text}\"]")),
        ("escapes", format!("[\"{escaped}\"]")),
        ("digits", format!("[{}0]", "0,".repeat(250_000))),
        ("keys of one object", format!("{{{keys}\"last\":0}}")),
        (
            "keys that share a fingerprint",
            format!("{{{alike}\"last\":0}}"),
        ),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                index
                    .scan(black_box(body.as_bytes()), &bounds)
                    .map(Value::end)
                    .unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, call, bodies);
criterion_main!(benches);
