//! Live use of a policy's limits, for `/limits` and the usage metric. Limits with a `key` have one quota per
//! argument value, which are not listed here.

use std::collections::BTreeMap;

use crate::caller::Caller;
use crate::charges::{Asking, Keys};
use crate::engine::Engine;
use crate::limit::Charge;
use crate::policy::{LimitUse, Quota, Scope};
use crate::time::Nanos;

/// One limit's present use, in the numbers that the policy's author would write.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// RFC 6901 pointer of the limit.
    pub rule: String,
    /// The quota's name.
    pub counter: String,
    /// The window's text; empty for concurrency.
    pub window: String,
    /// Who shares the quota.
    pub scope: &'static str,
    /// Units allowed.
    pub max: f64,
    /// Units used.
    pub used: f64,
    /// Units left.
    pub remaining: f64,
    /// Milliseconds until the window ends or everything is regained.
    pub reset_ms: u64,
}

/// The present use of every limit without a `key` that this caller shares, in the order of the policy.
#[must_use]
pub fn usage(engine: &Engine, caller: &Caller, now: Nanos) -> Vec<Usage> {
    let policy = engine.policy();
    let asking = Asking {
        policy: &policy,
        table: engine.table(),
        keys: &Keys::new(&policy),
        caller,
        root: None,
        all_shadow: false,
    };
    policy
        .entries()
        .flat_map(|entry| &entry.limits)
        .filter_map(|place| {
            let quota = policy.quota(place.quota);
            (quota.key.is_none())
                .then(|| one(&asking, place, quota, now))
                .flatten()
        })
        .collect()
}

/// How much of each counter of those is used, 1 being all. Several limits may share a counter; the fullest of
/// them is the one to watch.
#[must_use]
pub fn ratios(engine: &Engine, caller: &Caller, now: Nanos) -> BTreeMap<String, f64> {
    let mut ratios = BTreeMap::new();
    for limit in usage(engine, caller, now) {
        let ratio = if limit.max > 0.0 {
            limit.used / limit.max
        } else {
            1.0
        };
        let fullest = ratios.entry(limit.counter).or_insert(ratio);
        *fullest = ratio.max(*fullest);
    }
    ratios
}

fn one(asking: &Asking<'_>, place: &LimitUse, quota: &Quota, now: Nanos) -> Option<Usage> {
    let charge = Charge {
        key: asking.key(place.quota, quota).ok()?,
        counting: &quota.counting,
        cost: 0,
        max: Some(place.max),
        shadow_max: None,
        label: quota.label,
    };
    let reading = asking.table.peek(&charge, now);
    let remaining = reading
        .map_or(place.max, |reading| reading.remaining)
        .min(place.max);
    let scale = 10_f64.powi(i32::from(quota.scale));
    #[expect(clippy::cast_precision_loss, reason = "a gauge, not a decision")]
    let number = |units: u64| units as f64 / scale;
    Some(Usage {
        rule: place.pointer.clone(),
        counter: quota.counter.clone(),
        window: quota.window_text.clone(),
        scope: match quota.scope {
            Scope::Grant => "grant",
            Scope::Session => "session",
            Scope::Server => "server",
            Scope::Global => "global",
        },
        max: number(place.max),
        used: number(place.max - remaining),
        remaining: number(remaining),
        reset_ms: reading.map_or(0, |reading| reading.reset_ns.div_ceil(1_000_000)),
    })
}
