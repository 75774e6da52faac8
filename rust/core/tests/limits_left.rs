//! What an admission says is left, and how slow a bucket may be.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod limits_support;

use gateway_core::limit::{Algorithm, EPOCH, LimitTable, Verdict, Window};
use gateway_core::time::Nanos;
use limits_support::{DAY, MINUTE, charge, look, reserve};

const SECOND: u64 = Nanos::SECOND;

fn table() -> LimitTable {
    LimitTable::anonymous(64).expect("memory for a table")
}

#[test]
fn an_admission_says_what_is_left_of_the_window() {
    let table = table();
    for algorithm in [
        Algorithm::Fixed(Window::Span(MINUTE)),
        Algorithm::Sliding(7 * SECOND),
    ] {
        let limit = charge(&table, &format!("{algorithm:?}"), algorithm, 5);
        // In the next second the sliding window begins another part; what was used before counts all the same.
        for (left, offset) in [(4, 0), (3, 0), (2, SECOND), (1, SECOND)] {
            let (_, readings) = reserve(&table, &[limit], EPOCH.plus(DAY + offset));
            assert_eq!(readings[0].remaining, left, "{algorithm:?}");
        }
    }
}

#[test]
fn a_bucket_may_take_two_years_to_fill_and_no_longer() {
    let table = table();
    let bucket = |interval_ns| Algorithm::Bucket {
        window_ns: 730 * DAY,
        interval_ns,
        burst: 2,
    };
    let slow = charge(&table, "slow", bucket(365 * DAY), 2);
    let (_, readings) = reserve(&table, &[slow], EPOCH.plus(DAY));
    assert_eq!((readings[0].refused, readings[0].remaining), (false, 1));
    let slower = charge(&table, "slower", bucket(365 * DAY + 1), 2);
    let (verdict, _) = reserve(&table, &[slower], EPOCH.plus(DAY));
    assert!(matches!(verdict, Verdict::Unavailable), "{verdict:?}");
}

#[test]
fn a_sliding_window_in_which_nothing_was_used_has_nothing_to_regain() {
    let table = table();
    let limit = charge(&table, "limit", Algorithm::Sliding(8 * SECOND), 5);
    let now = EPOCH.plus(DAY);
    assert_eq!(look(&table, &limit, now).reset_ns, 0);
    reserve(&table, &[limit], now);
    assert!(look(&table, &limit, now).reset_ns >= 8 * SECOND);
}
