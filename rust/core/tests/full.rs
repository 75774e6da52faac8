//! When no more messages may be in flight: what wants an answer is refused before any rule is evaluated.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use gateway_core::caller::Caller;
use gateway_core::decision::{Code, Decision};
use gateway_core::denial;
use gateway_core::engine::{Beside, Engine, Options};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;
use gateway_core::time::Nanos;

/// 2026-03-02T10:00:05Z.
const NOW: Nanos = Nanos(1_772_445_605 * Nanos::SECOND);
const POLICY: &str = r#"{"version":"1","default":"deny","tools":{
    "limited":{"limits":[{"counter":"c","window":"day","max":1}]},"shut":{"action":"deny"}}}"#;

fn engine(shadow: bool) -> Engine {
    let table = Arc::new(LimitTable::anonymous(64).expect("memory"));
    let policy = PolicySet::parse(POLICY.as_bytes(), "policy.json").expect("the policy compiles");
    let options = Options {
        shadow,
        ..Options::default()
    };
    Engine::new(Arc::new(policy), table, options)
}

fn call(tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
    )
}

fn decide(engine: &Engine, full: bool, revision: Option<&str>, body: &str) -> Arc<Decision> {
    let session = revision.map(|_| "s".to_owned());
    let revision = revision.map(str::to_owned);
    let caller = Caller::new("laptop".into(), "upwork".into(), session, revision);
    let beside = Beside {
        full,
        ..Beside::default()
    };
    engine.decide_beside(&caller, body.as_bytes(), None, NOW, beside)
}

#[test]
fn requests_are_refused_whatever_a_rule_would_say_and_charge_nothing() {
    for engine in [engine(false), engine(true)] {
        for tool in ["limited", "limited", "shut", "unknown"] {
            let refused = decide(&engine, true, None, &call(tool));
            assert_eq!((refused.allowed, refused.code), (false, Code::Overloaded));
            assert!(refused.rule.is_none() && refused.shadow.is_empty());
            assert_eq!(refused.target.as_deref(), Some(tool), "for the log");
        }
        let counted = engine.totals();
        assert_eq!(counted, [("other".to_owned(), Code::Overloaded, 4)]);
        assert!(decide(&engine, false, None, &call("limited")).allowed);
    }
}

#[test]
fn the_answer_is_that_of_a_call_that_cannot_be_served() {
    let engine = engine(false);
    let admitted = decide(&engine, false, None, &call("limited"));
    let refused = decide(&engine, true, None, &call("limited"));
    let words = denial::fault(&admitted, "overloaded", &refused.message, 503);
    for protocol in [false, true] {
        assert_eq!(denial::answer(&refused, protocol), words);
    }
    assert!(words.headers.contains(&("retry-after", "1".to_owned())));
    let opening = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    let opening = decide(&engine, true, None, opening);
    assert_eq!(denial::answer(&opening, false).status, 503);
}

#[test]
fn what_helps_calls_to_end_is_decided_as_always() {
    let engine = engine(false);
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
    ] {
        assert!(decide(&engine, true, None, body).allowed, "{body}");
    }
    let malformed = decide(&engine, true, None, r#"{"jsonrpc":"2.0","id":7,"id":8}"#);
    assert_eq!(malformed.code, Code::DuplicateKey);
}

#[test]
fn an_array_is_refused_whole_and_each_request_of_it_is_told() {
    let engine = engine(false);
    let body = format!("[{},{}]", call("limited"), call("shut"));
    let refused = decide(&engine, true, Some("2025-03-26"), &body);
    assert_eq!((refused.allowed, refused.code), (false, Code::Overloaded));
    let answer = denial::answer(&refused, false);
    let told = answer.body.matches(r#""code":"overloaded""#).count();
    assert_eq!((answer.status, told), (200, 2), "{}", answer.body);
    let one = format!("[{}]", call("limited"));
    assert!(decide(&engine, false, Some("2025-03-26"), &one).allowed);
}
