//! A call that needs several slots of a full table: one of its keys never takes another's place.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod limits_support;

use gateway_core::limit::{Algorithm, Charge, EPOCH, LimitTable, Verdict, Window};
use gateway_core::time::Nanos;
use limits_support::{DAY, MINUTE, admitted, charge, look, reserve, shadow};

const PER_MINUTE: Algorithm = Algorithm::Fixed(Window::Span(MINUTE));
const PER_DAY: Algorithm = Algorithm::Fixed(Window::Span(DAY));

fn table(slots: usize) -> LimitTable {
    LimitTable::anonymous(slots).expect("memory for a table")
}

/// A table of which all slots but `idle` count something at the instant that comes with it.
fn all_but(idle: usize) -> (LimitTable, Nanos) {
    let table = table(64);
    for n in 0..64 {
        let algorithm = if n < idle { PER_MINUTE } else { PER_DAY };
        let limit = charge(&table, &format!("before {n}"), algorithm, 1);
        assert!(admitted(&table, &[limit], EPOCH));
    }
    (table, EPOCH.plus(MINUTE))
}

fn new_keys<const N: usize>(table: &LimitTable) -> [Charge<'static>; N] {
    std::array::from_fn(|n| charge(table, &format!("new {n}"), PER_MINUTE, 1))
}

#[test]
fn a_lone_caller_is_not_contended_by_itself() {
    let table = table(16);
    for round in 0..1_000_u64 {
        let limits = [PER_MINUTE, Algorithm::Sliding(MINUTE), PER_MINUTE]
            .map(|algorithm| (algorithm, format!("{algorithm:?} of {round}")));
        let [first, second, mut third] =
            limits.map(|(algorithm, name)| charge(&table, &name, algorithm, 1));
        third.key = table.key(&[b"third", &round.to_le_bytes()]);
        let now = EPOCH.plus(round * 2 * MINUTE);
        let (verdict, _) = reserve(&table, &[first, second, third], now);
        assert!(
            matches!(verdict, Verdict::Admitted(_)),
            "{verdict:?} in round {round}"
        );
    }
    assert!(table.stats().evictions > 2_900, "every round makes room");
}

#[test]
fn a_table_without_room_for_all_of_a_call_is_full() {
    let (table, now) = all_but(2);
    let limits: [_; 3] = new_keys(&table);
    let (verdict, _) = reserve(&table, &limits, now);
    assert!(matches!(verdict, Verdict::TableFull), "{verdict:?}");
    assert!(admitted(&table, &limits[..2], now));
}

#[test]
fn a_shadow_limit_gives_its_slot_up_for_an_enforced_one() {
    for found in [false, true] {
        let (table, now) = all_but(1);
        let [enforced] = new_keys(&table);
        let tried_out = shadow(&table, "tried out", PER_MINUTE, 1);
        if found {
            assert!(admitted(&table, &[tried_out], now));
        }
        // Now or a window later, the only slot that counts nothing is the shadow limit's.
        let now = if found { now.plus(MINUTE) } else { now };
        let (verdict, _) = reserve(&table, &[tried_out, enforced], now);
        assert!(matches!(verdict, Verdict::Admitted(_)), "{verdict:?}");
        assert_eq!(look(&table, &enforced, now).remaining, 0);
        assert_eq!(look(&table, &tried_out, now).remaining, 1, "not counted");
    }
}
