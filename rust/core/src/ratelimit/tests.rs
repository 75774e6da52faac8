#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::sync::Arc;

use super::*;
use crate::caller::Caller;
use crate::engine::{Engine, Options};
use crate::limit::LimitTable;
use crate::policy::PolicySet;
use crate::time::Nanos;

/// 2026-03-02T10:00:05Z: five seconds into a minute.
const NOW: Nanos = Nanos(1_772_445_605 * Nanos::SECOND);

fn decision(limits: &str) -> Arc<Decision> {
    let text =
        format!(r#"{{"version":"1","default":"deny","tools":{{"pay":{{"limits":{limits}}}}}}}"#);
    let policy = Arc::new(PolicySet::parse(text.as_bytes(), "p.json").unwrap());
    let table = Arc::new(LimitTable::anonymous(64).unwrap());
    let caller = Caller::new("g".into(), "s".into(), None, None);
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"sum":2.5}}}"#;
    Engine::new(policy, table, Options::default()).decide(&caller, body, None, NOW)
}

/// Both forms of the fields, which have to say the same.
fn told(limits: &str) -> [String; 2] {
    let decision = decision(limits);
    assert!(decision.allowed, "{}", decision.message);
    let [(first, quotas), (second, room)] = fields(&decision).try_into().unwrap();
    assert_eq!((first, second), (QUOTAS, ROOM));
    let head = format!("{QUOTAS}: {quotas}\r\n{ROOM}: {room}\r\n");
    assert_eq!(String::from_utf8(lines(&decision)).unwrap(), head);
    [quotas, room]
}

#[test]
fn each_limit_is_an_item_and_the_tightest_comes_first() {
    let limits = r#"[{"counter":"wide","window":"hour","max":1000},{"counter":"tight","window":"minute","max":3}]"#;
    assert_eq!(
        told(limits),
        [
            r#""tight";q=3;w=60, "wide";q=1000;w=3600"#,
            r#""tight";r=2;t=55, "wide";r=999;t=3595"#,
        ]
    );
}

#[test]
fn what_runs_at_the_same_time_has_no_window() {
    let limits = r#"[{"counter":"runs","max":2,"algorithm":"concurrency"}]"#;
    assert_eq!(told(limits), [r#""runs";q=2"#, r#""runs";r=1"#]);
}

#[test]
fn fractions_are_rounded_down() {
    let limits = r#"[{"counter":"sums","window":"month","max":10.75,"cost":"args.sum"}]"#;
    let [quotas, room] = told(limits);
    assert_eq!(quotas, r#""sums";q=10;w=2678400"#);
    assert!(room.starts_with(r#""sums";r=8;t="#), "{room}");
}

#[test]
fn a_counter_is_shown_in_printable_ascii() {
    let wording = Wording::of("a\"b\\c\td\u{e9}\u{1f600}~ ", Algorithm::Concurrency, 0);
    assert_eq!(&*wording.name, br#""a_b_c_d__~ ""#);
}

#[test]
fn a_call_without_limits_is_told_of_none() {
    let decision = decision("[]");
    assert_eq!((fields(&decision).len(), lines(&decision).len()), (0, 0));
}
