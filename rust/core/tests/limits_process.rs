//! Processes that share a table and are killed in the middle: those that are left never admit too much.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod limits_support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use gateway_core::limit::{Algorithm, Charge, EPOCH, LimitTable, Release, Verdict, Window};
use gateway_core::time::Nanos;
use limits_support::{SECOND, admitted, charge, look, reserve};

const FILE: &str = "INTERLOCK_TEST_STATE";
const WIDTH: u64 = SECOND;
const MAX: u64 = 10;
const KEYS: usize = 6;
const WORKERS: usize = 3;
/// How often each worker is killed, unless [`LIVES_WANTED`] says otherwise.
const LIVES: usize = 8;
const LIVES_WANTED: &str = "INTERLOCK_LIVES";
/// Fewer than there are keys and windows, so that slots change hands all the time.
const SLOTS: usize = 4;

/// What a worker reports: which key, and the end of the window the call was counted in.
type Report = [u64; 2];

fn limits(table: &LimitTable, which: usize) -> [Charge<'static>; 2] {
    [
        charge(
            table,
            &format!("key {which}"),
            Algorithm::Fixed(Window::Span(WIDTH)),
            MAX,
        ),
        charge(table, "running", Algorithm::Concurrency, 4),
    ]
}

/// Not a test of its own: what the others start as processes of their own. Calls until it is killed.
#[test]
fn worker() {
    let Ok(path) = std::env::var(FILE) else {
        return;
    };
    let table = LimitTable::join(Path::new(&path)).expect("the parent owns the file");
    let mut reports = std::io::stderr().lock();
    let mut now = table.stats().clock_floor;
    for which in (0..KEYS).cycle() {
        now = now.plus(3_000_000);
        let call = limits(&table, which);
        let (verdict, readings) = reserve(&table, &call, now);
        if let Verdict::Admitted(reservation) = verdict {
            let report: Report = [which as u64, now.0 + readings[0].reset_ns];
            // A pipe takes so short a report whole or not at all.
            if reports
                .write_all(&report.map(u64::to_le_bytes).concat())
                .is_err()
            {
                return;
            }
            table.release(&reservation, Release::Finish, now);
        }
    }
}

fn spawn(path: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "worker", "--nocapture", "--quiet"])
        .env(FILE, path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a worker")
}

/// Reads a worker's reports and kills it after `lifetime` of them.
fn live_and_die(path: &Path, lifetime: usize) -> Vec<Report> {
    let mut worker = spawn(path);
    let mut pipe = worker.stderr.take().expect("a pipe");
    let mut reports = Vec::new();
    let mut bytes = [0; 16];
    while pipe.read_exact(&mut bytes).is_ok() {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        reports.push([word(0), word(8)]);
        if reports.len() == lifetime {
            worker.kill().expect("a worker that lives");
        }
    }
    worker.wait().expect("an end");
    assert!(
        reports.len() >= lifetime,
        "the worker ended by itself after {} calls",
        reports.len()
    );
    reports
}

#[test]
fn killed_workers_never_bring_a_window_over_its_max() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("limits.state");
    let table = LimitTable::open(&path, SLOTS, EPOCH).expect("a new file");
    let place = path.as_path();
    let wanted = std::env::var(LIVES_WANTED).map(|lives| lives.parse().expect("a number"));
    let number = wanted.unwrap_or(LIVES);
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let lives = |worker: usize| {
            let lifetime = move |life| 40 + (worker * 97 + life * 61) % 300;
            (0..number)
                .flat_map(|life| live_and_die(place, lifetime(life)))
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || lives(worker)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let mut windows = BTreeMap::<Report, u64>::new();
    for report in reports {
        *windows.entry(report).or_default() += 1;
    }
    assert!(
        windows.values().any(|&admitted| admitted == MAX),
        "the limit was never reached"
    );
    assert_eq!(windows.iter().find(|(_, admitted)| **admitted > MAX), None);
    assert!(table.stats().evictions > 10, "{:?}", table.stats());
    // Those who died hold nothing up: neither slots nor places.
    let later = table.stats().clock_floor.plus(2 * WIDTH);
    for which in 0..KEYS.min(SLOTS - 1) {
        let call = limits(&table, which);
        for _ in 0..MAX {
            let (verdict, _) = reserve(&table, &call, later);
            assert!(matches!(verdict, Verdict::Admitted(_)), "{verdict:?}");
            if let Verdict::Admitted(reservation) = verdict {
                table.release(&reservation, Release::Finish, later);
            }
        }
        assert!(!admitted(&table, &call, later));
    }
    drop(table);
    LimitTable::open(&path, SLOTS, EPOCH).expect("a whole file");
}

#[test]
#[expect(unsafe_code, reason = "there is no other way to fork")]
fn a_forked_child_is_refused() {
    let table = LimitTable::anonymous(SLOTS).expect("memory for a table");
    let limit = charge(&table, "calls", Algorithm::Fixed(Window::Span(WIDTH)), MAX);
    let (first, _) = reserve(&table, &[limit], EPOCH);
    let Verdict::Admitted(held) = first else {
        return assert!(matches!(first, Verdict::Admitted(_)));
    };
    // SAFETY: the child only calls the table and ends without running anything of the test harness.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut readings = smallvec::SmallVec::new();
        let refused = matches!(
            table.reserve(&[limit], EPOCH, &mut readings),
            Verdict::Unavailable
        );
        table.release(&held, Release::GiveBack, EPOCH);
        let blind = table.peek(&limit, EPOCH).is_none() && table.owner(limit.key, EPOCH).is_none();
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!(refused && blind))) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child was let in");
    assert_eq!(
        look(&table, &limit, EPOCH).remaining,
        MAX - 1,
        "the child gave back what is the parent's"
    );
    assert!(admitted(&table, &[limit], Nanos(EPOCH.0)));
}
