//! What must hold of every decision, told from the outside: from the calls that were made, their answers, and which
//! of them reached the upstream. Nothing here looks into the table.

mod judge;

use std::collections::BTreeMap;

use gateway_core::decision::{Code, Decision};

use crate::calendar::{Algorithm, MILLI};
use crate::ledger::{Charge, Ledger, State};
use crate::spec::{Call, Quota, Use, Version};
use judge::check_exactly;

/// The clock floor may lag this much behind the newest decision (documented in the core's table).
const LAG: i128 = MILLI;
/// Later than anything.
const FAR: i128 = i128::MAX / 4;

/// A count: quota, whose, and for which value of its key.
type Key = (usize, usize, u8);

/// What the core did that it must not do.
#[derive(Clone, Debug)]
pub struct Violation(pub String);

/// A call that is being decided.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its number.
    pub id: u64,
    /// What was asked.
    pub call: Call,
    /// By which version of the policy.
    pub version: usize,
    /// At which time of its worker's clock.
    pub now: i128,
    /// Nothing else was under way from its beginning to its end.
    pub alone: bool,
    keys: Vec<(Key, Place)>,
    began: u64,
    from: i128,
    floor_before: i128,
    expected: Option<Expected>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    limit: Use,
    cost: i128,
}

/// What the decision must be.
#[derive(Clone, Debug, PartialEq)]
enum Expected {
    Admitted { left: Vec<(usize, i128)> },
    Refused { wait: Option<i128> },
}

/// A charge that is being given back, or a call that ends.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The call's number.
    pub id: u64,
    /// Whether what it cost goes back.
    pub gives_back: bool,
    /// Nothing else was under way.
    pub alone: bool,
    now: i128,
    from: i128,
    keys: Vec<Key>,
}

/// The upstream's books.
pub struct Oracle {
    quotas: Vec<Quota>,
    versions: Vec<Version>,
    slots: usize,
    ledgers: BTreeMap<Key, Ledger>,
    /// The least and the greatest that the table's clock floor can be.
    floor: (i128, i128),
    /// The least it can have been when something began after a time with nothing under way.
    period: i128,
    moment: u64,
}

impl Oracle {
    /// Books for a table of so many slots, made at `now`.
    #[must_use]
    pub fn new(quotas: Vec<Quota>, slots: usize, now: i128) -> Self {
        Self {
            quotas,
            versions: Vec::new(),
            slots,
            ledgers: BTreeMap::new(),
            floor: (now, now),
            period: now,
            moment: 0,
        }
    }

    /// Takes up a version; its number.
    pub fn publish(&mut self, version: Version) -> usize {
        self.versions.push(version);
        self.versions.len() - 1
    }

    /// The versions so far.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    fn tick(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// A call's decision begins. `alone` says that nothing else is under way.
    pub fn begin(
        &mut self,
        id: u64,
        call: Call,
        version: usize,
        now: i128,
        alone: bool,
    ) -> Pending {
        let began = self.tick();
        if alone {
            self.period = self.floor.0;
            self.forget();
        }
        let mut keys = Vec::new();
        let places = self.versions[version].tools[call.tool].clone();
        let valid = places
            .iter()
            .all(|place| self.quotas[place.quota].cost_of(&call).is_some());
        if valid {
            for limit in places {
                let quota = &self.quotas[limit.quota];
                let who = if quota.global { usize::MAX } else { call.grant };
                let value = if quota.keyed { call.key } else { u8::MAX };
                let cost = quota.cost_of(&call).unwrap_or(0);
                keys.push(((limit.quota, who, value), Place { limit, cost }));
                self.ledgers
                    .entry((limit.quota, who, value))
                    .or_insert_with(|| Ledger::new(quota.algorithm));
            }
        }
        let from = self.floor.0.max(now);
        let floor_before = self.floor.1;
        let mut pending = Pending {
            id,
            call,
            version,
            now,
            alone,
            keys,
            began,
            from,
            floor_before,
            expected: None,
        };
        if alone && from == self.floor.1.max(now) {
            pending.expected = self.expect(&pending, from);
        }
        if valid {
            self.floor.1 = self.floor.1.max(now);
        }
        for (key, place) in &pending.keys {
            if let Some(ledger) = self.ledgers.get_mut(key) {
                ledger.charges.push(Charge {
                    call: id,
                    cost: place.cost,
                    max: place.limit.max,
                    at: (from, from),
                    moments: (began, u64::MAX),
                    state: State::Deciding,
                });
            }
        }
        pending
    }

