//! What happens between a call's look and its taking, one step at a time.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use super::super::tests::charge;
use super::super::{Algorithm, EPOCH, Window};
use super::*;
use crate::sync::AtomicU64;

const NOW: Nanos = EPOCH.plus(90_000 * Nanos::SECOND);
const MINUTE: Algorithm = Algorithm::Fixed(Window::Span(60 * Nanos::SECOND));

fn admitted(table: &LimitTable, charges: &[Charge<'_>]) -> bool {
    let verdict = table.reserve(charges, NOW, &mut SmallVec::new());
    matches!(verdict, Verdict::Admitted(_))
}

/// Looks at these charges, lets `others` have theirs, and then takes.
fn overtaken(
    table: &LimitTable,
    charges: &[Charge<'_>],
    others: &[Charge<'_>],
) -> (Attempt, Reservation, SmallVec<[Reading; 4]>) {
    for charge in charges {
        // So that each has a slot, and nothing is taken.
        let Verdict::Admitted(first) = table.reserve(&[*charge], NOW, &mut SmallVec::new()) else {
            continue;
        };
        table.release(&first, Release::GiveBack, NOW);
    }
    let claim = table.claim().expect("a seat");
    let mut plans: SmallVec<[Plan<'_>; 4]> = charges.iter().filter_map(Plan::of).collect();
    let mut readings: SmallVec<[Reading; 4]> = SmallVec::new();
    let t = table.present(NOW).expect("a clock");
    for plan in &mut plans {
        plan.found = table.find(plan.key);
        let look = table.look(plan, claim, t).expect("counts of ours");
        readings.push(plan.reading(&look, NOW));
        plan.ready = look.ready;
    }
    assert!(readings.iter().all(|reading| !reading.refused));
    assert!(admitted(table, others));
    let mut taken = Reservation::default();
    let attempt = {
        let _pinned = table.pin(claim).expect("a pin");
        table.take_all(
            &plans,
            claim,
            Times { now: NOW, t },
            &mut taken,
            &mut readings,
        )
    };
    (attempt, taken, readings)
}

#[test]
fn a_call_that_is_overtaken_is_refused_and_keeps_nothing() {
    // Which of the two is taken first is a matter of their places, so both ways come up.
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let table = LimitTable::anonymous(64).expect("memory");
        let running = charge(&table, "running", Algorithm::Concurrency, 1);
        let last = charge(&table, name, MINUTE, 1);
        let (attempt, taken, readings) = overtaken(&table, &[running, last], &[last]);
        assert!(matches!(attempt, Attempt::Refused), "{name}");
        assert!(readings[1].refused && taken.0.is_empty(), "{name}");
        assert!(
            admitted(&table, &[running]),
            "{name}: its seat is free again"
        );
    }
}

#[test]
fn a_limit_that_is_only_tried_out_refuses_nobody_who_is_overtaken() {
    let table = LimitTable::anonymous(64).expect("memory");
    let last = charge(&table, "last", MINUTE, 1);
    let tried = Charge {
        max: None,
        shadow_max: Some(1),
        ..last
    };
    let other = charge(&table, "other", MINUTE, 5);
    let (attempt, taken, readings) = overtaken(&table, &[tried, other], &[last]);
    assert!(matches!(attempt, Attempt::Admitted));
    assert!(readings[0].shadow_refused && !readings[1].shadow_refused);
    assert_eq!(taken.0.len(), 1);
}

#[test]
fn a_newer_window_than_the_callers_takes_the_call() {
    let Some(Rule::Windows(windows)) = Rule::of(MINUTE) else {
        panic!("a fixed window is one of these");
    };
    let ring: [AtomicU64; RING] = Default::default();
    let marks = [5, 4].map(|epoch| windows.take(&ring, 1, 2, epoch).map(|taken| taken.mark));
    for mark in marks {
        assert!(
            matches!(mark, Ok(Mark::Epoch { epoch: 5, cost: 1 })),
            "{mark:?}"
        );
    }
    assert!(windows.take(&ring, 1, 2, 4).is_err(), "and it is full");
}

#[test]
fn a_call_ends_in_its_own_generation_only() {
    let table = LimitTable::anonymous(8).expect("memory");
    let own = table.claim().expect("a seat");
    let dead = Claim {
        generation: own.generation.wrapping_sub(1),
        ..own
    };
    let ring: [AtomicU64; RING] = Default::default();
    let taken = || table.calls(own).take(&ring, 1, 9, NOW).is_ok();
    assert!(taken() && taken());
    let word = || ring[own.index()].load(Ordering::Relaxed);
    let before = word();
    assert!(!concurrency::finish(&ring, dead, 1));
    assert!(!concurrency::finish(&ring, own, 3), "more than is running");
    assert_eq!(word(), before);
    assert!(concurrency::finish(&ring, own, 2));
}

#[test]
fn beyond_all_bounds_nothing_is_read() {
    let table = LimitTable::anonymous(8).expect("memory");
    let limit = charge(&table, "limit", MINUTE, 1);
    assert!(table.peek(&limit, NOW).is_some());
    assert!(table.peek(&limit, HORIZON).is_none());
}
