//! Some histories, and that the simulator is what it says: repeatable, and able to fail.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use gateway_sim::oracle::Violation;
use gateway_sim::world::Pool;
use gateway_sim::{fiber, run};

fn say(seed: u64, violation: &Violation) -> String {
    format!("seed {seed}: {}", violation.0)
}

#[test]
fn histories_end_without_a_violation() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut pool = Pool::default();
    for seed in 1..=100 {
        if let Err(violation) = run(seed, folder.path(), &mut pool, false) {
            assert_eq!("", say(seed, &violation));
        }
    }
}

#[test]
fn a_seed_is_always_the_same_history() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut used, mut fresh) = (Pool::default(), Pool::default());
    for seed in [3, 17, 40] {
        let once = run(seed, folder.path(), &mut used, false).map_err(|v| say(seed, &v));
        let again = run(seed, folder.path(), &mut used, false).map_err(|v| say(seed, &v));
        let elsewhere = run(seed, folder.path(), &mut fresh, false).map_err(|v| say(seed, &v));
        assert_eq!(once, again, "seed {seed}");
        assert_eq!(once, elsewhere, "seed {seed}");
    }
}

#[test]
fn exchanges_that_do_not_compare_are_found_out() {
    let folder = tempfile::tempdir().expect("a folder");
    fiber::sabotage(true);
    let found =
        (1..=200).any(|seed| run(seed, folder.path(), &mut Pool::default(), false).is_err());
    assert!(
        found,
        "200 histories without exclusion, and nothing was noticed"
    );
}