    /// A call has been decided.
    ///
    /// # Errors
    ///
    /// [`Violation`] where the decision is not one that could be made.
    pub fn decided(&mut self, pending: &Pending, decision: &Decision) -> Result<(), Violation> {
        let ended = self.tick();
        let code = decision.code;
        if pending.keys.is_empty() {
            return if code == Code::CostInvalid && decision.reservation.is_none() {
                Ok(())
            } else {
                Err(Violation(format!(
                    "a cost that is none was answered {code}"
                )))
            };
        }
        self.raise_floor(pending);
        let at = (pending.from, self.floor.1.max(pending.now));
        let admitted = decision.allowed;
        match code {
            Code::Allowed if decision.reservation.is_some() => self.check_admission(pending, at)?,
            Code::LimitExceeded => self.check_refusal(pending, at)?,
            Code::TableFull => self.check_full(pending)?,
            Code::Contended if !pending.alone => {}
            _ => {
                return Err(Violation(format!(
                    "unexplained {code}: {}",
                    decision.message
                )));
            }
        }
        for (key, place) in &pending.keys {
            let period = self.period;
            let Some(ledger) = self.ledgers.get_mut(key) else {
                continue;
            };
            if let Some(charge) = ledger.charges.iter_mut().find(|c| c.call == pending.id) {
                charge.at = at;
                charge.moments.1 = ended;
                charge.state = if admitted {
                    State::Admitted
                } else {
                    State::Over(ended)
                };
            }
            let touched = admitted || !pending.alone;
            touch(ledger, at, place.cost, admitted, touched);
            if let (Algorithm::Bucket { interval, .. }, true) = (ledger.algorithm, admitted) {
                let least = if pending.alone { at.0 } else { period };
                ledger.full_at.0 = ledger.full_at.0.max(least) + place.cost * interval;
            }
            if let (true, Some((sum, max))) = (admitted, ledger.excess(at)) {
                return Err(Violation(format!(
                    "over-admitted: quota {} took {sum} of {max} in one window",
                    key.0
                )));
            }
            if let (true, Some(what)) = (admitted, ledger.bucket_excess()) {
                return Err(Violation(format!(
                    "over-admitted: bucket {} took {what}",
                    key.0
                )));
            }
        }
        if pending.alone {
            check_exactly(pending, decision)?;
        }
        Ok(())
    }

    fn raise_floor(&mut self, pending: &Pending) {
        let now = pending.now;
        let certain = if pending.alone && now >= pending.floor_before + LAG {
            now
        } else {
            now - LAG + 1
        };
        self.floor.0 = self.floor.0.max(certain);
        self.floor.1 = self.floor.1.max(now);
    }

    /// A worker died while it decided: the call may be charged, and was not admitted.
    pub fn died_deciding(&mut self, pending: &Pending) {
        let moment = self.tick();
        let at = (pending.from, self.floor.1.max(pending.now));
        for (key, place) in &pending.keys {
            let Some(ledger) = self.ledgers.get_mut(key) else {
                continue;
            };
            let runs = ledger.algorithm == Algorithm::Concurrency;
            if let Some(charge) = ledger.charges.iter_mut().find(|c| c.call == pending.id) {
                charge.at = at;
                charge.moments.1 = moment;
                charge.state = if runs {
                    State::Over(moment)
                } else {
                    State::Unknown
                };
            }
            touch(ledger, at, place.cost, true, true);
            if runs {
                ledger.live_until = FAR;
            }
        }
    }

