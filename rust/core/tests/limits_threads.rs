//! Many threads on one table: the sums are exact, whoever wins.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod limits_support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use gateway_core::limit::{Algorithm, Charge, EPOCH, LimitTable, Release, Verdict, Window};
use limits_support::{DAY, MINUTE, SECOND, admitted, charge, look, reserve, try_reserve};

const THREADS: usize = 8;

/// Runs `work` in many threads at once, and gives what each returned.
fn together<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    })
}

/// Calls one limit while a shared clock runs; by the end of the window that each answer named: admitted, refused.
fn run(
    table: &LimitTable,
    limit: Charge<'_>,
    calls: u64,
    tick_ns: u64,
) -> BTreeMap<u64, (u64, u64)> {
    let clock = AtomicU64::new(EPOCH.0);
    let parts = together(|_| {
        let mut windows = BTreeMap::<u64, (u64, u64)>::new();
        for _ in 0..calls {
            // ORDERING: Relaxed; the clock is only a number that grows.
            let now = gateway_core::time::Nanos(clock.fetch_add(tick_ns, Ordering::Relaxed));
            let (verdict, readings) = reserve(table, &[limit], now);
            let window = windows
                .entry(now.0 + readings.first().map_or(0, |reading| reading.reset_ns))
                .or_default();
            match verdict {
                Verdict::Admitted(_) => window.0 += 1,
                Verdict::Refused => window.1 += 1,
                other => assert!(matches!(other, Verdict::Contended), "{other:?}"),
            }
        }
        windows
    });
    let mut all = BTreeMap::<u64, (u64, u64)>::new();
    for (window, (admitted, refused)) in parts.into_iter().flatten() {
        let sum = all.entry(window).or_default();
        *sum = (sum.0 + admitted, sum.1 + refused);
    }
    all
}

#[test]
fn a_fixed_window_admits_exactly_its_max() {
    let table = LimitTable::anonymous(64).expect("memory for a table");
    let width = SECOND;
    let limit = charge(&table, "calls", Algorithm::Fixed(Window::Span(width)), 100);
    // 400 calls a window, 200 windows.
    let windows = run(&table, limit, 10_000, width / 400);
    assert!(windows.len() >= 200);
    for (end, (admitted, refused)) in windows {
        assert!(
            admitted <= 100,
            "{admitted} admitted in the window that ends at {end}"
        );
        assert!(
            refused == 0 || admitted == 100,
            "{refused} refused though {admitted} were admitted"
        );
    }
}

#[test]
fn a_sliding_window_admits_at_most_its_max_in_any_eight_sub_windows() {
    let table = LimitTable::anonymous(64).expect("memory for a table");
    let limit = charge(&table, "calls", Algorithm::Sliding(7 * SECOND), 100);
    let windows = run(&table, limit, 10_000, SECOND / 40);
    let admitted: Vec<_> = windows
        .iter()
        .map(|(end, (admitted, _))| (*end, *admitted))
        .collect();
    for (end, _) in &admitted {
        let span = end.saturating_sub(7 * SECOND)..=*end;
        let sum: u64 = admitted
            .iter()
            .filter(|(other, _)| span.contains(other))
            .map(|(_, admitted)| admitted)
            .sum();
        assert!(
            sum <= 100,
            "{sum} admitted in the eight sub-windows up to {end}"
        );
    }
    assert!(admitted.iter().map(|(_, admitted)| admitted).sum::<u64>() >= 100 * (2_000 / 8 - 1));
}

#[test]
fn a_bucket_admits_its_burst_and_its_rate() {
    let table = LimitTable::anonymous(64).expect("memory for a table");
    let bucket = Algorithm::Bucket {
        window_ns: MINUTE,
        interval_ns: SECOND,
        burst: 20,
    };
    let limit = charge(&table, "calls", bucket, 80);
    let admitted: u64 = run(&table, limit, 5_000, SECOND / 10)
        .values()
        .map(|(admitted, _)| admitted)
        .sum();
    let seconds = THREADS as u64 * 5_000 / 10;
    assert!(
        (seconds..=seconds + 20).contains(&admitted),
        "{admitted} in {seconds} s"
    );
}

#[test]
fn running_calls_stay_within_their_max() {
    let table = LimitTable::anonymous(64).expect("memory for a table");
    let limit = charge(&table, "running", Algorithm::Concurrency, 3);
    let (running, most) = (AtomicI64::new(0), AtomicI64::new(0));
    together(|_| {
        for _ in 0..5_000 {
            if let Some(call) = try_reserve(&table, &[limit], EPOCH) {
                // ORDERING: SeqCst; the counter must not leave the time between taking and freeing.
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                running.fetch_sub(1, Ordering::SeqCst);
                table.release(&call, Release::Finish, EPOCH);
            }
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!(look(&table, &limit, EPOCH).remaining, 3, "all are freed");
}

#[test]
fn give_backs_and_refusals_leave_no_trace() {
    let table = LimitTable::anonymous(64).expect("memory for a table");
    let day = Algorithm::Fixed(Window::Span(DAY));
    let limits: Vec<_> = (0..4)
        .map(|n| {
            charge(
                &table,
                &n.to_string(),
                if n % 2 == 0 {
                    day
                } else {
                    Algorithm::Sliding(DAY)
                },
                5 + n,
            )
        })
        .collect();
    let kept: u64 = together(|thread| {
        let mut kept = 0;
        for round in 0..3_000 {
            let order = [limits[thread % 4], limits[(thread + 1 + round % 3) % 4]];
            if let Some(call) = try_reserve(&table, &order, EPOCH) {
                table.release(&call, Release::GiveBack, EPOCH);
            }
        }
        kept += u64::from(admitted(&table, &limits[..1], EPOCH));
        kept
    })
    .into_iter()
    .sum();
    assert_eq!(look(&table, &limits[0], EPOCH).remaining, 5 - kept);
    for limit in &limits[1..] {
        assert_eq!(Some(look(&table, limit, EPOCH).remaining), limit.max);
    }
}

#[test]
fn evictions_forgive_no_live_limit() {
    let table = LimitTable::anonymous(16).expect("memory for a table");
    let clock = AtomicU64::new(EPOCH.0);
    let per_second = Algorithm::Fixed(Window::Span(SECOND));
    let limits: Vec<_> = (0..48)
        .map(|n| charge(&table, &n.to_string(), per_second, 2))
        .collect();
    let parts = together(|thread| {
        let mut windows = BTreeMap::<(usize, u64), u64>::new();
        for round in 0..8_000 {
            let which = (round * 7 + thread * 5) % limits.len();
            // ORDERING: Relaxed; the clock is only a number that grows.
            let now = gateway_core::time::Nanos(clock.fetch_add(5_000_000, Ordering::Relaxed));
            let (verdict, readings) = reserve(&table, &limits[which..=which], now);
            if matches!(verdict, Verdict::Admitted(_)) {
                *windows
                    .entry((which, now.0 + readings[0].reset_ns))
                    .or_default() += 1;
            }
            if round % 500 == 0 {
                table.evict_idle(now);
            }
        }
        windows
    });
    let mut all = BTreeMap::<(usize, u64), u64>::new();
    for (window, admitted) in parts.into_iter().flatten() {
        *all.entry(window).or_default() += admitted;
    }
    assert!(table.stats().evictions > 100);
    assert_eq!(all.iter().find(|(_, admitted)| **admitted > 2), None);
    let keys: std::collections::HashSet<_> = table
        .entries(EPOCH)
        .map(|entry| entry.fingerprint)
        .collect();
    assert_eq!(keys.len(), table.used(), "a key has one slot");
}
