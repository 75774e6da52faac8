//! Files: a chain goes on over rotations, restarts and deaths, and every edit of it is found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use common::{Desk, options};
use gateway_log::file::{Rotation, rotated};
use gateway_log::verify::{Report, verify};
use gateway_log::{Log, Target};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const PATIENCE: Duration = Duration::from_secs(20);

fn open(path: &Path, rotation: Rotation) -> Log {
    let mut told = options(Target::Path(path.to_owned()));
    told.rotation = rotation;
    Log::open(told).unwrap()
}

fn write(path: &Path, calls: usize, rotation: Rotation) {
    let log = open(path, rotation);
    let desk = Desk::new(&log);
    for call in 0..calls {
        assert!(desk.call("limited", &format!(r#"{{"n":{call}}}"#)));
        if rotation.bytes.is_some() {
            // So that the writer looks at the size after each.
            while log.stats().waiting > 0 {
                std::thread::yield_now();
            }
        }
    }
    assert_eq!(log.close(PATIENCE), 0);
}

fn check(path: &Path) -> Report {
    verify(path, &[]).unwrap()
}

#[test]
fn a_chain_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    write(&path, 3, Rotation::default());
    write(&path, 3, Rotation::default());
    let report = check(&path);
    assert_eq!(
        (&report.problems[..], &report.notes[..]),
        (&[][..], &[][..])
    );
    assert_eq!(
        (report.lines, report.chains.len(), report.chains[0].last.seq),
        (10, 1, 10)
    );
}

#[test]
fn a_chain_goes_on_in_the_next_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let rotation = Rotation {
        bytes: Some(2000),
        ..Rotation::default()
    };
    write(&path, 40, rotation);
    let old = rotated(&path).unwrap();
    assert!(old.len() > 3);
    assert!(
        old.iter()
            .all(|(_, path)| fs::metadata(path).unwrap().len() < 2000 + 4096)
    );
    let report = check(&path);
    assert!(
        report.problems.is_empty() && report.notes.is_empty(),
        "{report:?}"
    );
    assert_eq!(report.lines, 40 + 2 + old.len() as u64);
    // What was deleted at the beginning is told, what is missing in the middle is wrong.
    fs::remove_file(&old[0].1).unwrap();
    let report = check(&path);
    assert!(
        report.problems.is_empty() && report.notes.len() == 1,
        "{report:?}"
    );
    fs::remove_file(&old[2].1).unwrap();
    assert!(
        check(&path).problems[0]
            .message
            .contains("are missing before it")
    );
}

#[test]
fn only_so_many_old_files_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let rotation = Rotation {
        bytes: Some(1000),
        keep: Some(2),
        ..Rotation::default()
    };
    write(&path, 20, rotation);
    let numbers: Vec<u64> = rotated(&path)
        .unwrap()
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    assert_eq!(numbers.len(), 2);
    assert!(numbers[0] > 3);
    assert!(check(&path).problems.is_empty());
}

#[test]
fn a_torn_line_stays_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    write(&path, 3, Rotation::default());
    let whole = fs::read(&path).unwrap();
    for cut in [1, 2, 100, 300] {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        assert_eq!(check(&path).problems.len(), 1, "{cut}");
        write(&path, 1, Rotation::default());
        let report = check(&path);
        assert!(report.problems.is_empty(), "{cut}: {report:?}");
        // A line of which only the end was missing is not torn.
        assert_eq!(report.notes.len(), usize::from(cut > 1), "{cut}");
    }
    // A second death before the first was recorded.
    let torn = whole.len() - 100;
    fs::write(&path, &whole[..torn]).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"\n{\"ts\":\"2026").unwrap();
    write(&path, 1, Rotation::default());
    assert!(check(&path).problems.is_empty());
}

#[test]
fn what_is_no_log_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    write(&path, 2, Rotation::default());
    let text = fs::read_to_string(&path).unwrap();
    for wrong in [
        "notes of mine\n".to_owned(),
        text.replace("\"stop\"", "\"halt\""),
    ] {
        fs::write(&path, &wrong).unwrap();
        let told = options(Target::Path(path.clone()));
        assert_eq!(
            Log::open(told).unwrap_err().kind(),
            std::io::ErrorKind::InvalidData
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), wrong);
    }
}

#[test]
fn each_writer_has_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let logs: Vec<Log> = (0..3).map(|_| open(&path, Rotation::default())).collect();
    for log in &logs {
        assert!(Desk::new(log).call("limited", "{}"));
    }
    for log in &logs {
        assert_eq!(log.close(PATIENCE), 0);
    }
    drop(logs);
    assert!(folder.path().join("log.w2").exists());
    let report = check(&path);
    assert_eq!((report.chains.len(), report.problems.len()), (3, 0));
}

/// Changes a log as somebody who does not recompute hashes may.
fn edited(lines: &[Vec<u8>], kind: u8, at: usize, other: usize, byte: u8) -> Vec<Vec<u8>> {
    let mut lines = lines.to_vec();
    let at = at % lines.len();
    match kind {
        0 => {
            let place = other % lines[at].len();
            lines[at][place] = lines[at][place].wrapping_add(byte.max(1));
        }
        // The last line can be taken away unseen.
        1 => drop(lines.remove(at % (lines.len() - 1))),
        2 => lines.insert(at, lines[at].clone()),
        3 => {
            let to = (at + 1 + other % (lines.len() - 1)) % lines.len();
            lines.swap(at, to);
        }
        4 => {
            let place = other % lines[at].len();
            lines[at].insert(place, byte);
        }
        5 => {
            let place = other % lines[at].len();
            lines[at].remove(place);
        }
        _ => {
            let forged = lines[at].clone();
            let to = other % lines.len();
            lines.insert(
                to,
                String::from_utf8(forged)
                    .unwrap()
                    .replace("allow", "deny")
                    .into_bytes(),
            );
        }
    }
    lines
}

#[test]
fn ten_thousand_edits_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    write(&path, 4, Rotation::default());
    let whole = fs::read(&path).unwrap();
    let lines: Vec<Vec<u8>> = whole
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let config = Config {
        cases: 10_000,
        failure_persistence: None,
        ..Config::default()
    };
    let edits = (0_u8..7, any::<usize>(), any::<usize>(), any::<u8>());
    let mut runner = TestRunner::new(config);
    runner
        .run(&edits, |(kind, at, other, byte)| {
            let text = edited(&lines, kind, at, other, byte).concat();
            prop_assume!(text != whole);
            fs::write(&path, &text).unwrap();
            let report = check(&path);
            prop_assert!(!report.problems.is_empty(), "kind {}", kind);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_cut_end_is_found_by_a_hash_that_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    write(&path, 5, Rotation::default());
    let last = gateway_log::verify::digits(&check(&path).chains[0].last.hash);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        verify(&path, std::slice::from_ref(&last))
            .unwrap()
            .missing
            .is_empty()
    );
    let cut = text.trim_end().rfind('\n').unwrap() + 1;
    fs::write(&path, &text[..cut]).unwrap();
    let report = verify(&path, std::slice::from_ref(&last)).unwrap();
    assert!(report.problems.is_empty());
    assert_eq!(report.missing, [last]);
}
