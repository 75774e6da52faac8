//! The decision point: bytes in, a [`Decision`] out.
//!
//! INVARIANT: [`Engine::decide`] is total. Whatever the bytes, and also when something in here panics, the
//! answer is a decision, and what could not be decided is a refusal. A refused message has charged nothing.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::caller::Caller;
use crate::charges::Keys;
use crate::claims::Claims;
use crate::counts::{self, Counts, Grid};
use crate::deciding::Deciding;
pub use crate::deciding::{Beside, Rehearsal};
use crate::decision::{Code, Decision, Kind};
use crate::json::Bounds;
use crate::ledger::{Entry, Ledger};
use crate::limit::{LimitTable, Release};
use crate::listing::Hiding;
use crate::pins::{PinMode, Pins};
use crate::policy::{Mode, PolicySet};
use crate::time::Nanos;

/// What an engine is told once.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Decide and record everything, refuse nothing that a rule would refuse.
    pub shadow: bool,
    /// Bounds on a message.
    pub bounds: Bounds,
    /// Answer a refused `tools/call` with a JSON-RPC error instead of a tool result.
    pub protocol_denials: bool,
    /// Where decisions are recorded.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// People can be asked for approvals.
    pub approvals: bool,
}

/// How a message that was admitted ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Done,
    /// The server may have acted: it stays charged.
    Unknown,
    /// The server cannot have seen it: what was taken goes back to the windows it came from.
    NotSent,
}

struct Installed {
    policy: Arc<PolicySet>,
    grid: Arc<Grid>,
    keys: Keys,
}

impl Installed {
    fn new(policy: Arc<PolicySet>) -> Self {
        Self {
            grid: Arc::new(Grid::new(&policy)),
            keys: Keys::new(&policy),
            policy,
        }
    }
}

