//! Two owners that want the same session.

use loom::sync::Arc;
use loom::thread;

use super::super::EPOCH;
use super::support::{MINUTE, explore, per, table};

#[test]
fn a_session_has_one_owner() {
    explore(2, || {
        let table = table(1, 0);
        let key = per(MINUTE, 0, 1).key;
        let threads = [1, 2].map(|owner| {
            let table = Arc::clone(&table);
            thread::spawn(move || table.bind(key, owner, owner * 10, EPOCH, MINUTE).is_ok())
        });
        let [first, second] = threads.map(|thread| thread.join().unwrap());
        assert!(!(first && second), "both own it");
        if let Some(binding) = table.owner(key, EPOCH) {
            assert_eq!(
                (binding.owner, binding.payload),
                if first { (1, 10) } else { (2, 20) }
            );
        }
    });
}

#[test]
fn a_session_that_lapsed_changes_hands_whole() {
    explore(2, || {
        let table = table(1, 0);
        let key = per(MINUTE, 0, 1).key;
        assert!(table.bind(key, 1, 10, EPOCH, MINUTE).is_ok());
        let now = EPOCH.plus(MINUTE);
        let returning = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.bind(key, 1, 11, now, MINUTE).is_ok())
        };
        let newcomer = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.bind(key, 2, 20, now, MINUTE).is_ok())
        };
        let (returned, came) = (returning.join().unwrap(), newcomer.join().unwrap());
        assert!(!(returned && came), "both own it");
        let owner = table
            .owner(key, now)
            .map(|binding| (binding.owner, binding.payload));
        assert!(
            owner.is_none() || owner == Some(if came { (2, 20) } else { (1, 11) }),
            "{owner:?}"
        );
    });
}
