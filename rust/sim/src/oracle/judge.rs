//! The judgements themselves.

use gateway_core::decision::{Code, Decision};
use gateway_core::limit::Algorithm as CoreAlgorithm;

use super::{Expected, Key, Oracle, Pending, Place, Violation};
use crate::calendar::Algorithm;
use crate::ledger::{Ledger, State};

impl Oracle {
    /// What must come of a call at exactly `t`, where everything that it depends on is known.
    pub(super) fn expect(&self, pending: &Pending, t: i128) -> Option<Expected> {
        let (mut left, mut wait, mut refused) = (Vec::new(), Some(0), false);
        for (key, Place { limit, cost }) in &pending.keys {
            let ledger = self.ledgers.get(key)?;
            if !ledger.exact(t, pending.began) {
                return None;
            }
            let opens = ledger.opens_at(*cost, limit.max, t, pending.began);
            if opens == Some(t) {
                let remaining = match ledger.algorithm {
                    Algorithm::Bucket {
                        interval, burst, ..
                    } => {
                        let debt = ledger.full_at.1.max(t) - t + cost * interval;
                        burst - (debt + interval - 1).div_euclid(interval)
                    }
                    _ => limit.max - cost - ledger.possible((t, t), pending.began, u64::MAX),
                };
                left.push((limit.quota, remaining));
            } else {
                refused = true;
                wait = opens
                    .zip(wait)
                    .map(|(opens, wait): (i128, i128)| wait.max(opens - pending.now));
            }
        }
        Some(if refused {
            Expected::Refused { wait }
        } else {
            Expected::Admitted { left }
        })
    }

    pub(super) fn check_admission(
        &self,
        pending: &Pending,
        at: (i128, i128),
    ) -> Result<(), Violation> {
        for (key, Place { limit, cost }) in &pending.keys {
            let Some(ledger) = self.ledgers.get(key) else {
                continue;
            };
            let over = match ledger.algorithm {
                Algorithm::Bucket {
                    interval, burst, ..
                } => {
                    let debt = (ledger.full_at.0 - at.1).max(0) + cost * interval;
                    pending.alone && debt > burst * interval
                }
                _ => ledger.sure(at, pending.began) + cost > limit.max,
            };
            if over {
                return Err(Violation(format!(
                    "admitted although quota {} had no room: {:?}",
                    key.0, ledger.charges
                )));
            }
        }
        Ok(())
    }

    pub(super) fn check_refusal(
        &self,
        pending: &Pending,
        at: (i128, i128),
    ) -> Result<(), Violation> {
        let explained = pending.keys.iter().any(|(key, Place { limit, cost })| {
            let Some(ledger) = self.ledgers.get(key) else {
                return false;
            };
            match ledger.algorithm {
                Algorithm::Bucket {
                    interval, burst, ..
                } => {
                    let others = ledger.charges.iter().filter(|charge| {
                        charge.call != pending.id
                            && match charge.state {
                                State::Deciding => true,
                                State::Over(moment) => moment >= pending.began,
                                _ => false,
                            }
                    });
                    let more: i128 = others.map(|charge| charge.cost * interval).sum();
                    let full_at = ledger.full_at.1.max(if more > 0 { at.1 } else { at.0 }) + more;
                    full_at - at.0 + cost * interval > burst * interval
                }
                _ => ledger.possible(at, pending.began, pending.id) + cost > limit.max,
            }
        });
        if explained {
            return Ok(());
        }
        Err(Violation(format!(
            "a false refusal: every limit had room for {:?} at {}",
            pending.call, pending.now
        )))
    }

    pub(super) fn check_full(&self, pending: &Pending) -> Result<(), Violation> {
        let own = |key: &Key| pending.keys.iter().any(|(own, _)| own == key);
        let live = self
            .ledgers
            .iter()
            .filter(|(key, ledger)| !own(key) && self.may_live(ledger))
            .count();
        if pending.alone && live + pending.keys.len() <= self.slots {
            return Err(Violation(format!(
                "the table of {} is said to be full with {live} live counts in it",
                self.slots
            )));
        }
        Ok(())
    }

    fn may_live(&self, ledger: &Ledger) -> bool {
        let running = ledger.algorithm == Algorithm::Concurrency
            && ledger.possible((0, 0), self.moment, u64::MAX) > 0;
        let debt =
            matches!(ledger.algorithm, Algorithm::Bucket { .. }) && ledger.full_at.1 > self.floor.0;
        running || debt || ledger.live_until > self.floor.0
    }
}

/// Holds a decision that nothing overlapped against what it had to be.
pub(super) fn check_exactly(pending: &Pending, decision: &Decision) -> Result<(), Violation> {
    let wrong = |what: String| {
        Err(Violation(format!(
            "{what}, expected {:?}",
            pending.expected
        )))
    };
    match (&pending.expected, decision.code) {
        (None, _) | (Some(Expected::Admitted { .. }), Code::TableFull) => Ok(()),
        (Some(Expected::Admitted { left }), Code::Allowed) => {
            for report in &decision.limits {
                let quota = decision.policy.quota(report.quota);
                let name = &quota.counter;
                let of = |(quota, _): &&(usize, i128)| *name == format!("q{quota}");
                let told = i128::from(report.remaining);
                // What a dead worker ran is left out of the sum only once the room is asked for.
                let low = quota.counting.algorithm() == CoreAlgorithm::Concurrency;
                match left.iter().find(of) {
                    Some((_, left)) if *left == told || (low && told < *left) => {}
                    _ => return wrong(format!("{name} has {} left", report.remaining)),
                }
            }
            Ok(())
        }
        (Some(Expected::Refused { wait }), Code::LimitExceeded) => {
            if decision.retry_after_ns.map(i128::from) == *wait {
                Ok(())
            } else {
                wrong(format!("wait is {:?}", decision.retry_after_ns))
            }
        }
        (Some(_), code) => wrong(format!("answered {code}")),
    }
}
