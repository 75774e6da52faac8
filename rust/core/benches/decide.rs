//! What one decision costs, by the size of the policy: it should not depend on it.

#![expect(
    missing_docs,
    reason = "a macro of criterion makes an undocumented function"
)]
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up must stop"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gateway_core::caller::Caller;
use gateway_core::engine::{Engine, Options};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;
use gateway_core::time::Nanos;

const NOW: Nanos = Nanos(1_772_445_605 * Nanos::SECOND);

/// A tools/call of 330 bytes for the last of the policy's tools.
fn body(tool: &str) -> Vec<u8> {
    let call = |cover: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"job_url":"https://example.com/jobs/0123456789","bid":120.5,"answers":["yes","no",3],"cover_letter":"{cover}"}},"_meta":{{"progressToken":7}}}}}}"#
        )
    };
    let bare = call("").len();
    call(&"x".repeat(330 - bare)).into_bytes()
}

/// `tools` tools, each under three limits of its own window.
fn engine(tools: usize) -> Engine {
    let mut document = String::from(
        r#"{"version":"1","default":"deny","all_tools":{"limits":[
            {"counter":"a","window":"minute","max":2000000000},
            {"counter":"b","window":"hour","max":2000000000}]},"tools":{"#,
    );
    for i in 0..tools {
        let comma = if i == 0 { "" } else { "," };
        let limit = format!(r#"{{"counter":"c{i}","window":"day","max":2000000000}}"#);
        let _ = write!(document, r#"{comma}"tool_{i}":{{"limits":[{limit}]}}"#);
    }
    document.push_str("}}");
    let policy = PolicySet::parse(document.as_bytes(), "bench.json").expect("compiles");
    let table = LimitTable::anonymous(1 << 15).expect("memory");
    Engine::new(Arc::new(policy), Arc::new(table), Options::default())
}

fn decide(c: &mut Criterion) {
    let caller = Caller::new("bench".into(), "upwork".into(), None, None);
    let mut group = c.benchmark_group("decide");
    for tools in [10, 100, 1_000, 10_000] {
        let engine = engine(tools);
        let allowed = body(&format!("tool_{}", tools - 1));
        assert_eq!(allowed.len(), 330);
        assert!(engine.decide(&caller, &allowed, None, NOW).allowed);
        group.bench_function(BenchmarkId::new("allowed, 3 limits", tools), |b| {
            b.iter(|| engine.decide(&caller, black_box(&allowed), None, NOW));
        });
        let denied = body("tool_x");
        group.bench_function(BenchmarkId::new("default-deny", tools), |b| {
            b.iter(|| engine.decide(&caller, black_box(&denied), None, NOW));
        });
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
