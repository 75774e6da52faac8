//! The limit table through its public surface: verdicts, readings, waits, give-backs, room for keys.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod limits_support;

use gateway_core::limit::{
    Algorithm, Counting, EPOCH, HORIZON, LimitTable, Release, Verdict, Window, count_capacity,
};
use gateway_core::time::Nanos;
use limits_support::{DAY, MINUTE, SECOND, admitted, charge, look, reserve, shadow, try_reserve};

const PER_MINUTE: Algorithm = Algorithm::Fixed(Window::Span(MINUTE));
const BUCKET: Algorithm = Algorithm::Bucket {
    window_ns: 60 * SECOND,
    interval_ns: 10 * SECOND,
    burst: 3,
};

fn table() -> LimitTable {
    LimitTable::anonymous(1024).expect("memory for a table")
}

#[test]
fn a_fixed_window_admits_its_max_and_says_when_it_opens() {
    let table = table();
    let now = EPOCH.plus(10 * MINUTE + 20 * SECOND);
    let limit = charge(&table, "calls", PER_MINUTE, 3);
    for left in [2, 1, 0] {
        let (verdict, readings) = reserve(&table, &[limit], now);
        assert!(matches!(verdict, Verdict::Admitted(_)));
        assert_eq!(
            (readings[0].remaining, readings[0].reset_ns),
            (left, 40 * SECOND)
        );
    }
    let (verdict, readings) = reserve(&table, &[limit], now);
    assert!(matches!(verdict, Verdict::Refused));
    assert!(readings[0].refused);
    assert_eq!(
        (readings[0].remaining, readings[0].wait_ns),
        (0, Some(40 * SECOND))
    );
    assert!(!admitted(&table, &[limit], now.plus(40 * SECOND - 1)));
    assert!(admitted(&table, &[limit], now.plus(40 * SECOND)));
}

#[test]
fn a_cost_above_the_max_never_fits() {
    let table = table();
    for algorithm in [
        PER_MINUTE,
        Algorithm::Sliding(MINUTE),
        BUCKET,
        Algorithm::Concurrency,
    ] {
        let mut limit = charge(&table, &format!("{algorithm:?}"), algorithm, 3);
        limit.cost = 4;
        let (verdict, readings) = reserve(&table, &[limit], EPOCH);
        assert!(matches!(verdict, Verdict::Refused), "{algorithm:?}");
        assert_eq!(
            (readings[0].refused, readings[0].wait_ns),
            (true, None),
            "{algorithm:?}"
        );
        assert_eq!(readings[0].remaining, 3, "{algorithm:?}");
    }
    assert_eq!(table.used(), 0, "a refused call takes no slot");
}

#[test]
fn one_full_limit_leaves_the_others_as_they_were() {
    let table = table();
    let now = EPOCH.plus(7 * MINUTE);
    let narrow = charge(&table, "narrow", PER_MINUTE, 1);
    let others = [
        charge(&table, "wide", PER_MINUTE, 10),
        charge(&table, "sliding", Algorithm::Sliding(MINUTE), 10),
        charge(&table, "bucket", BUCKET, 10),
        charge(&table, "running", Algorithm::Concurrency, 10),
    ];
    assert!(admitted(&table, &[narrow], now));
    assert!(admitted(&table, &others, now));
    let before = others.map(|limit| look(&table, &limit, now));
    let call = [others[0], others[1], narrow, others[2], others[3]];
    let (verdict, readings) = reserve(&table, &call, now);
    assert!(matches!(verdict, Verdict::Refused));
    assert_eq!(
        readings
            .iter()
            .map(|reading| reading.refused)
            .collect::<Vec<_>>(),
        [false, false, true, false, false]
    );
    assert_eq!(others.map(|limit| look(&table, &limit, now)), before);
}

#[test]
fn a_sliding_window_never_holds_more_than_max_and_waits_exactly() {
    let table = table();
    let limit = charge(&table, "calls", Algorithm::Sliding(7 * SECOND), 5);
    let start = EPOCH.plus(100 * SECOND);
    // Two in sub-window 100, three in 103: the wait is for the two to leave.
    for offset in [0, 1, 3 * SECOND, 3 * SECOND + 5, 4 * SECOND - 1] {
        assert!(admitted(&table, &[limit], start.plus(offset)));
    }
    let now = start.plus(5 * SECOND);
    let (_, readings) = reserve(&table, &[limit], now);
    assert_eq!(readings[0].wait_ns, Some(3 * SECOND));
    assert!(!admitted(&table, &[limit], now.plus(3 * SECOND - 1)));
    let mut three = limit;
    three.cost = 3;
    let (_, readings) = reserve(&table, &[three], now);
    assert_eq!(readings[0].wait_ns, Some(6 * SECOND));
    assert!(admitted(&table, &[limit], now.plus(3 * SECOND)));
}

