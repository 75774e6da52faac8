//! Taking a slot away from its key while others use it, or settle what they took from it.

use loom::sync::Arc;
use loom::thread;
use smallvec::SmallVec;

use super::super::{EPOCH, Release, Verdict};
use super::support::{MINUTE, explore, per, table, used};

#[test]
fn a_slot_in_use_is_not_taken_away() {
    explore(2, || {
        let table = table(1, 5 * MINUTE);
        let charge = per(MINUTE, 0, 1);
        let mut readings = SmallVec::new();
        let then = EPOCH.plus(5 * MINUTE);
        assert!(matches!(
            table.reserve(&[charge], then, &mut readings),
            Verdict::Admitted(_)
        ));
        // A minute later the slot counts nothing any more, so both the old key and a new one may have it.
        let now = then.plus(MINUTE);
        let user = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let verdict = table.reserve(&[charge], now, &mut SmallVec::new());
                matches!(verdict, Verdict::Admitted(_))
            })
        };
        let binder = {
            let table = Arc::clone(&table);
            let other = per(MINUTE, 1, 1).key;
            thread::spawn(move || table.bind(other, 1, 1, now, MINUTE).is_ok())
        };
        let (admitted, bound) = (user.join().unwrap(), binder.join().unwrap());
        assert!(!(admitted && bound), "a live slot was taken away");
        if admitted {
            assert_eq!(used(&table, &charge, now), 1, "a count was forgotten");
        }
    });
}

#[test]
fn a_late_give_back_does_not_reach_the_slots_next_key() {
    explore(2, || {
        let table = table(1, 5 * MINUTE);
        // Window number 5 of a minute, and window number 5 of two minutes: the words look alike.
        let (old, new) = (per(MINUTE, 0, 1), per(2 * MINUTE, 1, 1));
        let mut readings = SmallVec::new();
        let then = EPOCH.plus(5 * MINUTE);
        let Verdict::Admitted(late) = table.reserve(&[old], then, &mut readings) else {
            panic!("there was room")
        };
        let now = EPOCH.plus(10 * MINUTE);
        let settler = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.release(&late, Release::GiveBack, now))
        };
        let user = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                matches!(
                    table.reserve(&[new], now, &mut SmallVec::new()),
                    Verdict::Admitted(_)
                )
            })
        };
        settler.join().unwrap();
        if user.join().unwrap() {
            assert_eq!(
                used(&table, &new, now),
                1,
                "another key's count was lowered"
            );
        }
    });
}
