//! What benchmarks have in common, the program whose instructions are counted among them: the call, and the policy.

#![allow(dead_code, reason = "not everyone needs all of it")]

use std::fmt::Write as _;
use std::sync::Arc;

use gateway_core::engine::{Engine, Options};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;
use gateway_core::time::Nanos;

/// When everything happens.
pub const NOW: Nanos = Nanos(1_772_445_605 * Nanos::SECOND);

/// Slots of a table in which little else is counted.
pub const SLOTS: usize = 1 << 15;

/// A tools/call of 330 bytes.
pub fn body(tool: &str) -> String {
    let call = |cover: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"job_url":"https://example.com/jobs/0123456789","bid":120.5,"answers":["yes","no",3],"cover_letter":"{cover}"}},"_meta":{{"progressToken":7}}}}}}"#
        )
    };
    let bare = call("").len();
    call(&"x".repeat(330 - bare))
}

/// An engine whose policy has so many tools, `tool_0` and on, each under three limits of its own window; its table has
/// so many slots.
pub fn engine(tools: usize, slots: usize, options: Options) -> Engine {
    let mut document = String::from(
        r#"{"version":"1","default":"deny","all_tools":{"limits":[
            {"counter":"a","window":"minute","max":2000000000},
            {"counter":"b","window":"hour","max":2000000000}]},"tools":{"#,
    );
    for i in 0..tools {
        let comma = if i == 0 { "" } else { "," };
        let limit = format!(r#"{{"counter":"c{i}","window":"day","max":2000000000}}"#);
        let _ = write!(document, r#"{comma}"tool_{i}":{{"limits":[{limit}]}}"#);
    }
    document.push_str("}}");
    let policy = PolicySet::parse(document.as_bytes(), "bench.json").expect("compiles");
    let table = LimitTable::anonymous(slots).expect("memory");
    Engine::new(Arc::new(policy), Arc::new(table), options)
}
