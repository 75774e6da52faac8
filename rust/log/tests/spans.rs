//! Spans are kept within their bound, hold on to nothing of the log's, and say what was decided.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod common;

use std::thread;
use std::time::Duration;

use common::{Desk, Does, Fake, options};
use gateway_core::trace::Sampling;
use gateway_log::Log;
use gateway_log::spans::Spans;

const ALL: u128 = 1 << 64;
const SAMPLING: Sampling = Sampling {
    root: ALL,
    sampled: ALL,
    unsampled: 0,
};
const SOON: Duration = Duration::ZERO;
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_finds_no_room_is_left_out_and_counted() {
    let spans = Spans::new(None, SAMPLING, 4);
    let desk = Desk::over(spans.ledger());
    for _ in 0..10 {
        assert!(desk.call("limited", r#"{"q":"s3cret"}"#));
    }
    assert_eq!(spans.made(), 10);
    let records = spans.take(SOON).unwrap();
    assert_eq!(records.len(), 4);
    let first = &records[0];
    assert_eq!(first.tool.as_deref(), Some("limited"));
    assert_eq!((first.allowed, first.code), (true, "allowed"));
    assert_eq!(first.ended.since(first.started), 1_500_000);
    let (counter, left) = first.limit.as_ref().unwrap();
    assert_eq!(
        (counter.as_str(), left.to_string().as_str()),
        ("c", "999999")
    );
    let told = format!("{records:?}");
    assert!(!told.contains("s3cret") && !told.contains("secret-session"));
    assert_eq!(spans.take(SOON).unwrap().len(), 0);
}

#[test]
fn what_waits_to_be_exported_keeps_no_room_of_the_log() {
    let fake = Fake::new(Does::Takes);
    let log = Log::open(options(fake.target())).unwrap();
    let spans = Spans::new(Some(log.ledger()), SAMPLING, 100);
    let desk = Desk::over(spans.ledger());
    for _ in 0..50 {
        assert!(desk.call("limited", "{}"));
    }
    assert_eq!(log.close(PATIENCE), 0);
    assert_eq!(
        log.stats().waiting,
        0,
        "all lines are written, no span is fetched"
    );
    assert_eq!(fake.text().lines().count(), 52);
    let records = spans.take(SOON).unwrap();
    assert_eq!(records.len(), 50);
    for record in records {
        let id = String::from_utf8(record.span.id.to_vec()).unwrap();
        assert_eq!(
            fake.text().matches(&id).count(),
            1,
            "the line has the span's id"
        );
    }
}

#[test]
fn who_fetches_is_woken_before_there_is_no_room_and_at_the_end() {
    let spans = Spans::new(None, SAMPLING, 8);
    let desk = Desk::over(spans.ledger());
    thread::scope(|scope| {
        let fetching = scope.spawn(|| (spans.take(PATIENCE), spans.take(PATIENCE)));
        for _ in 0..4 {
            assert!(desk.call("limited", "{}"));
        }
        spans.close();
        let (first, second) = fetching.join().unwrap();
        assert_eq!(first.unwrap().len(), 4);
        assert!(second.is_none());
    });
    assert!(desk.call("limited", "{}"));
    assert!(
        spans.take(PATIENCE).is_none(),
        "nothing is kept behind the end"
    );
}
