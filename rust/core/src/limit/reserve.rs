//! Taking what a call costs from every limit it falls under, or from none.
//!
//! INVARIANT: after a verdict other than [`Verdict::Admitted`] the call has taken nothing. All limits are looked
//! at before the first is changed; where a change then fails because others came first, what was taken is given
//! back to where it came from. A call that found no room waits once, a moment, for the calls that overlapped it
//! and looks again, since what it saw may have been taken by one of them only to be given back.

use smallvec::SmallVec;

use super::bucket::Bucket;
use super::concurrency;
use super::key::Locator;
use super::layout::{Content, MARK, Slot};
use super::mark::{Claim, Held, Mark, Reservation};
use super::outcome::{Look, Stop, Taken};
use super::pins::{Pinned, overlapping};
use super::table::{NoSlot, Rule, revive};
use super::window::RING;
use super::{Charge, HORIZON, LimitTable, Reading, count_capacity};
use crate::sync::{Ordering, Patience};
use crate::time::Nanos;

/// What became of a call's charges.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a reservation on the heap would cost the hot path an allocation"
)]
pub enum Verdict {
    /// All were taken.
    Admitted(Reservation),
    /// At least one enforced limit had no room; the readings say which.
    Refused,
    /// A new key found no slot.
    TableFull,
    /// Others changed the same counts too often, or hold the table's lock for too long.
    Contended,
    /// The table cannot be used: this is a forked process, all seats are taken, a key counts something else, or
    /// an argument is out of all bounds.
    Unavailable,
}

/// What to do with a reservation when its call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The call is known to have had no effect: everything goes back to the window it came from.
    GiveBack,
    /// The call ended: it is no longer running, and what it cost stays counted.
    Finish,
}

/// A charge on its way through [`LimitTable::reserve`].
struct Plan<'a> {
    charge: &'a Charge,
    rule: Rule,
    key: Locator,
    /// What the count may come to.
    bound: u64,
    /// Whether lack of room refuses the call.
    enforced: bool,
    /// Not to be counted: a shadow limit that has no room, or for whose key the table has none.
    skipped: bool,
}

impl<'a> Plan<'a> {
    #[inline]
    fn of(charge: &'a Charge) -> Option<Self> {
        let capacity = count_capacity(charge.algorithm);
        if capacity == 0 {
            return None;
        }
        Some(Self {
            charge,
            rule: Rule::of(charge.algorithm)?,
            key: Locator::of(charge.key),
            bound: charge
                .max
                .or(charge.shadow_max)
                .unwrap_or(capacity)
                .min(capacity),
            enforced: charge.max.is_some(),
            skipped: false,
        })
    }

    /// The units there are when none is in use.
    fn whole(&self) -> u64 {
        match self.charge.algorithm {
            super::Algorithm::Bucket { burst, .. } => burst,
            _ => self.bound,
        }
    }

    /// How a look reads to the caller, before anything is taken.
    #[inline]
    fn reading(&self, look: &Look, now: Nanos) -> Reading {
        let shadow_room = match self.rule {
            Rule::Bucket(_) => look.room,
            _ => self
                .charge
                .shadow_max
                .is_none_or(|max| self.charge.cost <= max && look.used <= max - self.charge.cost),
        };
        Reading {
            remaining: self.whole().saturating_sub(look.used),
            refused: self.enforced && !look.room,
            shadow_refused: self.charge.shadow_max.is_some() && !shadow_room,
            wait_ns: if look.room {
                Some(0)
            } else {
                look.opens_at.map(|instant| instant.since(now))
            },
            reset_ns: look.clear_at.since(now),
        }
    }
}

/// Plans and their slots; `None` while a key has no slot.
type Places<'t> = SmallVec<[Option<(usize, &'t Slot)>; 4]>;

/// One attempt to take everything.
enum Attempt {
    Admitted(Reservation),
    Refused,
    NoSlots,
    Stopped(Verdict),
}

