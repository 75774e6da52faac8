//! What a decision pays for its limits: warm, cold, full, and with another thread on the same counts.
#![allow(missing_docs, clippy::expect_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use gateway_core::limit::{
    Algorithm, Charge, Counting, EPOCH, LimitTable, Release, Verdict, Window,
};
use gateway_core::time::Nanos;
use smallvec::SmallVec;

const MINUTE: Algorithm = Algorithm::Fixed(Window::Span(60 * Nanos::SECOND));
const PLENTY: u64 = 1 << 33;

fn charge(table: &LimitTable, name: &str, algorithm: Algorithm, max: u64) -> Charge<'static> {
    let key = table.key(&[b"bench", name.as_bytes()]);
    Charge {
        key,
        counting: Box::leak(Box::new(Counting::by(algorithm))),
        cost: 1,
        max: Some(max),
        shadow_max: None,
        label: 0,
    }
}

fn limits(table: &LimitTable, algorithm: Algorithm, max: u64) -> Vec<Charge<'static>> {
    ["a", "b", "c"]
        .map(|name| charge(table, name, algorithm, max))
        .into()
}

fn reserve(bencher: &mut criterion::Bencher<'_>, table: &LimitTable, charges: &[Charge<'_>]) {
    let mut readings = SmallVec::new();
    let mut now = EPOCH.plus(3_600 * Nanos::SECOND);
    bencher.iter(|| {
        now = now.plus(1_000);
        let verdict = table.reserve(black_box(charges), now, &mut readings);
        if let Verdict::Admitted(reservation) = verdict {
            table.release(&reservation, Release::Finish, now);
        }
    });
}

fn one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reserve");
    let bucket = Algorithm::Bucket {
        window_ns: 60 * Nanos::SECOND,
        interval_ns: 1,
        burst: 1 << 40,
    };
    for (name, algorithm, max) in [
        ("three fixed", MINUTE, PLENTY - 1),
        ("three fixed, refused", MINUTE, 0),
        (
            "three sliding",
            Algorithm::Sliding(7 * 60 * Nanos::SECOND),
            PLENTY - 1,
        ),
        ("three buckets", bucket, PLENTY),
        ("three concurrency", Algorithm::Concurrency, 10),
        ("three months", Algorithm::Fixed(Window::Month), PLENTY),
    ] {
        let table = LimitTable::anonymous(16_384).expect("memory for a table");
        let charges = limits(&table, algorithm, max);
        group.bench_function(name, |bencher| reserve(bencher, &table, &charges));
    }
    let table = LimitTable::anonymous(16_384).expect("memory for a table");
    let one = charge(&table, "one", MINUTE, PLENTY - 1);
    group.bench_function("one fixed", |bencher| reserve(bencher, &table, &[one]));
    group.bench_function("none", |bencher| reserve(bencher, &table, &[]));
    let busy = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (charges, mut readings) = (limits(&table, MINUTE, PLENTY - 1), SmallVec::new());
            let now = EPOCH.plus(3_600 * Nanos::SECOND);
            // ORDERING: Relaxed; a flag to end by.
            while busy.load(Ordering::Relaxed) {
                let _ = black_box(table.reserve(&charges, now, &mut readings));
            }
        });
        let charges = limits(&table, MINUTE, PLENTY - 1);
        group.bench_function("three fixed, two threads", |bencher| {
            reserve(bencher, &table, &charges);
        });
        // ORDERING: Relaxed, as above.
        busy.store(false, Ordering::Relaxed);
    });
    group.finish();
}

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    let table = LimitTable::anonymous(16_384).expect("memory for a table");
    group.bench_function("key of 100 bytes", |bencher| {
        bencher.iter(|| table.key(black_box(&[&[7; 60], &[8; 40]])));
    });
    let now = EPOCH.plus(60 * Nanos::SECOND);
    let mut readings = SmallVec::new();
    let mut filled = 0;
    while filled < 20_000 {
        let _ = table.reserve(
            &[charge(&table, &format!("fill {filled}"), MINUTE, 9)],
            now,
            &mut readings,
        );
        filled += 1;
    }
    let charges: Vec<_> = (0..64)
        .map(|n| charge(&table, &format!("absent {n}"), MINUTE, 9))
        .collect();
    let mut n = 0;
    group.bench_function("new key, table full", |bencher| {
        bencher.iter(|| {
            n = (n + 1) % charges.len();
            table.reserve(&charges[n..=n], now, &mut readings)
        });
    });
    let table = LimitTable::anonymous(16_384).expect("memory for a table");
    let mut n = 0u64;
    group.bench_function("new key, window after window", |bencher| {
        bencher.iter(|| {
            n += 1;
            let limit = charge(&table, &n.to_string(), MINUTE, 9);
            table.reserve(&[limit], EPOCH.plus(n * 10_000_000), &mut readings)
        });
    });
    group.finish();
}

criterion_group!(benches, one_thread, table);
criterion_main!(benches);
