//! Calls that a person approves: what an approval lifts, and what it does not.

#![expect(clippy::expect_used, reason = "a test that cannot be set up must stop")]

use std::sync::Arc;

use gateway_core::approval::{Approval, Standing};
use gateway_core::caller::Caller;
use gateway_core::decision::{Code, Decision};
use gateway_core::denial;
use gateway_core::engine::{Beside, Engine, Options};
use gateway_core::limit::LimitTable;
use gateway_core::pins::{PinMode, Pins};
use gateway_core::policy::PolicySet;
use gateway_core::time::Nanos;

const NOW: Nanos = Nanos(1_772_445_605 * Nanos::SECOND);

const POLICY: &str = r#"{"version":"1","default":"deny","tools":{
    "pay":{"action":"require_approval","reason":"money needs a person",
        "deny_if":[{"conditions":[{"path":"args.amount","op":"gt","value":100}]}],
        "require_approval":[{"conditions":[{"path":"args.amount","op":"gt","value":50}]}],
        "limits":[{"counter":"pays","window":"hour","max":1,"scope":"grant"}]}},
    "methods":{"resources/read":{"action":"require_approval"}}}"#;

fn policy(text: &str) -> Arc<PolicySet> {
    Arc::new(PolicySet::parse(text.as_bytes(), "policy.json").expect("the policy compiles"))
}

fn engine(options: Options) -> Engine {
    let table = Arc::new(LimitTable::anonymous(1024).expect("memory"));
    Engine::new(policy(POLICY), table, options)
}

fn asking() -> Engine {
    engine(Options {
        approvals: true,
        ..Options::default()
    })
}

fn pay(amount: u32) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"pay","arguments":{{"amount":{amount}}}}}}}"#
    )
    .into_bytes()
}

fn said(standing: Standing, engine: &Engine) -> Arc<Approval> {
    Arc::new(Approval {
        standing,
        policy: engine.policy().digest().to_owned(),
        id: (standing != Standing::Unavailable).then(|| "abc".to_owned()),
        by: Some("ann".to_owned()),
        until: Some(NOW.plus(60 * Nanos::SECOND)),
        remark: None,
    })
}

fn decide(engine: &Engine, body: &[u8], approval: Option<&Arc<Approval>>) -> Arc<Decision> {
    let caller = Caller::new("laptop".into(), "bank".into(), None, None);
    let beside = Beside {
        approval,
        ..Beside::default()
    };
    engine.decide_beside(&caller, body, None, NOW, beside)
}

#[test]
fn a_call_that_somebody_may_approve_is_held_and_not_counted() {
    let engine = asking();
    let held = decide(&engine, &pay(5), None);
    assert!(held.held && !held.allowed);
    assert_eq!(held.code, Code::ApprovalRequired);
    assert!(engine.totals().is_empty());
    assert!(decide(&engine, &pay(101), None).code == Code::ToolDenied);
    let read = br#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b"}}"#;
    assert!(decide(&engine, read, None).held);
    assert_eq!(engine.totals().len(), 1, "only what was denied");
}

#[test]
fn without_anybody_to_ask_it_is_refused_and_counted() {
    let engine = engine(Options::default());
    let refused = decide(&engine, &pay(5), None);
    assert_eq!(
        (refused.held, refused.code),
        (false, Code::ApprovalRequired)
    );
    assert_eq!(
        engine.totals(),
        [("other".into(), Code::ApprovalRequired, 1)]
    );
}

#[test]
fn an_approved_call_passes_and_is_charged_once() {
    let engine = asking();
    let approved = said(Standing::Approved, &engine);
    for amount in [5, 60] {
        let engine = asking();
        assert!(decide(&engine, &pay(amount), None).held);
        let passed = decide(&engine, &pay(amount), Some(&approved));
        assert!(passed.allowed && passed.approval.is_some(), "{amount}");
        assert_eq!(engine.totals(), [("pay".into(), Code::Allowed, 1)]);
        let next = decide(&engine, &pay(amount), Some(&approved));
        assert_eq!(next.code, Code::LimitExceeded, "approvals are not limits");
    }
}

#[test]
fn an_approval_lifts_no_other_refusal() {
    let engine = asking();
    let approved = said(Standing::Approved, &engine);
    for (body, code) in [
        (pay(101), Code::ToolDenied),
        (
            pay(5).iter().map(u8::to_ascii_uppercase).collect(),
            Code::MalformedRequest,
        ),
        (
            String::from_utf8(pay(5))
                .expect("text")
                .replace("pay", "other")
                .into_bytes(),
            Code::DefaultDeny,
        ),
    ] {
        let refused = decide(&engine, &body, Some(&approved));
        assert_eq!((refused.allowed, refused.code), (false, code));
        assert!(refused.approval.is_none());
    }
}

