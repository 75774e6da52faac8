//! What the tests of the limit table share.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]
#![allow(missing_docs, reason = "the names say it")]
#![allow(dead_code, reason = "each test file uses its part")]

use gateway_core::limit::{Algorithm, Charge, Counting, LimitTable, Reading, Reservation, Verdict};
use gateway_core::time::Nanos;
use smallvec::SmallVec;

pub const SECOND: u64 = Nanos::SECOND;
pub const MINUTE: u64 = 60 * SECOND;
pub const DAY: u64 = 86_400 * SECOND;

/// An enforced limit at a cost of one.
pub fn charge(table: &LimitTable, name: &str, algorithm: Algorithm, max: u64) -> Charge<'static> {
    let key = table.key(&[name.as_bytes()]);
    Charge {
        key,
        counting: Box::leak(Box::new(Counting::by(algorithm))),
        cost: 1,
        max: Some(max),
        shadow_max: None,
        label: 0,
    }
}

/// A limit in shadow mode at a cost of one.
pub fn shadow(table: &LimitTable, name: &str, algorithm: Algorithm, max: u64) -> Charge<'static> {
    Charge {
        max: None,
        shadow_max: Some(max),
        ..charge(table, name, algorithm, max)
    }
}

pub fn reserve(table: &LimitTable, charges: &[Charge<'_>], now: Nanos) -> (Verdict, Vec<Reading>) {
    let mut readings = SmallVec::new();
    let verdict = table.reserve(charges, now, &mut readings);
    (verdict, readings.to_vec())
}

pub fn try_reserve(table: &LimitTable, charges: &[Charge<'_>], now: Nanos) -> Option<Reservation> {
    match reserve(table, charges, now).0 {
        Verdict::Admitted(reservation) => Some(reservation),
        _ => None,
    }
}

pub fn admitted(table: &LimitTable, charges: &[Charge<'_>], now: Nanos) -> bool {
    try_reserve(table, charges, now).is_some()
}

pub fn look(table: &LimitTable, charge: &Charge<'_>, now: Nanos) -> Reading {
    table.peek(charge, now).expect("a table in use")
}