#[test]
fn a_bucket_refills_one_unit_an_interval() {
    let table = table();
    let limit = charge(&table, "calls", BUCKET, 9);
    let now = EPOCH.plus(DAY);
    for left in [2, 1, 0] {
        let (_, readings) = reserve(&table, &[limit], now);
        assert_eq!((readings[0].refused, readings[0].remaining), (false, left));
    }
    let (_, readings) = reserve(&table, &[limit], now.plus(3));
    assert_eq!(
        (readings[0].refused, readings[0].wait_ns),
        (true, Some(10 * SECOND - 3))
    );
    assert_eq!(readings[0].reset_ns, 30 * SECOND - 3);
    assert!(!admitted(&table, &[limit], now.plus(10 * SECOND - 1)));
    assert!(admitted(&table, &[limit], now.plus(10 * SECOND)));
}

#[test]
fn running_calls_are_freed_when_they_end_and_only_then() {
    let table = table();
    let limit = charge(&table, "running", Algorithm::Concurrency, 2);
    let first = try_reserve(&table, &[limit], EPOCH).expect("room for one");
    let second = try_reserve(&table, &[limit], EPOCH).expect("room for two");
    let (verdict, readings) = reserve(&table, &[limit], EPOCH.plus(DAY));
    assert!(matches!(verdict, Verdict::Refused));
    assert_eq!((readings[0].remaining, readings[0].wait_ns), (0, None));
    // Looking on takes nobody for dead.
    assert!(look(&table, &limit, EPOCH).refused);
    assert_eq!(table.evict_idle(EPOCH), 0);
    assert!(!admitted(&table, &[limit], EPOCH));
    table.release(&first, Release::Finish, EPOCH);
    assert!(look(&table, &limit, EPOCH).wait_ns == Some(0));
    table.release(&second, Release::GiveBack, EPOCH);
    assert_eq!(look(&table, &limit, EPOCH).remaining, 2);
}

#[test]
fn a_give_back_reaches_its_own_window_only() {
    let table = table();
    for algorithm in [PER_MINUTE, Algorithm::Sliding(7 * SECOND)] {
        let limit = charge(&table, &format!("{algorithm:?}"), algorithm, 2);
        let early = try_reserve(&table, &[limit], EPOCH.plus(MINUTE)).expect("room");
        let now = EPOCH.plus(3 * MINUTE);
        let late = try_reserve(&table, &[limit], now).expect("room");
        table.release(&early, Release::GiveBack, now);
        assert_eq!(look(&table, &limit, now).remaining, 1, "{algorithm:?}");
        table.release(&late, Release::GiveBack, now);
        assert_eq!(look(&table, &limit, now).remaining, 2, "{algorithm:?}");
    }
}

#[test]
fn a_finished_call_stays_counted() {
    let table = table();
    let limit = charge(&table, "calls", PER_MINUTE, 2);
    let call = try_reserve(&table, &[limit], EPOCH).expect("room");
    table.release(&call, Release::Finish, EPOCH);
    assert_eq!(look(&table, &limit, EPOCH).remaining, 1);
}

#[test]
fn a_bucket_takes_back_only_what_cannot_have_been_regained() {
    let table = table();
    let limit = charge(&table, "calls", BUCKET, 9);
    let now = EPOCH.plus(DAY);
    let call = try_reserve(&table, &[limit], now).expect("room");
    table.release(&call, Release::GiveBack, now);
    assert_eq!(look(&table, &limit, now).reset_ns, 0, "at once: all of it");
    let call = try_reserve(&table, &[limit], now).expect("room");
    assert!(admitted(&table, &[limit], now.plus(4 * SECOND)));
    table.release(&call, Release::GiveBack, now.plus(4 * SECOND));
    // 20 s of debt, 4 s passed; of the first 10 s, 6 s can go back.
    assert_eq!(
        look(&table, &limit, now.plus(4 * SECOND)).reset_ns,
        10 * SECOND
    );
}

