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

use std::hint::black_box;

mod common;

use common::{NOW, SLOTS, body};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gateway_core::caller::Caller;
use gateway_core::engine::{Engine, Options};
use gateway_core::limit::{Algorithm, Charge, Counting, Verdict, Window};
use gateway_core::time::Nanos;
use smallvec::SmallVec;

fn decide(c: &mut Criterion) {
    let caller = Caller::new("bench".into(), "upwork".into(), None, None);
    let mut group = c.benchmark_group("decide");
    for tools in [10, 100, 1_000, 10_000] {
        let engine = common::engine(tools, SLOTS, Options::default());
        let allowed = body(&format!("tool_{}", tools - 1)).into_bytes();
        assert_eq!(allowed.len(), 330);
        assert!(engine.decide(&caller, &allowed, None, NOW).allowed);
        group.bench_function(BenchmarkId::new("allowed, 3 limits", tools), |b| {
            b.iter(|| engine.decide(&caller, black_box(&allowed), None, NOW));
        });
        let denied = body("tool_x").into_bytes();
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
    let allowed = body("tool_99").into_bytes();
    let mut group = c.benchmark_group("decide beside live quotas");
    for quotas in [1_usize, 1_000, 100_000, 1_000_000] {
        let slots = (2 * quotas).next_power_of_two().max(SLOTS);
        let engine = common::engine(100, slots, Options::default());
        fill(&engine, quotas);
        group.bench_function(BenchmarkId::new("allowed, 3 limits", quotas), |b| {
            b.iter(|| engine.decide(&caller, black_box(&allowed), None, NOW));
        });
    }
    group.finish();
}

criterion_group!(benches, decide, beside_live_quotas);
criterion_main!(benches);
