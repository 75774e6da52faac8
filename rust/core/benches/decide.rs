//! What one decision costs, by the size of the policy and by the quotas that others have in the table: it should
//! depend on neither.

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
use gateway_core::limit::{Algorithm, Charge, Counting, LimitTable, Verdict, Window};
use gateway_core::policy::PolicySet;
use gateway_core::time::Nanos;
use smallvec::SmallVec;

const NOW: Nanos = Nanos(1_772_445_605 * Nanos::SECOND);

/// Slots of a table in which little else is counted.
const SLOTS: usize = 1 << 15;

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
fn engine(tools: usize, slots: usize) -> Engine {
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
    let table = LimitTable::anonymous(slots).expect("memory");
    Engine::new(Arc::new(policy), Arc::new(table), Options::default())
}

fn decide(c: &mut Criterion) {
    let caller = Caller::new("bench".into(), "upwork".into(), None, None);
    let mut group = c.benchmark_group("decide");
    for tools in [10, 100, 1_000, 10_000] {
        let engine = engine(tools, SLOTS);
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

/// Gives others this many quotas in an engine's table.
fn fill(engine: &Engine, quotas: usize) {
    let day = Counting::by(Algorithm::Fixed(Window::Span(86_400 * Nanos::SECOND)));
    for other in 0..quotas {
        let charge = Charge {
            key: engine.table().key(&[b"other", &other.to_le_bytes()]),
            counting: &day,
            cost: 1,
            max: Some(1),
            shadow_max: None,
            label: 0,
        };
        let verdict = engine.table().reserve(&[charge], NOW, &mut SmallVec::new());
        assert!(matches!(verdict, Verdict::Admitted(_)));
    }
}

fn beside_live_quotas(c: &mut Criterion) {
    let caller = Caller::new("bench".into(), "upwork".into(), None, None);
    let allowed = body("tool_99");
    let mut group = c.benchmark_group("decide beside live quotas");
    for quotas in [1_usize, 1_000, 100_000, 1_000_000] {
        let engine = engine(100, (2 * quotas).next_power_of_two().max(SLOTS));
        fill(&engine, quotas);
        group.bench_function(BenchmarkId::new("allowed, 3 limits", quotas), |b| {
            b.iter(|| engine.decide(&caller, black_box(&allowed), None, NOW));
        });
    }
    group.finish();
}

criterion_group!(benches, decide, beside_live_quotas);
criterion_main!(benches);
