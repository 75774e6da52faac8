//! A policy loads or says why not, in both syntaxes; one that loads decides every call.

use std::sync::Arc;

use gateway_core::caller::Caller;
use gateway_core::engine::{Engine, Options};
use gateway_core::limit::LimitTable;
use gateway_core::policy::{PolicySet, Severity};

use crate::MIDNIGHT;

const CALLS: [&[u8]; 3] = [
    br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bid","arguments":{"bid":2.5,"l":[{"x":1}],"k":"a"}}}"#,
    br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#,
    br#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#,
];

/// Any bytes.
pub fn holds(data: &[u8]) {
    for name in ["fuzz.json", "fuzz.yaml"] {
        match PolicySet::parse(data, name) {
            Ok(policy) => decides(policy),
            Err(problems) => {
                assert!(
                    problems
                        .iter()
                        .any(|problem| problem.severity == Severity::Error)
                );
                let lines = 1 + data
                    .iter()
                    .filter(|byte| matches!(byte, b'\n' | b'\r'))
                    .count();
                for problem in problems {
                    assert!(
                        (1..=lines).contains(&(problem.line as usize)),
                        "{problem:?}"
                    );
                    assert!((1..=data.len() + 1).contains(&(problem.column as usize)));
                }
            }
        }
    }
}

fn decides(policy: PolicySet) {
    let table = Arc::new(LimitTable::anonymous(64).expect("memory"));
    let engine = Engine::new(Arc::new(policy), table, Options::default());
    let caller = Caller::new("g".into(), "s".into(), None, None);
    for call in CALLS {
        let decision = engine.decide(&caller, call, None, MIDNIGHT);
        assert_eq!(decision.allowed, decision.code.slug() == "allowed");
        assert_ne!(decision.code.slug(), "internal-error");
    }
}
