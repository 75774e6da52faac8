//! What people are asked about is not answered here.

use std::sync::Arc;

use super::support::{call, gate_to, handed, post, receive, words};
use crate::engine::{Engine, Options};
use crate::http1::{Intake, Received};
use crate::limit::LimitTable;
use crate::policy::PolicySet;

const POLICY: &str =
    r#"{"version":"1","default":"deny","tools":{"look":{},"pay":{"action":"require_approval"}}}"#;
const CANCEL: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;

fn first(approvals: bool, body: &str) -> (Received, Arc<Engine>) {
    let policy = PolicySet::parse(POLICY.as_bytes(), "policy.json").unwrap();
    let table = Arc::new(LimitTable::anonymous(1024).unwrap());
    let options = Options {
        approvals,
        ..Options::default()
    };
    let engine = Arc::new(Engine::new(Arc::new(policy), table, options));
    let received = receive(
        &mut Intake::default(),
        &gate_to(&engine),
        post(body).as_bytes(),
    );
    (received, engine)
}

#[test]
fn a_held_call_is_handed_over_undecided_and_uncounted() {
    let (received, engine) = first(true, &call("pay"));
    let handed = handed(received);
    assert!(handed.decision.is_none() && handed.caller.is_none());
    assert_eq!(handed.body, call("pay").as_bytes());
    assert!(engine.totals().is_empty());
}

#[test]
fn where_nobody_can_be_asked_it_is_refused_at_once() {
    let (received, engine) = first(false, &call("pay"));
    assert!(words(received).contains("approval-required"));
    assert_eq!(engine.totals().len(), 1);
}

#[test]
fn what_may_cancel_a_held_call_is_handed_over_with_its_decision() {
    let handed = handed(first(true, CANCEL).0);
    assert!(handed.decision.is_some_and(|decision| decision.allowed));
    assert!(matches!(first(false, CANCEL).0, Received::Forward(_)));
}

#[test]
fn any_other_call_goes_on_here() {
    let (received, _) = first(true, &call("look"));
    assert!(matches!(received, Received::Forward(_)));
}
