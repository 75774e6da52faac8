//! A decision told step by step, for people: which entries matched, which rules held, what limits have left.

use crate::caller::Caller;
use crate::decimal::Decimal;
use crate::denial::{decision_data, escape};
use crate::engine::{Engine, Rehearsal};
use crate::evaluate::Witness;
use crate::limit::Reading;
use crate::policy::condition::Truth;
use crate::policy::{LimitUse, Quota};
use crate::time::Nanos;

#[derive(Default)]
struct Notes {
    entries: Vec<String>,
    rules: Vec<String>,
    limits: Vec<String>,
}

impl Witness for Notes {
    fn entry(&mut self, pointer: &str) {
        self.entries.push(escape(pointer));
    }

    fn rule(&mut self, pointer: &str, truth: Truth) {
        let word = match truth {
            Truth::True => "true",
            Truth::False => "false",
            Truth::Indeterminate => "indeterminate",
        };
        self.rules.push(format!(
            "{{\"rule\":{},\"holds\":\"{word}\"}}",
            escape(pointer)
        ));
    }
}

impl Rehearsal for Notes {
    fn limit(&mut self, place: &LimitUse, quota: &Quota, reading: &Reading) {
        let wait = match reading.wait_ns {
            Some(ns) => ns.div_ceil(1_000_000).to_string(),
            None => "null".to_owned(),
        };
        self.limits.push(format!(
            "{{\"rule\":{},\"counter\":{},\"limit\":{},\"window\":{},\"remaining\":{},\"room\":{},\"waitMs\":{wait}}}",
            escape(&place.pointer),
            escape(&quota.counter),
            Decimal::from_units(place.max, quota.scale),
            escape(&quota.window_text),
            Decimal::from_units(reading.remaining, quota.scale),
            !reading.refused && !reading.shadow_refused,
        ));
    }

    fn as_witness(&mut self) -> &mut dyn Witness {
        self
    }
}

/// Decides without charging, and tells how: a JSON object with `allowed`, `decision`, `entries`, `rules`,
/// `limits` and `shadow`.
pub fn explain(engine: &Engine, caller: &Caller, body: &[u8], now: Nanos) -> String {
    let mut notes = Notes::default();
    let decision = engine.rehearse(caller, body, now, &mut notes);
    let shadow: Vec<String> = decision
        .shadow
        .iter()
        .map(|denial| {
            format!(
                "{{\"rule\":{},\"code\":\"{}\"}}",
                escape(&denial.rule),
                denial.code
            )
        })
        .collect();
    format!(
        "{{\"allowed\":{},\"decision\":{},\"entries\":[{}],\"rules\":[{}],\"limits\":[{}],\"shadow\":[{}]}}",
        decision.allowed,
        decision_data(&decision),
        notes.entries.join(","),
        notes.rules.join(","),
        notes.limits.join(","),
        shadow.join(","),
    )
}
