//! What a limit counts, for whom, and what it says when it is full.

#![expect(clippy::expect_used, reason = "a test that cannot be set up must stop")]

mod engine_support;

use engine_support::{NOW, call, decide, engine};
use gateway_core::caller::Caller;
use gateway_core::decision::Code;
use gateway_core::limit::{Algorithm, count_capacity};
use gateway_core::policy::PolicySet;

#[test]
fn a_limit_that_only_records_refuses_nothing_that_it_cannot_read() {
    let text = r#"{"version":"1","default":"deny","tools":{"pay":{"limits":[
        {"counter":"spent","window":"day","max":9,"scope":"grant","cost":"args.amount",MODE}]}}}"#;
    let bad = call("pay", r#"{"amount":"much"}"#);
    let shadow = decide(&engine(&text.replace("MODE", r#""mode":"shadow""#)), &bad);
    assert!(shadow.allowed);
    assert_eq!(shadow.shadow[0].code, Code::CostInvalid);
    let refused = decide(&engine(&text.replace(",MODE", "")), &bad);
    assert_eq!(refused.code, Code::CostInvalid);
    let told = "`args.amount` must be a number";
    assert!(refused.message.starts_with(told), "{}", refused.message);
    let own = decide(
        &engine(&text.replace("MODE", r#""on_deny":"Say how much.""#)),
        &bad,
    );
    assert_eq!(own.message, "Say how much.");
}

#[test]
fn values_that_differ_are_counted_apart() {
    let engine = engine(
        r#"{"version":"1","default":"deny","tools":{"a":{"limits":[
        {"counter":"calls","window":"day","max":1,"scope":"grant","key":"args.k"}]}}}"#,
    );
    let spellings = [
        ["true"; 2],
        ["false"; 2],
        ["null"; 2],
        ["1", "1.0"],
        [r#""1""#; 2],
    ];
    for expected in [true, false] {
        for spelling in &spellings {
            let value = spelling[usize::from(!expected)];
            let decision = decide(&engine, &call("a", &format!(r#"{{"k":{value}}}"#)));
            assert_eq!(decision.allowed, expected, "{value}");
        }
    }
}

#[test]
fn a_full_limit_says_what_it_allows_and_when() {
    let worded = |limit: &str| {
        let text = format!(
            r#"{{"version":"1","default":"deny","tools":{{"a":{{"limits":[{{"counter":"calls","scope":"grant",{limit}}}]}}}}}}"#
        );
        let engine = engine(&text);
        let first = decide(&engine, &call("a", r#"{"n":5}"#));
        let last = decide(&engine, &call("a", r#"{"n":5}"#));
        drop(first);
        last.message.clone()
    };
    assert_eq!(
        worded(r#""window":"minute","max":1"#),
        "`calls` allows 1 per minute; try again in 55.0 s"
    );
    assert_eq!(
        worded(r#""window":"minute","max":1,"on_deny":"Enough.""#),
        "Enough; try again in 55.0 s"
    );
    let cost = r#""cost":"args.n""#;
    assert_eq!(
        worded(&format!(r#""window":"minute","max":4,{cost}"#)),
        "`calls` allows 4 per minute; this call alone costs more than that"
    );
    assert_eq!(
        worded(r#""algorithm":"concurrency","max":1"#),
        "`calls` allows 1 at the same time; try again when a running call has ended"
    );
}

#[test]
fn sessions_and_grants_have_their_own_quotas() {
    let engine = engine(
        r#"{"version":"1","default":"deny","tools":{"t":{"limits":[
            {"counter":"c","window":"day","max":1,"scope":"session"}]}}}"#,
    );
    let of = |grant: &str, session: Option<&str>| {
        Caller::new(grant.into(), "upwork".into(), session.map(Into::into), None)
    };
    let passes = |caller: &Caller| engine.decide(caller, &call("t", "{}"), None, NOW).allowed;
    assert!(passes(&of("a", Some("1"))));
    assert!(passes(&of("a", Some("2"))));
    assert!(passes(&of("b", Some("1"))));
    assert!(passes(&of("a", None)));
    assert!(!passes(&of("a", Some("1"))) && !passes(&of("a", None)));
}

#[test]
fn whoever_asks_first_keeps_no_quota_of_others() {
    let limit = |scope| {
        engine(&format!(
            r#"{{"version":"1","default":"deny","tools":{{"x":{{"limits":[
                {{"counter":"n","window":"minute","max":1,"scope":"{scope}"}}]}}}}}}"#
        ))
    };
    let caller = |grant: &str, session: &str| {
        Caller::new(grant.into(), "upwork".into(), Some(session.into()), None)
    };
    let callers = [caller("a", "1"), caller("a", "2"), caller("b", "3")];
    let body = call("x", "{}");
    for (scope, admitted) in [
        ("session", [true, true, true]),
        ("grant", [true, false, true]),
        ("server", [true, false, false]),
    ] {
        let engine = limit(scope);
        for expected in [admitted, [false; 3]] {
            let allowed = callers
                .each_ref()
                .map(|caller| engine.decide(caller, &body, None, NOW).allowed);
            assert_eq!(allowed, expected, "{scope}");
        }
    }
}

#[test]
fn a_limit_may_be_as_large_as_can_be_counted_and_no_larger() {
    let most = count_capacity(Algorithm::Concurrency);
    let parsed = |max: u64| {
        let text = format!(
            r#"{{"version":"1","default":"deny","tools":{{"a":{{"limits":[{{"counter":"c","algorithm":"concurrency","max":{max}}}]}}}}}}"#
        );
        PolicySet::parse(text.as_bytes(), "p.json")
    };
    assert!(parsed(most).is_ok());
    assert!(parsed(most + 1).is_err());
}