    /// A worker died with these admitted calls not settled: they stay charged, and run no more.
    pub fn died_with(&mut self, calls: &[u64]) {
        let moment = self.tick();
        for ledger in self.ledgers.values_mut() {
            if ledger.algorithm != Algorithm::Concurrency {
                continue;
            }
            for charge in &mut ledger.charges {
                if calls.contains(&charge.call) && !matches!(charge.state, State::Over(_)) {
                    charge.state = State::Over(moment);
                    ledger.live_until = FAR;
                }
            }
        }
    }

    /// A call begins to be settled.
    pub fn ending(&mut self, id: u64, gives_back: bool, now: i128, alone: bool) -> Ending {
        let moment = self.tick();
        if alone {
            self.period = self.floor.0;
        }
        let mut keys = Vec::new();
        for (key, ledger) in &mut self.ledgers {
            let runs = ledger.algorithm == Algorithm::Concurrency;
            for charge in ledger.charges.iter_mut().filter(|c| c.call == id) {
                if gives_back || runs {
                    charge.state = State::Returning(moment);
                    keys.push(*key);
                }
            }
        }
        let from = self.floor.0.max(now);
        Ending {
            id,
            gives_back,
            alone,
            now,
            from,
            keys,
        }
    }

    /// A call has been settled, or its worker died over it.
    pub fn ended(&mut self, ending: &Ending, died: bool) {
        let moment = self.tick();
        let latest = self.floor.1.max(ending.now);
        for key in &ending.keys {
            let Some(ledger) = self.ledgers.get_mut(key) else {
                continue;
            };
            let runs = ledger.algorithm == Algorithm::Concurrency;
            if runs && died {
                ledger.live_until = FAR;
            }
            let (algorithm, full_at) = (ledger.algorithm, &mut ledger.full_at);
            for charge in ledger.charges.iter_mut().filter(|c| c.call == ending.id) {
                charge.state = if died && !runs {
                    State::Unknown
                } else {
                    State::Over(moment)
                };
                if let Algorithm::Bucket { interval, .. } = algorithm {
                    let debt = charge.cost * interval;
                    let credit = |r: i128, stamp: i128| (debt - (r - stamp).max(0)).max(0);
                    full_at.0 -= credit(ending.from, charge.at.1);
                    if ending.alone && !died {
                        full_at.1 -= credit(latest, charge.at.0);
                    }
                }
            }
        }
    }

    /// Idle counts were cleared at `now`. The lock was free, or the next call finds the floor where it was.
    pub fn cleared(&mut self, now: i128) {
        self.floor.1 = self.floor.1.max(now);
    }

    /// The clearing of idle counts begins.
    pub fn clearing(&mut self, now: i128) {
        self.floor.1 = self.floor.1.max(now);
    }

    /// Everything was closed and the file opened again.
    pub fn restarted(&mut self) {
        let moment = self.tick();
        for ledger in self.ledgers.values_mut() {
            if ledger.algorithm == Algorithm::Concurrency {
                ledger.live_until = 0;
                for charge in &mut ledger.charges {
                    charge.state = State::Over(moment);
                }
            }
        }
    }

    fn forget(&mut self) {
        let (floor, moment) = (self.floor.0, self.moment);
        self.ledgers
            .values_mut()
            .for_each(|ledger| ledger.forget(floor, moment));
    }
}

/// Notes that a charge was, or may have been, written to its slot.
fn touch(ledger: &mut Ledger, at: (i128, i128), cost: i128, taken: bool, touched: bool) {
    match ledger.algorithm {
        Algorithm::Bucket { interval, .. } => {
            if taken {
                ledger.full_at.1 = ledger.full_at.1.max(at.1) + cost * interval;
            } else if touched {
                // Taken and undone: a give-back is less by the time that has passed, so as much may stay behind.
                let left = (cost * interval).min(at.1 - at.0);
                ledger.full_at.1 = ledger.full_at.1.max(at.1) + left;
            }
        }
        Algorithm::Concurrency => {}
        algorithm if touched => {
            let end = algorithm.start(algorithm.number(at.1) + algorithm.memory() + 1);
            ledger.live_until = ledger.live_until.max(end);
        }
        _ => {}
    }
}