#[test]
fn an_approval_is_of_one_policy() {
    let engine = asking();
    let approved = said(Standing::Approved, &engine);
    engine.install(policy(&POLICY.replace("\"value\":50", "\"value\":51")));
    let refused = decide(&engine, &pay(5), Some(&approved));
    assert_eq!(
        (refused.allowed, refused.held, refused.code),
        (false, false, Code::ApprovalRequired)
    );
    assert!(refused.message.contains("has changed"));
}

#[test]
fn only_an_approval_lifts() {
    for standing in Standing::ALL {
        let engine = asking();
        let found = decide(&engine, &pay(5), Some(&said(standing, &engine)));
        assert_eq!(found.allowed, standing == Standing::Approved);
        assert_eq!(engine.totals().len(), 1, "every answer is counted");
    }
}

#[test]
fn a_refusal_says_how_it_stands_and_what_to_do() {
    let engine = asking();
    let answer = |standing| {
        let refused = decide(&engine, &pay(5), Some(&said(standing, &engine)));
        (refused.code, denial::answer(&refused, false).body)
    };
    let (code, pending) = answer(Standing::Pending);
    assert_eq!(code, Code::ApprovalRequired);
    assert!(pending.contains("[POLICY DENIED] money needs a person; nothing was done yet"));
    assert!(pending.contains("`interlock approvals approve abc`"));
    assert!(
        pending.contains(
            r#""approval":{"state":"pending","id":"abc","until":"2026-03-02T10:01:05Z"}"#
        )
    );
    let (code, denied) = answer(Standing::Denied);
    assert_eq!(code, Code::ApprovalDenied);
    assert!(denied.contains(r#""code":"approval-denied""#));
    let (code, nobody) = answer(Standing::Unavailable);
    assert_eq!(code, Code::ApprovalRequired);
    assert!(nobody.contains(r#""approval":{"state":"unavailable""#));
}

#[test]
fn the_call_of_an_array_is_not_held() {
    let engine = asking();
    let old = Caller::new(
        "laptop".into(),
        "bank".into(),
        Some("s".into()),
        Some("2025-03-26".into()),
    );
    let body = format!("[{}]", String::from_utf8(pay(5)).expect("text"));
    let approved = said(Standing::Approved, &engine);
    let refused = engine.decide(&old, body.as_bytes(), None, NOW);
    assert_eq!(
        (refused.held, refused.code),
        (false, Code::ApprovalRequired)
    );
    let beside = Beside {
        approval: Some(&approved),
        ..Beside::default()
    };
    let refused = engine.decide_beside(&old, body.as_bytes(), None, NOW, beside);
    assert!(!refused.allowed, "an approval is of one call");
}

#[test]
fn nobody_is_asked_for_a_tool_that_is_not_as_it_was_reviewed() {
    let engine = asking();
    let lock = br#"{"version":"1","servers":{"bank":{"tools":{}}}}"#;
    let pins = Pins::parse(lock, "bank", PinMode::Enforce).expect("it is a lock");
    engine.pin(Some(Arc::new(pins)));
    let refused = decide(&engine, &pay(5), None);
    assert_eq!((refused.held, refused.code), (false, Code::ToolChanged));
}

#[test]
fn shadow_mode_asks_nobody() {
    let engine = engine(Options {
        approvals: true,
        shadow: true,
        ..Options::default()
    });
    let passed = decide(&engine, &pay(5), None);
    assert!(passed.allowed && !passed.held);
    assert_eq!(passed.shadow[0].code, Code::ApprovalRequired);
}

#[test]
fn what_a_requirement_refuses_is_refused_before_anybody_is_asked() {
    let table = Arc::new(LimitTable::anonymous(64).expect("memory"));
    let text = r#"{"version":"1","default":"deny","tools":{"pay":{"action":"require_approval",
        "require":[{"conditions":[{"path":"args.amount","op":"lt","value":100}]}]}}}"#;
    let options = Options {
        approvals: true,
        ..Options::default()
    };
    let engine = Engine::new(policy(text), table, options);
    let refused = decide(&engine, &pay(150), None);
    assert_eq!(
        (refused.code, refused.held),
        (Code::RequirementUnmet, false)
    );
    let asked = decide(&engine, &pay(50), None);
    assert_eq!((asked.code, asked.held), (Code::ApprovalRequired, true));
}
