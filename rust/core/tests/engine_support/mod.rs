//! What the tests of the engine share.
#![allow(missing_docs, reason = "the names say it")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use gateway_core::caller::Caller;
use gateway_core::decision::Decision;
use gateway_core::engine::{Engine, Options};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;
use gateway_core::time::Nanos;

/// 2026-03-02T10:00:05Z: five seconds into a minute.
pub const NOW: Nanos = Nanos(1_772_445_605 * Nanos::SECOND);

pub fn policy(text: &str) -> Arc<PolicySet> {
    Arc::new(PolicySet::parse(text.as_bytes(), "policy.json").expect("the policy compiles"))
}

pub fn engine(text: &str) -> Engine {
    engine_with(text, Options::default())
}

pub fn engine_with(text: &str, options: Options) -> Engine {
    let table = Arc::new(LimitTable::anonymous(1024).expect("memory"));
    Engine::new(policy(text), table, options)
}

pub fn caller() -> Caller {
    Caller::new("laptop".into(), "upwork".into(), None, None)
}

pub fn call(tool: &str, arguments: &str) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    )
    .into_bytes()
}

pub fn decide(engine: &Engine, body: &[u8]) -> Arc<Decision> {
    engine.decide(&caller(), body, None, NOW)
}
