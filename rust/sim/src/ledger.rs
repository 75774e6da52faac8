//! One count as the upstream could have kept it: every call that was, or may have been, charged to it.
//!
//! Two bounds follow. The **sure** sum is of calls that were admitted and not given back: the table must hold at
//! least that, or it forgave something. The **possible** sum adds what is under way, and what workers took along
//! when they died: the table can hold at most that, so a refusal that it does not explain is a false one. Where
//! nothing overlapped and nobody died the two are equal, and the core's every answer is known beforehand.

use crate::calendar::Algorithm;

/// How far a charge has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its call is being decided.
    Deciding,
    /// Its call was admitted.
    Admitted,
    /// Its worker died while it was decided or given back.
    Unknown,
    /// It is being given back since this moment.
    Returning(u64),
    /// It was refused, undone, given back or ended at this moment.
    Over(u64),
}

/// A charge.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The call it is of.
    pub call: u64,
    /// Units.
    pub cost: i128,
    /// The `max` it was held against.
    pub max: i128,
    /// The earliest and the latest time at which it can have been decided.
    pub at: (i128, i128),
    /// Moments at which its decision began and ended.
    pub moments: (u64, u64),
    /// How far it has come.
    pub state: State,
}

/// One count.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// How it counts.
    pub algorithm: Algorithm,
    /// Calls that still matter.
    pub charges: Vec<Charge>,
    /// Bucket: the least and the greatest instant at which it can be full again.
    pub full_at: (i128, i128),
    /// The count can keep its slot until then.
    pub live_until: i128,
}