/// The decision point of one grant on one server.
pub struct Engine {
    installed: ArcSwap<Installed>,
    table: Arc<LimitTable>,
    counts: Counts,
    options: Options,
    pins: ArcSwapOption<Pins>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that starts with this policy over this table.
    #[must_use]
    pub fn new(policy: Arc<PolicySet>, table: Arc<LimitTable>, options: Options) -> Self {
        Self {
            installed: ArcSwap::from_pointee(Installed::new(policy)),
            table,
            counts: Counts::default(),
            options,
            pins: ArcSwapOption::empty(),
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<PolicySet> {
        self.installed.load().policy.clone()
    }

    /// The table that holds the counts.
    #[must_use]
    pub fn table(&self) -> &Arc<LimitTable> {
        &self.table
    }

    /// What was told once.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Swaps the policy: each decision sees one policy whole, and limits of unchanged meaning keep their
    /// counts, because these live in the table under a key made of their meaning.
    pub fn install(&self, policy: Arc<PolicySet>) {
        let old = self.installed.swap(Arc::new(Installed::new(policy)));
        self.counts.retire(old.grid.clone());
    }

    /// Swaps the pinned definitions; without any, every tool is as it should be.
    pub fn pin(&self, pins: Option<Arc<Pins>>) {
        if let Some(pins) = &pins {
            pins.share(&self.table);
        }
        self.pins.store(pins);
    }

    /// (label, code, count) of all decisions so far.
    #[must_use]
    pub fn totals(&self) -> Vec<(String, Code, u64)> {
        let mut totals = Vec::new();
        self.each_total(|label, code, count| totals.push((label.to_owned(), code, count)));
        totals
    }

    /// Shows each (label, code, count) of all decisions so far, in their order.
    pub fn each_total(&self, show: impl FnMut(&str, Code, u64)) {
        self.counts.each_total(&self.installed.load().grid, show);
    }

    /// The counts that are not by label.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether lists must be filtered: the policy hides something, and not only in shadow mode, or definitions are
    /// pinned.
    #[must_use]
    pub fn filters(&self) -> bool {
        self.pins.load().is_some() || self.hides(&self.installed.load().policy)
    }

    /// What must be taken out of lists now; `None` for nothing.
    #[must_use]
    pub fn hiding(&self) -> Option<Hiding> {
        let policy = self.policy();
        let policy = self.hides(&policy).then_some(policy);
        let pins = self.pins.load_full();
        if policy.is_none() && pins.is_none() {
            return None;
        }
        let enforces = |pins: &Arc<Pins>| pins.mode() == PinMode::Enforce && !self.options.shadow;
        Some(Hiding {
            policy,
            enforces_pins: pins.as_ref().is_some_and(enforces),
            pins,
        })
    }

    fn hides(&self, policy: &PolicySet) -> bool {
        policy.hides_anything() && !self.options.shadow && policy.mode() == Mode::Enforce
    }

    /// Decides one message on the very bytes that will be forwarded. `claims` are the HTTP headers that
    /// mirror the body, `None` on stdio.
    ///
    /// A request that needs an approval, where people can be asked for one, is refused as *held*: whoever asked has to
    /// find out what people say of it and to decide it again by [`Engine::decide_beside`].
    pub fn decide(
        &self,
        caller: &Caller,
        body: &[u8],
        claims: Option<&Claims<'_>>,
        now: Nanos,
    ) -> Arc<Decision> {
        self.decide_beside(caller, body, claims, now, Beside::default())
    }

    /// Decides one message of which more is known than itself.
    pub fn decide_beside(
        &self,
        caller: &Caller,
        body: &[u8],
        claims: Option<&Claims<'_>>,
        now: Nanos,
        beside: Beside<'_>,
    ) -> Arc<Decision> {
        let installed = self.installed.load();
        let policy = &installed.policy;
        let pins = self.pins.load();
        let deciding = Deciding {
            table: &self.table,
            options: &self.options,
            pins: pins.as_deref(),
            policy,
            keys: &installed.keys,
            caller,
            claims,
            now,
            beside,
            witness: None,
        };
        // It is large, so it is filled in where it stays.
        let mut decision = Arc::new(Decision::new(policy.clone()));
        if let Some(decision) = Arc::get_mut(&mut decision) {
            guarded(decision, |decision| deciding.body(body, decision));
            decision.held = self.options.approvals
                && beside.approval.is_none()
                && decision.kind == Kind::Request
                && decision.code == Code::ApprovalRequired;
        }
        if !decision.held {
            counts::record(&installed.grid, &self.counts, &decision);
        }
        decision
    }

    /// Decides without charging anything, telling `witness` each step.
    pub fn rehearse(
        &self,
        caller: &Caller,
        body: &[u8],
        now: Nanos,
        witness: &mut dyn Rehearsal,
    ) -> Decision {
        let installed = self.installed.load();
        let policy = &installed.policy;
        let pins = self.pins.load();
        let mut decision = Decision::new(policy.clone());
        Deciding {
            table: &self.table,
            options: &self.options,
            pins: pins.as_deref(),
            policy,
            keys: &installed.keys,
            caller,
            claims: None,
            now,
            beside: Beside::default(),
            witness: Some(witness),
        }
        .body(body, &mut decision);
        decision
    }

    /// Records what became of a message, where that is wanted.
    ///
    /// # Arguments
    ///
    /// `entry` is not called where there is no ledger.
    pub fn record(&self, entry: impl FnOnce() -> Option<Entry>) {
        if let Some(ledger) = &self.options.ledger {
            if let Some(entry) = entry() {
                ledger.record(entry);
            }
        }
    }

    /// Ends what a decision and its parts reserved. Only the first time: true then, and nothing is done after it.
    pub fn settle(&self, decision: &Decision, outcome: Outcome, now: Nanos) -> bool {
        let how = if outcome == Outcome::NotSent {
            Release::GiveBack
        } else {
            Release::Finish
        };
        let first = decision.settle();
        if first {
            for reservation in decision.reservations() {
                self.table.release(reservation, how, now);
            }
        }
        first
    }
}

/// Lets `decide` fill in a new decision where it is. A panic leaves a refusal, not half a decision: what it had
/// reserved stays charged.
fn guarded(decision: &mut Decision, decide: impl FnOnce(&mut Decision)) {
    if catch_unwind(AssertUnwindSafe(|| decide(decision))).is_err() {
        *decision = Decision::new(decision.policy.clone());
        let message = "the gateway could not decide this message".to_owned();
        decision.refuse(Code::InternalError, -32603, message);
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::panic,
        clippy::expect_used,
        reason = "the panic is what is tested"
    )]

    use super::*;

    #[test]
    fn a_panic_is_a_refusal() {
        let text = br#"{"version":"1","default":"allow"}"#;
        let policy = Arc::new(PolicySet::parse(text, "p.json").expect("compiles"));
        let mut decision = Decision::new(policy);
        guarded(&mut decision, |decision| {
            decision.allowed = true;
            panic!("in the middle of a decision");
        });
        assert!(!decision.allowed);
        assert_eq!(
            (decision.code, decision.rpc_code),
            (Code::InternalError, -32603)
        );
    }
}
