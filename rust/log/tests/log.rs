//! The queue and its writer: what is handed over is written, or refused, or counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod common;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{Desk, Does, Fake, NOW, options};
use gateway_core::approval::{Approval, Standing};
use gateway_core::decision::Code;
use gateway_log::{LINE_BYTES, Log, Overflow, Target, Visit};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

fn records(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

fn visit(code: &str) -> Visit {
    Visit {
        at: NOW,
        grant: None,
        server: None,
        session: None,
        method: None,
        code: code.to_owned(),
    }
}

#[test]
fn each_decision_has_a_line_with_all_members_in_their_order() {
    let place = Fake::new(Does::Takes);
    let log = Log::open(options(place.target())).unwrap();
    let desk = Desk::new(&log);
    assert!(desk.call("limited", r#"{"z":1,"a":2,"q":"shown"}"#));
    assert!(!desk.call(" ", "{}"));
    assert!(log.visit(visit("unauthenticated")));
    assert_eq!(log.close(PATIENCE), 0);
    let text = place.text();
    let lines = records(&text);
    let codes: Vec<&Value> = lines.iter().map(|line| &line["code"]).collect();
    assert_eq!(
        codes[1..4],
        ["allowed", "tool-name-invalid", "unauthenticated"]
    );
    assert_eq!(
        (&lines[0]["event"], &lines[4]["event"]),
        (&"start".into(), &"stop".into())
    );
    let expected = concat!(
        r#"{"ts":"2026-11-21T14:59:59.123456Z","seq":2,"request_id":1,"grant":"grant","server":"server","#,
        r#""session":"3bb0b2b4b0e4f8e2","method":"tools/call","tool":"limited","arg_keys":["a","q","z"],"#,
        r#""effect":"allow","code":"allowed","rule":null,"counter":"c","remaining":999999,"shadow":[],"policy":""#
    );
    let line = text.lines().nth(1).unwrap();
    let digest = lines[1]["session"].as_str().unwrap();
    assert_eq!(digest.len(), 16);
    assert!(
        line.starts_with(&expected.replace("3bb0b2b4b0e4f8e2", digest)),
        "{line}"
    );
    assert!(line.contains(
        r#""decide_us":4.213,"upstream_status":200,"duration_ms":1.500,"args":{"q":"shown"},"prev""#
    ));
    assert!(!text.contains("secret-session"));
}

fn approval(text: &str) -> Arc<Approval> {
    Arc::new(Approval {
        standing: Standing::Approved,
        policy: String::new(),
        id: Some(text.to_owned()),
        by: Some(text.to_owned()),
        until: None,
        remark: Some(text.to_owned()),
    })
}

#[test]
fn a_line_says_who_approved_what_and_not_why() {
    let place = Fake::new(Does::Takes);
    let log = Log::open(options(place.target())).unwrap();
    let desk = Desk::new(&log);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"limited"}}"#;
    let mut decision = Arc::into_inner(desk.decide(body)).unwrap();
    decision.approval = Some(approval("ann\"s"));
    desk.finish(Arc::new(decision));
    assert_eq!(log.close(PATIENCE), 0);
    let text = place.text();
    let said = r#","duration_ms":1.500,"approval":{"state":"approved","id":"ann\"s","by":"ann\"s"},"prev""#;
    assert!(text.contains(said), "{text}");
}

#[test]
fn no_line_is_longer_than_a_pipe_takes_at_once() {
    let place = Fake::new(Does::Takes);
    let mut told = options(place.target());
    told.worker = Some(u32::MAX);
    told.arguments = (0..8).map(|n| format!("v{n}")).collect();
    let log = Log::open(told).unwrap();
    let desk = Desk::new(&log);
    let nasty = "\u{2028}".repeat(80);
    let values: Vec<String> = (0..8).map(|n| format!(r#""v{n}":"{nasty}""#)).collect();
    let keys: Vec<String> = (0..40).map(|n| format!(r#""{n}{nasty}":0"#)).collect();
    for method in ["tools/call", "prompts/get", "resources/read", &nasty] {
        let id = "\u{2028}".repeat(80);
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{{"name":"{nasty}","uri":"{nasty}","arguments":{{{},{}}}}}}}"#,
            keys.join(","),
            values.join(",")
        );
        desk.finish(desk.decide(&body));
        let mut approved = Arc::into_inner(desk.decide(&body)).unwrap();
        approved.approval = Some(approval(&nasty));
        desk.finish(Arc::new(approved));
    }
    let mut wordy = visit(&"c".repeat(5000));
    wordy.grant = Some("\u{1}".repeat(5000));
    wordy.method = wordy.grant.clone();
    assert!(log.visit(wordy));
    assert_eq!(log.close(PATIENCE), 0);
    let text = place.text();
    assert_eq!(records(&text).len(), 11);
    for line in text.split_inclusive('\n') {
        assert!(line.len() <= LINE_BYTES, "{} bytes", line.len());
        assert!(
            line.trim_end()
                .bytes()
                .all(|byte| (0x20..0x7f).contains(&byte))
        );
    }
}

#[test]
fn what_cannot_be_logged_is_not_allowed_and_what_was_refused_is_counted() {
    let place = Fake::new(Does::Fails(ErrorKind::StorageFull));
    let mut small = options(place.target());
    small.buffer_bytes = 64 << 10;
    let log = Log::open(small).unwrap();
    let desk = Desk::new(&log);
    let mut allowed = 0;
    while desk.call("limited", "{}") {
        allowed += 1;
        assert!(allowed < 1000, "there is no end to the room");
    }
    assert!(allowed > 10);
    let refused = desk
        .decide(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"limited"}}"#);
    assert_eq!(
        (refused.allowed, refused.code),
        (false, Code::LogUnavailable)
    );
    assert!(refused.limits.is_empty(), "nothing was charged");
    while log.visit(visit("unauthenticated")) {}
    assert!(log.trouble().is_some());
    place.now(Does::Takes);
    let text = place.until("recovered");
    // Room is given back a moment after the line that says so.
    while !desk.call("limited", "{}") {
        std::thread::yield_now();
    }
    assert_eq!(log.close(PATIENCE), 0);
    assert!(text.contains("\"error\":\"no storage space\""));
    let lines = records(&place.text());
    let gap: u64 = lines.iter().filter_map(|line| line["gap"].as_u64()).sum();
    let calls = lines
        .iter()
        .filter(|line| line["code"] == "allowed")
        .count();
    assert_eq!((gap, calls), (log.stats().lost, allowed + 1));
    assert!(gap >= 2);
    assert_eq!(log.trouble(), None);
    drop(refused);
    assert_eq!(log.stats().waiting, 0);
}

#[test]
fn without_a_writer_there_is_no_room_however_little_waits() {
    for (overflow, goes_on) in [(Overflow::Deny, false), (Overflow::Drop, true)] {
        let mut told = options(Fake::new(Does::Panics).target());
        told.overflow = overflow;
        let log = Log::open(told).unwrap();
        let desk = Desk::new(&log);
        assert!(desk.call("limited", "{}"));
        while log.trouble().is_none() {
            thread::yield_now();
        }
        for _ in 0..100 {
            assert_eq!(desk.call("limited", "{}"), goes_on);
        }
        assert!(!log.visit(visit("unauthenticated")));
        assert!(log.stats().lost >= 101);
        assert_eq!(log.close(PATIENCE), 0);
    }
}

#[test]
fn calls_go_on_where_the_owner_prefers_that_and_are_counted() {
    let place = Fake::new(Does::Fails(ErrorKind::Other));
    let mut small = options(place.target());
    small.buffer_bytes = 64 << 10;
    small.overflow = Overflow::Drop;
    let log = Log::open(small).unwrap();
    let desk = Desk::new(&log);
    let calls = 500;
    for _ in 0..calls {
        assert!(desk.call("limited", "{}"));
    }
    assert!(log.stats().lost > 0);
    place.now(Does::Takes);
    place.until("recovered");
    assert!(desk.call("limited", "{}"));
    assert_eq!(log.close(PATIENCE), 0);
    let lines = records(&place.text());
    let written = lines
        .iter()
        .filter(|line| line["code"] == "allowed")
        .count() as u64;
    let gap: u64 = lines.iter().filter_map(|line| line["gap"].as_u64()).sum();
    assert_eq!(written + gap, calls + 1);
}

#[test]
fn a_line_that_leaves_in_pieces_is_whole() {
    let place = Fake::new(Does::Stumbles);
    let log = Log::open(options(place.target())).unwrap();
    let desk = Desk::new(&log);
    for _ in 0..20 {
        desk.call("limited", "{}");
    }
    assert_eq!(log.close(PATIENCE), 0);
    let lines = records(&place.text());
    assert_eq!(
        lines
            .iter()
            .filter(|line| line["code"] == "allowed")
            .count(),
        20
    );
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nobody_and_recovers() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut small = options(Target::Stream(File::from(std::os::fd::OwnedFd::from(
        writer,
    ))));
    small.buffer_bytes = 256 << 10;
    let log = Log::open(small).unwrap();
    let desk = Desk::new(&log);
    let mut allowed = 0;
    while desk.call("limited", "{}") {
        allowed += 1;
    }
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    while log.stats().waiting > 0 {
        thread::yield_now();
    }
    assert!(desk.call("limited", "{}"));
    assert_eq!(log.close(PATIENCE), 0);
    let text = reading.join().unwrap();
    let lines = records(&text);
    let calls = lines
        .iter()
        .filter(|line| line["code"] == "allowed")
        .count();
    assert_eq!(calls, allowed + 1);
}

#[test]
fn a_log_that_cannot_be_written_can_be_closed() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let log = Log::open(options(Target::Stream(full))).unwrap();
    let desk = Desk::new(&log);
    assert!(desk.call("limited", "{}"));
    while log.trouble().is_none() {
        thread::yield_now();
    }
    let _ = log.close(Duration::ZERO);
    assert!(log.trouble().unwrap().contains("No space left"));
}

#[test]
fn an_array_has_a_line_for_each_message() {
    let place = Fake::new(Does::Takes);
    let log = Log::open(options(place.target())).unwrap();
    let mut desk = Desk::new(&log);
    let revision = Some("2025-03-26".to_owned());
    let caller =
        gateway_core::caller::Caller::new("g".into(), "s".into(), Some("x".into()), revision);
    desk.caller = std::sync::Arc::new(caller);
    let call = |id: u8| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t"}}}}"#)
    };
    desk.finish(desk.decide(&format!("[{},{}]", call(1), call(2))));
    assert_eq!(log.close(PATIENCE), 0);
    let lines = records(&place.text());
    let ids: Vec<&Value> = lines
        .iter()
        .filter(|line| line["tool"] == "t")
        .map(|line| &line["request_id"])
        .collect();
    assert_eq!(ids, [1, 2]);
}