impl LimitTable {
    /// Takes the cost of every charge, or of none, and says in `out` how each one stands (in their order).
    ///
    /// The charges' keys differ from one another. A charge with no `max` never refuses: it is counted when it has
    /// room under its `shadow_max`. `out` is left empty when the verdict says nothing about the limits
    /// themselves.
    pub fn reserve(
        &self,
        charges: &[Charge],
        now: Nanos,
        out: &mut SmallVec<[Reading; 4]>,
    ) -> Verdict {
        out.clear();
        let Some(claim) = self.claim().filter(|_| now < HORIZON) else {
            return Verdict::Unavailable;
        };
        let mut plans: SmallVec<[Plan<'_>; 4]> = SmallVec::new();
        for charge in charges {
            let Some(plan) = Plan::of(charge) else {
                return Verdict::Unavailable;
            };
            plans.push(plan);
        }
        let mut waited = false;
        let mut insertions = 0;
        let verdict = loop {
            let Some(pinned) = self.pin(claim) else {
                break Verdict::Contended;
            };
            match self.attempt(&mut plans, claim, now, out) {
                Attempt::Admitted(reservation) => return Verdict::Admitted(reservation),
                Attempt::Refused if waited => return Verdict::Refused,
                Attempt::Refused => self.wait_for_overlapping(pinned),
                Attempt::Stopped(verdict) => break verdict,
                Attempt::NoSlots => {
                    drop(pinned);
                    insertions += 1;
                    // Only an eviction between our insertion and our use brings us here again.
                    if insertions > charges.len() + 4 {
                        break Verdict::Contended;
                    }
                    match self.insert_missing(&mut plans, now) {
                        Ok(()) => continue,
                        Err(NoSlot::Full) => break Verdict::TableFull,
                        Err(NoSlot::Busy) => break Verdict::Contended,
                    }
                }
            }
            waited = true;
        };
        out.clear();
        verdict
    }

    /// Unpins, then waits a moment for the calls that were in the middle of deciding.
    #[cold]
    fn wait_for_overlapping(&self, pinned: Pinned<'_>) {
        let others = overlapping(self.pins_in_use(), Some(&pinned));
        drop(pinned);
        // Out of patience: the second look decides, with whatever it sees.
        let _ = others.outlast(Patience::CALL, |seat| self.seat_lives(seat));
    }

    /// Gives a slot to every key that has none.
    #[cold]
    fn insert_missing(&self, plans: &mut [Plan<'_>], now: Nanos) -> Result<(), NoSlot> {
        for plan in plans {
            let content = Content::Count(plan.charge.algorithm);
            match self.insert(plan.key, content, plan.charge.label, now, |_| {}) {
                Ok(()) => {}
                Err(_) if !plan.enforced => plan.skipped = true,
                Err(none) => return Err(none),
            }
        }
        Ok(())
    }

    fn attempt(
        &self,
        plans: &mut [Plan<'_>],
        claim: Claim,
        now: Nanos,
        out: &mut SmallVec<[Reading; 4]>,
    ) -> Attempt {
        out.clear();
        let places: Places<'_> = plans.iter().map(|plan| self.find(plan.key)).collect();
        let Some(t) = self.present(now) else {
            return Attempt::Stopped(Verdict::Unavailable);
        };
        let (mut refused, mut missing) = (false, false);
        for (plan, place) in plans.iter_mut().zip(&places) {
            let slot = place.map(|(_, slot)| slot);
            let Ok(look) = self.look(plan, slot, claim, t) else {
                return Attempt::Stopped(Verdict::Unavailable);
            };
            let reading = plan.reading(&look, now);
            refused |= reading.refused;
            if !plan.enforced && !look.room {
                plan.skipped = true;
            }
            missing |= slot.is_none() && !plan.skipped;
            out.push(reading);
        }
        if refused {
            return Attempt::Refused;
        }
        if missing {
            return Attempt::NoSlots;
        }
        self.take_all(plans, &places, claim, (t, now), out)
    }

    /// What a plan's call would find.
    #[inline]
    fn look(
        &self,
        plan: &Plan<'_>,
        slot: Option<&Slot>,
        claim: Claim,
        t: Nanos,
    ) -> Result<Look, Stop> {
        // ORDERING: Acquire, as for every count; an absent slot reads as one never used.
        let word =
            |place: usize| slot.map_or(0, |slot| slot.ring[place % RING].load(Ordering::Acquire));
        if let Some(slot) = slot {
            slot.admits(Content::Count(plan.charge.algorithm), plan.charge.label)?;
        }
        match plan.rule {
            Rule::Windows(windows) => windows.look(plan.charge.cost, plan.bound, t, word),
            Rule::Bucket(bucket) => bucket.look(plan.charge.cost, t, word(0)),
            Rule::Concurrency => {
                let calls = self.calls(claim);
                let look = calls.look(plan.charge.cost, plan.bound, t, word)?;
                if look.room || !slot.is_some_and(|slot| self.bury_dead(slot, claim)) {
                    return Ok(look);
                }
                calls.look(plan.charge.cost, plan.bound, t, word)
            }
        }
    }

    /// Ends the generations of dead processes that stand in the way; true if there were any.
    #[cold]
    fn bury_dead(&self, slot: &Slot, claim: Claim) -> bool {
        concurrency::suspects(&slot.ring, claim.seat)
            .fold(false, |any, seat| self.retire_if_dead(seat) | any)
    }

    /// Takes every charge in order of its place, so that calls meet in the same order everywhere.
    fn take_all(
        &self,
        plans: &[Plan<'_>],
        places: &Places<'_>,
        claim: Claim,
        (t, now): (Nanos, Nanos),
        out: &mut [Reading],
    ) -> Attempt {
        let mut order: SmallVec<[(usize, usize); 4]> = SmallVec::new();
        for (index, place) in places.iter().enumerate() {
            if let Some((place, _)) = place.filter(|_| !plans[index].skipped) {
                order.push((place, index));
            }
        }
        order.sort_unstable();
        let mut taken = Reservation::default();
        for (_, index) in order {
            let (plan, Some((place, slot))) = (&plans[index], places[index]) else {
                continue;
            };
            match self.take(plan, slot, claim, t) {
                Ok(part) => {
                    out[index].remaining = plan.whole().saturating_sub(part.used);
                    out[index].reset_ns = part.clear_at.since(now);
                    taken.0.push(Held {
                        slot: place,
                        id: plan.key.id,
                        key_hi: plan.key.hi,
                        cost: plan.charge.cost,
                        mark: part.mark,
                    });
                }
                Err(Stop::Full) if !plan.enforced => out[index].shadow_refused = true,
                Err(stop) => {
                    self.undo(&taken, t);
                    return match stop {
                        Stop::Full => self.refusal(plans, places, (claim, t, now), index, out),
                        Stop::Contended => Attempt::Stopped(Verdict::Contended),
                        Stop::Foreign => Attempt::Stopped(Verdict::Unavailable),
                    };
                }
            }
        }
        Attempt::Admitted(taken)
    }

    fn take(&self, plan: &Plan<'_>, slot: &Slot, claim: Claim, t: Nanos) -> Result<Taken, Stop> {
        let cost = plan.charge.cost;
        match plan.rule {
            Rule::Windows(windows) => windows.take(&slot.ring, cost, plan.bound, t),
            Rule::Bucket(bucket) => {
                self.raise_floor(t);
                bucket.take(&slot.ring[0], cost, t)
            }
            Rule::Concurrency => self.calls(claim).take(&slot.ring, cost, plan.bound, t),
        }
    }

    /// The readings of a call whose charge `failed` lost its room to somebody between the look and the taking.
    #[cold]
    fn refusal(
        &self,
        plans: &[Plan<'_>],
        places: &Places<'_>,
        (claim, t, now): (Claim, Nanos, Nanos),
        failed: usize,
        out: &mut [Reading],
    ) -> Attempt {
        for (index, (plan, place)) in plans.iter().zip(places).enumerate() {
            let Ok(look) = self.look(plan, place.map(|(_, slot)| slot), claim, t) else {
                return Attempt::Stopped(Verdict::Unavailable);
            };
            out[index] = plan.reading(&look, now);
        }
        // It had no room when it was tried, whatever has come free since.
        out[failed].refused = true;
        Attempt::Refused
    }

    /// Gives back what an attempt took; the caller is still pinned.
    #[cold]
    fn undo(&self, taken: &Reservation, now: Nanos) {
        for held in &taken.0 {
            match held.mark {
                Mark::Running(_) => self.finish(held),
                _ => self.give_back(held, now),
            }
        }
    }

    /// Settles a reservation. What a window no longer holds, it no longer holds: nothing else is lowered.
    pub fn release(&self, reservation: Reservation, how: Release, now: Nanos) {
        if !self.mapping.usable() {
            return;
        }
        let (running, counted): (SmallVec<[Held; 4]>, SmallVec<[Held; 4]>) = reservation
            .0
            .into_iter()
            .partition(|held| matches!(held.mark, Mark::Running(_)));
        // A slot in which this process has a running call is not idle, so no pin is needed to keep it.
        for held in &running {
            self.finish(held);
        }
        if how == Release::Finish || counted.is_empty() {
            return;
        }
        // Without a pin the rest stays charged, which is the safe side.
        let Some(_pinned) = self.claim().and_then(|claim| self.pin(claim)) else {
            return;
        };
        for held in &counted {
            self.give_back(held, now);
        }
    }

    fn finish(&self, held: &Held) {
        if let (Some(slot), Mark::Running(claim)) = (self.mapping.slots().get(held.slot), held.mark)
        {
            // ORDERING: Acquire, then Relaxed: as in `find`.
            let id = slot.id.load(Ordering::Acquire);
            if id & !MARK == held.id && slot.key_hi.load(Ordering::Relaxed) == held.key_hi {
                concurrency::finish(&slot.ring, claim, held.cost);
            }
        }
    }

    /// Takes a window's or a bucket's charge back; the caller is pinned.
    fn give_back(&self, held: &Held, now: Nanos) {
        let Some(slot) = self.mapping.slots().get(held.slot) else {
            return;
        };
        let key = Locator {
            id: held.id,
            hi: held.key_hi,
        };
        // ORDERING: Acquire, then Relaxed: as in `find`.
        let id = slot.id.load(Ordering::Acquire);
        if !key.is(id) || slot.key_hi.load(Ordering::Relaxed) != key.hi || !revive(slot, key, id) {
            return;
        }
        match (held.mark, slot.content()) {
            (Mark::Epoch(epoch), Some(Content::Count(algorithm))) => {
                if let Some(Rule::Windows(windows)) = Rule::of(algorithm) {
                    windows.give_back(&slot.ring, epoch, held.cost);
                }
            }
            (Mark::Debt { debt_ns, stamp }, _) => {
                Bucket::give_back(&slot.ring[0], debt_ns, stamp, || self.floor().max(now));
            }
            _ => {}
        }
    }

    /// How a charge stands at `now`: `refused` says whether its call would be. Changes nothing. `None` if the
    /// table cannot be used.
    #[must_use]
    pub fn peek(&self, charge: &Charge, now: Nanos) -> Option<Reading> {
        if !self.mapping.usable() || now >= HORIZON {
            return None;
        }
        let plan = Plan::of(charge)?;
        let slot = self
            .places(plan.key)
            .map(|(_, slot)| slot)
            .find(|slot| slot.holds_key(plan.key));
        let t = self.floor().max(now);
        // Not pinned: if the slot changes hands meanwhile, its key has none.
        let nobody = Claim {
            seat: usize::MAX,
            generation: 0,
        };
        let look = self.look(&plan, slot, nobody, t);
        let look = match slot {
            Some(slot) if !slot.holds_key(plan.key) => self.look(&plan, None, nobody, t),
            _ => look,
        };
        Some(plan.reading(&look.ok()?, now))
    }
}