#[test]
fn a_clock_that_steps_back_reopens_nothing() {
    let table = table();
    let now = EPOCH.plus(90 * DAY);
    for algorithm in [
        PER_MINUTE,
        Algorithm::Sliding(MINUTE),
        BUCKET,
        Algorithm::Fixed(Window::Month),
    ] {
        let limit = charge(&table, &format!("{algorithm:?}"), algorithm, 3);
        for _ in 0..3 {
            assert!(admitted(&table, &[limit], now));
        }
        for back in [1, SECOND, MINUTE, DAY, 80 * DAY] {
            assert!(
                !admitted(&table, &[limit], Nanos(now.0 - back)),
                "{algorithm:?} {back}"
            );
        }
        let wait = look(&table, &limit, Nanos(now.0 - DAY))
            .wait_ns
            .expect("it opens in time");
        assert!(
            !admitted(&table, &[limit], Nanos(now.0 - DAY + wait - 1)),
            "{algorithm:?}"
        );
        assert!(
            admitted(&table, &[limit], Nanos(now.0 - DAY + wait)),
            "{algorithm:?}"
        );
    }
}

#[test]
fn a_month_is_a_calendar_month() {
    let table = table();
    let limit = charge(&table, "calls", Algorithm::Fixed(Window::Month), 1);
    // 2026-02-01T00:00:00Z is 34 days after the epoch; February has 28.
    let february = EPOCH.plus(34 * DAY);
    assert!(admitted(&table, &[limit], Nanos(february.0 - 1)));
    assert!(admitted(&table, &[limit], february));
    let (_, readings) = reserve(&table, &[limit], february.plus(DAY));
    assert_eq!(readings[0].wait_ns, Some(27 * DAY));
}

#[test]
fn shadow_limits_never_refuse() {
    let table = table();
    let now = EPOCH.plus(MINUTE);
    let only_shadow = shadow(&table, "tried out", PER_MINUTE, 1);
    let mut both = charge(&table, "both", PER_MINUTE, 3);
    both.shadow_max = Some(1);
    for (shadow_refused, left) in [(false, 2), (true, 1), (true, 0)] {
        let (verdict, readings) = reserve(&table, &[only_shadow, both], now);
        assert!(matches!(verdict, Verdict::Admitted(_)));
        assert!(!readings[0].refused);
        assert_eq!(
            (readings[0].shadow_refused, readings[0].remaining),
            (shadow_refused, 0)
        );
        assert_eq!(
            (readings[1].shadow_refused, readings[1].remaining),
            (shadow_refused, left)
        );
    }
    let (verdict, _) = reserve(&table, &[only_shadow, both], now);
    assert!(matches!(verdict, Verdict::Refused));
}

#[test]
fn a_raised_or_lowered_max_keeps_the_count() {
    let table = table();
    let limit = charge(&table, "calls", PER_MINUTE, 5);
    for _ in 0..4 {
        assert!(admitted(&table, &[limit], EPOCH));
    }
    let mut lowered = limit;
    lowered.max = Some(2);
    let (_, readings) = reserve(&table, &[lowered], EPOCH);
    assert_eq!((readings[0].refused, readings[0].remaining), (true, 0));
    let mut raised = limit;
    raised.max = Some(6);
    assert_eq!(look(&table, &raised, EPOCH).remaining, 2);
}

#[test]
fn a_full_table_refuses_new_keys_and_forgives_no_live_one() {
    let table = LimitTable::anonymous(64).expect("memory for a table");
    let now = EPOCH.plus(MINUTE);
    let limits: Vec<_> = (0..200)
        .map(|n| charge(&table, &format!("key {n}"), PER_MINUTE, 1))
        .collect();
    let verdicts: Vec<_> = limits
        .iter()
        .map(|limit| reserve(&table, &[*limit], now).0)
        .collect();
    assert_eq!(
        verdicts
            .iter()
            .filter(|verdict| matches!(verdict, Verdict::Admitted(_)))
            .count(),
        64
    );
    assert_eq!(
        verdicts
            .iter()
            .filter(|verdict| matches!(verdict, Verdict::TableFull))
            .count(),
        136
    );
    assert_eq!((table.used(), table.stats().insert_refusals), (64, 136));
    for (limit, verdict) in limits.iter().zip(&verdicts) {
        let again = reserve(&table, &[*limit], now.plus(MINUTE - 1)).0;
        match verdict {
            Verdict::Admitted(_) => assert!(
                matches!(again, Verdict::Refused),
                "a live limit was forgiven"
            ),
            _ => assert!(matches!(again, Verdict::TableFull)),
        }
    }
    // A window later everything in it is idle, and new keys take over.
    let next = limits
        .iter()
        .rev()
        .filter(|limit| admitted(&table, &[**limit], now.plus(MINUTE)))
        .count();
    assert_eq!((next, table.used()), (64, 64));
    assert!(table.stats().evictions > 0);
}

