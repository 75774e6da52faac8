//! A process that dies between any two of its writes leaves nothing half-done and nothing too generous.

use std::path::Path;
use std::process::Command;

use smallvec::SmallVec;

use super::super::{Algorithm, Charge, EPOCH, LimitTable, Release, Verdict, Window};
use crate::sync::kill;
use crate::time::Nanos;

const SECOND: u64 = Nanos::SECOND;
const MINUTE: u64 = 60 * SECOND;
const MAX: u64 = 3;
/// Few enough for the script to need evictions.
const SLOTS: usize = 8;

const STEPS: &str = "INTERLOCK_TEST_DIE_AFTER";
const FILE: &str = "INTERLOCK_TEST_STATE";
/// The exit status of a child that died where it was told to.
const DIED: i32 = 9;

fn charge(table: &LimitTable, name: &str, algorithm: Algorithm) -> Charge<'static> {
    super::charge(table, name, algorithm, MAX)
}

fn fixed(table: &LimitTable, name: &str) -> Charge<'static> {
    charge(table, name, Algorithm::Fixed(Window::Span(MINUTE)))
}

/// Its words look nothing like those of the keys whose slot it takes over.
fn other_kind(table: &LimitTable) -> Charge<'static> {
    charge(table, "f", Algorithm::Sliding(7 * SECOND))
}

fn lasting(table: &LimitTable) -> [Charge<'static>; 4] {
    let bucket = Algorithm::Bucket {
        window_ns: 60 * MINUTE,
        interval_ns: 60 * MINUTE,
        burst: MAX,
    };
    [
        charge(table, "day", Algorithm::Fixed(Window::Span(1_440 * MINUTE))),
        charge(table, "sliding", Algorithm::Sliding(70 * MINUTE)),
        charge(table, "bucket", bucket),
        charge(table, "running", Algorithm::Concurrency),
    ]
}

fn reserve(table: &LimitTable, charges: &[Charge<'_>], now: Nanos) -> Verdict {
    table.reserve(charges, now, &mut SmallVec::new())
}

/// Everything a table does, in one go.
fn script(table: &LimitTable) {
    let now = EPOCH.plus(MINUTE);
    let keep = lasting(table);
    let _ = reserve(table, &keep, now);
    if let Verdict::Admitted(call) = reserve(table, &keep, now.plus(SECOND)) {
        table.release(&call, Release::GiveBack, now.plus(2 * SECOND));
    }
    let passing = ["a", "b", "c", "d"].map(|name| fixed(table, name));
    let _ = reserve(table, &passing, now);
    // The table is full: the next keys evict those of the minute before.
    let later = now.plus(15 * MINUTE);
    let _ = reserve(
        table,
        &[fixed(table, "e"), other_kind(table), keep[1]],
        later,
    );
    let session = table.key(&[b"session"]);
    let _ = table.bind(session, 1, 1, later, MINUTE);
    let _ = table.bind(session, 2, 2, later.plus(2 * MINUTE), MINUTE);
    table.unbind(session);
    table.evict_idle(later.plus(2 * MINUTE));
}

/// Not a test of its own: what the other test starts as a process of its own.
#[test]
fn child() {
    let (Ok(path), Ok(steps)) = (std::env::var(FILE), std::env::var(STEPS)) else {
        return;
    };
    let table = LimitTable::join(Path::new(&path)).expect("the parent owns the file");
    kill::after(steps.parse().expect("a number"), DIED);
    script(&table);
}

#[test]
fn death_after_any_write_leaves_a_whole_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut steps = 0;
    loop {
        let path = folder.path().join(format!("{steps}.state"));
        let table = LimitTable::open(&path, SLOTS, EPOCH).expect("a new file");
        let status = Command::new(std::env::current_exe().expect("this binary"))
            .args([
                "--exact",
                "limit::tests::kill::child",
                "--nocapture",
                "--quiet",
            ])
            .env(FILE, &path)
            .env(STEPS, steps.to_string())
            .output()
            .expect("a child")
            .status;
        let survived = status.success();
        assert!(
            survived || status.code() == Some(DIED),
            "after {steps} writes: {status}"
        );
        examine(&table, steps);
        drop(table);
        LimitTable::open(&path, SLOTS, EPOCH)
            .unwrap_or_else(|error| panic!("after {steps} writes: {error}"));
        if survived {
            break;
        }
        steps += 1;
    }
    assert!(steps > 60, "the script makes {steps} writes only");
}

/// What others find when the child is gone.
fn examine(table: &LimitTable, steps: u64) {
    let now = EPOCH.plus(2 * MINUTE);
    for (kind, charge) in lasting(table).iter().enumerate() {
        let left = table.peek(charge, now).expect("a table in use").remaining;
        // The child leaves at most three charges of each behind, two of them only where it died in the middle.
        assert!(kind == 3 || left <= MAX, "after {steps} writes");
        let mut admitted = 0;
        while let Verdict::Admitted(_) = reserve(table, &[*charge], now) {
            admitted += 1;
        }
        let room = if kind == 3 { MAX } else { left };
        assert_eq!(admitted, room, "after {steps} writes, kind {kind}");
    }
    assert!(
        table.peek(&other_kind(table), now).is_some(),
        "after {steps} writes: words of another kind"
    );
    // Far enough on for everything but running calls to have been forgotten: new keys find slots at once.
    let much_later = EPOCH.plus(3 * 1_440 * MINUTE);
    for name in ["u", "v", "w", "x", "y", "z"] {
        let verdict = reserve(table, &[fixed(table, name)], much_later);
        assert!(
            matches!(verdict, Verdict::Admitted(_)),
            "after {steps} writes: {verdict:?}"
        );
    }
}
