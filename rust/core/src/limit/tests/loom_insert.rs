//! New keys: one slot each, and whole when it is found.

use loom::sync::Arc;
use loom::thread;

use super::super::EPOCH;
use super::super::key::Locator;
use super::super::layout::Content;
use super::support::{MINUTE, explore, per, table, taken_slots};
use crate::sync::Ordering;

#[test]
fn two_claims_of_a_key_get_one_slot() {
    explore(2, || {
        let table = table(2, 0);
        let charge = per(MINUTE, 0, 9);
        let threads = [(); 2].map(|()| {
            let table = Arc::clone(&table);
            let content = Content::Count(charge.counting.algorithm());
            thread::spawn(move || {
                table
                    .insert(Locator::of(charge.key), content, 0, EPOCH, &[], |_| {})
                    .is_ok()
            })
        });
        let inserted = threads.map(|thread| thread.join().unwrap());
        assert!(inserted.iter().any(|&ok| ok));
        assert_eq!(taken_slots(&table), 1);
    });
}

#[test]
fn a_slot_that_is_found_is_whole() {
    explore(3, || {
        let table = table(1, 0);
        let charge = per(MINUTE, 0, 9);
        let key = Locator::of(charge.key);
        let content = Content::Count(charge.counting.algorithm());
        // Left over from a process that died while filling the slot.
        let slot = &table.mapping.slots()[0];
        slot.ring[0].store(u64::MAX, Ordering::Relaxed);
        slot.key_hi.store(99, Ordering::Relaxed);
        let inserter = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.insert(key, content, 0, EPOCH, &[], |_| {}).unwrap())
        };
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let _pinned = table.pin(table.claim().unwrap()).unwrap();
                if let Some((_, slot)) = table.find(key) {
                    assert_eq!(slot.content(), Some(content));
                    assert_eq!(slot.ring[0].load(Ordering::Acquire), 0);
                }
            })
        };
        inserter.join().unwrap();
        reader.join().unwrap();
    });
}
