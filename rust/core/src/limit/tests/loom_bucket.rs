//! A bucket's single word, and the clock floor that a give-back relies on.

use loom::sync::Arc;
use loom::thread;

use super::super::bucket::Bucket;
use super::super::mark::Mark;
use super::super::{EPOCH, LimitTable};
use super::support::{explore, table};
use crate::sync::AtomicU64;
use crate::time::Nanos;

const SECOND: u64 = Nanos::SECOND;

fn take(table: &LimitTable, cell: &AtomicU64, t: Nanos) -> Option<(u64, Nanos)> {
    let bucket = Bucket::new(10 * SECOND, 2).unwrap();
    table.raise_floor(t);
    match bucket.take(cell, 1, t).ok()?.mark {
        Mark::Debt { debt_ns, stamp } => Some((debt_ns, stamp)),
        _ => None,
    }
}

fn debt(cell: &AtomicU64, t: Nanos) -> u64 {
    let bits = cell.load(crate::sync::Ordering::Relaxed);
    Bucket::new(1, 1).unwrap().look(0, t, bits).unwrap().used
}

#[test]
fn the_last_unit_of_a_bucket_is_taken_once() {
    explore(3, || {
        let table = table(1, 0);
        let cell = Arc::new(AtomicU64::new(0));
        assert!(take(&table, &cell, EPOCH).is_some());
        let threads = [0, SECOND].map(|later| {
            let (table, cell) = (Arc::clone(&table), Arc::clone(&cell));
            thread::spawn(move || take(&table, &cell, EPOCH.plus(later)).is_some())
        });
        assert_eq!(
            threads
                .map(|thread| thread.join().unwrap())
                .iter()
                .filter(|&&taken| taken)
                .count(),
            1
        );
    });
}

#[test]
fn a_give_back_never_forgives_what_somebody_else_took() {
    explore(3, || {
        let table = table(1, 0);
        let cell = Arc::new(AtomicU64::new(0));
        let (debt_ns, stamp) = take(&table, &cell, EPOCH).unwrap();
        let later = EPOCH.plus(9 * SECOND);
        let giver = {
            let (table, cell) = (Arc::clone(&table), Arc::clone(&cell));
            // A thread whose clock reading is as old as the reservation.
            thread::spawn(move || {
                Bucket::give_back(&cell, debt_ns, stamp, || table.floor().max(stamp))
            })
        };
        let taker = {
            let (table, cell) = (Arc::clone(&table), Arc::clone(&cell));
            thread::spawn(move || take(&table, &cell, later).unwrap())
        };
        giver.join().unwrap();
        taker.join().unwrap();
        // Had the first call never been made, the second would owe its own 10 seconds from then on.
        assert!(
            debt(&cell, later) >= 10 * SECOND,
            "the taker's debt was lowered"
        );
    });
}
