//! Sessions in the limit table: a slot each, among those of what is counted.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod limits_support;

use gateway_core::limit::{Algorithm, BindError, Binding, EPOCH, LimitTable, Window};
use limits_support::{DAY, MINUTE, SECOND, admitted, charge};

const PER_MINUTE: Algorithm = Algorithm::Fixed(Window::Span(MINUTE));

fn table() -> LimitTable {
    LimitTable::anonymous(1024).expect("memory for a table")
}

#[test]
fn entries_name_what_is_counted() {
    let table = table();
    let mut limit = charge(&table, "calls", PER_MINUTE, 9);
    limit.label = 7;
    assert!(admitted(&table, &[limit], EPOCH));
    table
        .bind(table.key(&[b"session"]), 1, 2, EPOCH, DAY)
        .expect("room");
    let entries: Vec<_> = table.entries(EPOCH).collect();
    assert_eq!(entries.len(), 1, "bindings are nobody's business");
    assert_eq!(
        (entries[0].label, entries[0].algorithm, entries[0].used),
        (7, PER_MINUTE, 1)
    );
    assert_eq!(table.used(), 2);
}

#[test]
fn a_session_belongs_to_whoever_bound_it_until_it_lapses() {
    let table = table();
    let key = table.key(&[b"session", b"abc"]);
    let now = EPOCH.plus(DAY);
    assert_eq!(table.owner(key, now), None);
    table.bind(key, 1, 10, now, MINUTE).expect("free");
    assert_eq!(
        table.bind(key, 2, 20, now.plus(SECOND), MINUTE),
        Err(BindError::Taken)
    );
    assert_eq!(
        table.owner(key, now.plus(SECOND)),
        Some(Binding {
            owner: 1,
            payload: 10
        })
    );
    // Being asked for counts as being seen.
    assert_eq!(
        table.owner(key, now.plus(MINUTE)),
        Some(Binding {
            owner: 1,
            payload: 10
        })
    );
    table
        .bind(key, 1, 11, now.plus(2 * MINUTE - 1), MINUTE)
        .expect("its own");
    assert_eq!(table.evict_idle(now.plus(3 * MINUTE - 2)), 0);
    assert_eq!(table.owner(key, now.plus(3 * MINUTE - 1)), None);
    table
        .bind(key, 2, 20, now.plus(3 * MINUTE - 1), MINUTE)
        .expect("lapsed");
    assert_eq!(
        table.owner(key, now.plus(3 * MINUTE)),
        Some(Binding {
            owner: 2,
            payload: 20
        })
    );
    table.unbind(key);
    assert_eq!(table.owner(key, now.plus(3 * MINUTE)), None);
    table
        .bind(key, 3, 30, now.plus(3 * MINUTE), MINUTE)
        .expect("given up");
    assert_eq!(table.used(), 1);
    let limit = charge(&table, "calls", PER_MINUTE, 1);
    assert!(admitted(&table, &[limit], now));
    assert_eq!(
        table.bind(limit.key, 1, 1, now, 1),
        Err(BindError::Unavailable)
    );
}