impl Ledger {
    /// One that counts nothing yet.
    #[must_use]
    pub const fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            charges: Vec::new(),
            full_at: (0, 0),
            live_until: 0,
        }
    }

    fn windows(&self, charge: &Charge) -> (i128, i128) {
        (
            self.algorithm.number(charge.at.0),
            self.algorithm.number(charge.at.1),
        )
    }

    /// Units that are surely counted against a call decided within `at`, and were so before the moment `before`.
    #[must_use]
    pub fn sure(&self, at: (i128, i128), before: u64) -> i128 {
        let (first, last) = (self.algorithm.number(at.0), self.algorithm.number(at.1));
        let memory = self.algorithm.memory();
        let counted = |charge: &&Charge| {
            let (from, to) = self.windows(charge);
            charge.state == State::Admitted
                && charge.moments.1 < before
                // An admission joins the newest window there is: one after ours cannot have been there before us.
                && from >= last - memory
                && (memory > 0 || to <= first)
        };
        self.charges
            .iter()
            .filter(counted)
            .map(|charge| charge.cost)
            .sum()
    }

    /// Units that may be counted against a call decided within `at`, some time from the moment `since` on.
    #[must_use]
    pub fn possible(&self, at: (i128, i128), since: u64, except: u64) -> i128 {
        let first = self.algorithm.number(at.0);
        let memory = self.algorithm.memory();
        let counted = |charge: &&Charge| {
            let over = matches!(charge.state, State::Over(moment) if moment < since);
            // A window later than ours holds us up as well: we would join it.
            !over && charge.call != except && self.windows(charge).1 >= first - memory
        };
        self.charges
            .iter()
            .filter(counted)
            .map(|charge| charge.cost)
            .sum()
    }

    /// What the charges within one window, or eight successive sevenths, come to beyond the largest `max` among
    /// them: (sum, max) of the first excess around the window of `at`.
    #[must_use]
    pub fn excess(&self, at: (i128, i128)) -> Option<(i128, i128)> {
        let (first, last) = (self.algorithm.number(at.0), self.algorithm.number(at.1));
        let memory = self.algorithm.memory();
        if matches!(self.algorithm, Algorithm::Bucket { .. }) {
            return None;
        }
        let admitted: Vec<(&Charge, (i128, i128))> = self
            .charges
            .iter()
            .filter(|charge| charge.state == State::Admitted)
            .map(|charge| (charge, self.windows(charge)))
            .collect();
        // A span that has too much still has it when it ends with its last charge.
        let ends = admitted.iter().map(|(_, (_, to))| *to);
        for end in ends.filter(|end| (first..=last + memory).contains(end)) {
            let inside =
                |(_, (from, to)): &&(&Charge, (i128, i128))| *from >= end - memory && *to <= end;
            let inside = || admitted.iter().filter(inside).map(|(charge, _)| charge);
            let sum: i128 = inside().map(|charge| charge.cost).sum();
            let max = inside().map(|charge| charge.max).max().unwrap_or(0);
            if sum > max {
                return Some((sum, max));
            }
        }
        None
    }

    /// For a bucket: what was admitted with stamps in any interval, against burst and refill, and against `max`
    /// in any window; the first interval that has too much.
    #[must_use]
    pub fn bucket_excess(&self) -> Option<String> {
        let Algorithm::Bucket {
            interval,
            burst,
            window,
            max,
        } = self.algorithm
        else {
            return None;
        };
        let mut kept: Vec<&Charge> = self
            .charges
            .iter()
            .filter(|charge| charge.state == State::Admitted && charge.at.0 == charge.at.1)
            .collect();
        kept.sort_by_key(|charge| charge.at.0);
        for (place, first) in kept.iter().enumerate() {
            let mut sum = 0;
            for (at, last) in kept.iter().enumerate().skip(place) {
                sum += last.cost;
                let length = last.at.0 - first.at.0;
                let whole = kept.get(at + 1).is_none_or(|next| next.at.0 > last.at.0);
                let over = (sum - burst) * interval > length || (length < window && sum > max);
                if whole && over {
                    return Some(format!("{sum} units within {length} ns"));
                }
            }
        }
        None
    }

    /// The earliest instant from `t` on at which a call of this cost has room under `max`, given what is possible;
    /// `None` where time alone does not help.
    #[must_use]
    pub fn opens_at(&self, cost: i128, max: i128, t: i128, since: u64) -> Option<i128> {
        match self.algorithm {
            Algorithm::Concurrency => {
                (cost <= max && self.possible((t, t), since, u64::MAX) <= max - cost).then_some(t)
            }
            Algorithm::Bucket {
                interval, burst, ..
            } => {
                if cost > burst {
                    return None;
                }
                Some(t.max(self.full_at.1.max(t) + cost * interval - burst * interval))
            }
            _ => {
                if cost > max {
                    return None;
                }
                // Room comes only when a charge is forgotten: those are the instants to try.
                let mut instants: Vec<i128> = vec![t];
                instants.extend(self.charges.iter().map(|charge| {
                    let last = self.windows(charge).1 + self.algorithm.memory();
                    self.algorithm.start(last + 1)
                }));
                instants.sort_unstable();
                instants
                    .into_iter()
                    .filter(|instant| *instant >= t)
                    .find(|instant| {
                        self.possible((*instant, *instant), since, u64::MAX) <= max - cost
                    })
            }
        }
    }

    /// Whether the two bounds agree at this instant, so that the table's content is known.
    #[must_use]
    pub fn exact(&self, t: i128, since: u64) -> bool {
        match self.algorithm {
            Algorithm::Bucket { .. } => self.full_at.0.max(t) == self.full_at.1.max(t),
            _ => {
                self.sure((t, t), u64::MAX) == self.possible((t, t), since, u64::MAX)
                    && self.charges.iter().all(|charge| {
                        let (from, to) = self.windows(charge);
                        from == to || to < self.algorithm.number(t) - self.algorithm.memory()
                    })
            }
        }
    }

    /// Forgets what can matter to no call decided at `floor` or later that begins after the moment `since`.
    pub fn forget(&mut self, floor: i128, since: u64) {
        let (algorithm, memory) = (self.algorithm, self.algorithm.memory());
        let oldest = match algorithm {
            // A give-back has something to give for as long as its own debt would have lasted.
            Algorithm::Bucket {
                window,
                interval,
                burst,
                ..
            } => floor - 2 * window - burst * interval,
            _ => 0,
        };
        self.charges.retain(|charge| {
            let over = matches!(charge.state, State::Over(moment) if moment < since);
            let passed = match algorithm {
                Algorithm::Concurrency => false,
                Algorithm::Bucket { .. } => charge.at.1 < oldest,
                // Twice what is counted, so that every interval that a later call ends is still whole.
                _ => algorithm.number(charge.at.1) + 2 * memory + 1 < algorithm.number(floor),
            };
            !over && (!passed || charge.state == State::Deciding)
        });
    }
}