#[test]
fn a_shadow_limit_without_a_slot_is_left_out() {
    let table = LimitTable::anonymous(1).expect("memory for a table");
    assert!(admitted(
        &table,
        &[charge(&table, "first", PER_MINUTE, 9)],
        EPOCH
    ));
    assert!(admitted(
        &table,
        &[shadow(&table, "second", PER_MINUTE, 9)],
        EPOCH
    ));
    let call = [
        charge(&table, "first", PER_MINUTE, 9),
        charge(&table, "third", PER_MINUTE, 9),
    ];
    assert!(matches!(
        reserve(&table, &call, EPOCH).0,
        Verdict::TableFull
    ));
    assert_eq!(look(&table, &call[0], EPOCH).remaining, 8, "all or none");
}

#[test]
fn clearing_idle_slots_changes_no_decision() {
    let table = table();
    let now = EPOCH.plus(MINUTE);
    let gone = charge(&table, "gone", PER_MINUTE, 2);
    let kept = charge(&table, "kept", Algorithm::Fixed(Window::Span(DAY)), 2);
    let running = charge(&table, "running", Algorithm::Concurrency, 2);
    let call = try_reserve(&table, &[gone, kept, running], now).expect("room");
    assert_eq!(table.evict_idle(now), 0);
    let later = now.plus(MINUTE);
    let before = [gone, kept, running].map(|limit| look(&table, &limit, later));
    assert_eq!(table.evict_idle(later), 1);
    assert_eq!(table.used(), 2);
    assert_eq!(
        [gone, kept, running].map(|limit| look(&table, &limit, later)),
        before
    );
    table.release(&call, Release::GiveBack, later);
    assert_eq!(look(&table, &gone, later).remaining, 2);
    assert_eq!(look(&table, &kept, later).remaining, 2);
    assert_eq!(table.evict_idle(later), 1, "nothing runs any more");
    assert_eq!(table.evict_idle(later.plus(2 * DAY)), 1);
    assert_eq!((table.used(), table.entries(later).count()), (0, 0));
}

#[test]
fn wild_arguments_are_refused_without_a_trace() {
    let table = table();
    let limit = charge(&table, "calls", PER_MINUTE, 1);
    assert!(matches!(
        reserve(&table, &[limit], HORIZON).0,
        Verdict::Unavailable
    ));
    assert!(matches!(
        reserve(&table, &[limit], Nanos(u64::MAX)).0,
        Verdict::Unavailable
    ));
    let narrow = charge(&table, "narrow", Algorithm::Fixed(Window::Span(1)), 1);
    assert_eq!(count_capacity(narrow.counting.algorithm()), 0);
    assert!(matches!(
        reserve(&table, &[narrow], EPOCH).0,
        Verdict::Unavailable
    ));
    assert!(
        admitted(&table, &[limit], Nanos(0)),
        "before the epoch counts as at the epoch"
    );
    let mut other = limit;
    other.counting = Box::leak(Box::new(Counting::by(Algorithm::Concurrency)));
    assert!(
        matches!(reserve(&table, &[other], EPOCH).0, Verdict::Unavailable),
        "the key counts by other rules"
    );
    assert_eq!(table.stats().clock_floor, EPOCH);
    for algorithm in [
        PER_MINUTE,
        Algorithm::Sliding(MINUTE),
        Algorithm::Concurrency,
    ] {
        let mut huge = charge(&table, &format!("huge {algorithm:?}"), algorithm, u64::MAX);
        huge.cost = count_capacity(algorithm);
        assert!(admitted(&table, &[huge], EPOCH), "{algorithm:?}");
        huge.cost = 1;
        assert!(!admitted(&table, &[huge], EPOCH), "{algorithm:?}");
    }
}

#[test]
fn keys_depend_on_where_parts_end_and_on_the_table() {
    let (table, other) = (table(), table());
    assert_ne!(table.key(&[b"ab", b"c"]), table.key(&[b"a", b"bc"]));
    assert_ne!(table.key(&[b"ab"]), table.key(&[b"ab", b""]));
    assert_eq!(table.key(&[b"ab", b"c"]), table.key(&[b"ab", b"c"]));
    assert_ne!(table.key(&[b"ab"]), other.key(&[b"ab"]));
}
