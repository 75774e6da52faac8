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
use super::layout::{Content, Slot};
use super::mark::{Claim, Held, Mark, Reservation};
use super::outcome::{Look, Ready, Stop, Taken};
use super::pins::{Pinned, overlapping};
use super::table::{NoSlot, Rule, revive};
use super::window::RING;
use super::{Charge, HORIZON, LimitTable, Reading};
use crate::sync::{Ordering, Patience};
use crate::time::Nanos;

/// What became of a call's charges.
#[derive(Debug)]
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
    charge: &'a Charge<'a>,
    rule: &'a Rule,
    key: Locator,
    /// What the count may come to.
    bound: u64,
    /// Whether lack of room refuses the call.
    enforced: bool,
    /// Not to be counted: a shadow limit that has no room, or for whose key the table has none.
    skipped: bool,
    /// Where the key was found by the present attempt.
    found: Option<(usize, &'a Slot)>,
    /// What that attempt's look left to be done.
    ready: Option<Ready>,
}

impl<'a> Plan<'a> {
    #[inline]
    fn of(charge: &'a Charge<'a>) -> Option<Self> {
        let rule = charge.counting.rule.as_ref()?;
        let capacity = rule.capacity();
        Some(Self {
            charge,
            rule,
            key: Locator::of(charge.key),
            bound: charge
                .max
                .or(charge.shadow_max)
                .unwrap_or(capacity)
                .min(capacity),
            enforced: charge.max.is_some(),
            skipped: false,
            found: None,
            ready: None,
        })
    }

    /// The units there are when none is in use.
    #[inline]
    fn whole(&self) -> u64 {
        match self.charge.counting.algorithm {
            super::Algorithm::Bucket { burst, .. } => burst,
            _ => self.bound,
        }
    }

    /// How a look reads to the caller, before anything is taken.
    #[inline]
    fn reading(&self, look: &Look, now: Nanos) -> Reading {
        let shadow_room = match (self.charge.shadow_max, *self.rule) {
            (None, _) => true,
            (Some(_), Rule::Bucket(_)) => look.room,
            (Some(max), _) => self.charge.cost <= max && look.used <= max - self.charge.cost,
        };
        Reading {
            used: look.used,
            remaining: self.whole().saturating_sub(look.used),
            refused: self.enforced && !look.room,
            shadow_refused: !shadow_room,
            wait_ns: if look.room {
                Some(0)
            } else {
                look.opens_at.map(|instant| instant.since(now))
            },
            reset_ns: look.clear_at.since(now),
        }
    }
}

/// The instants of one attempt.
#[derive(Clone, Copy)]
struct Times {
    /// What the caller said.
    now: Nanos,
    /// What is decided by: never before an earlier decision's.
    t: Nanos,
}

/// One attempt to take everything.
enum Attempt {
    Admitted,
    Refused,
    NoSlots,
    Stopped(Stop),
}

impl LimitTable {
    /// Takes the cost of every charge, or of none, and says in `out` how each one stands (in their order).
    ///
    /// The charges' keys differ from one another. A charge with no `max` never refuses: it is counted when it has
    /// room under its `shadow_max`. `out` is left empty when the verdict says nothing about the limits
    /// themselves.
    pub fn reserve(
        &self,
        charges: &[Charge<'_>],
        now: Nanos,
        out: &mut SmallVec<[Reading; 4]>,
    ) -> Verdict {
        out.clear();
        let Some(claim) = self.claim().filter(|_| now < HORIZON) else {
            return Verdict::Unavailable;
        };
        let mut plans: SmallVec<[Plan<'_>; 4]> = SmallVec::new();
        plans.extend(charges.iter().map_while(Plan::of));
        if plans.len() < charges.len() {
            return Verdict::Unavailable;
        }
        let mut taken = Reservation::default();
        let mut waited = false;
        let mut insertions = 0;
        let verdict = loop {
            let Some(pinned) = self.pin(claim) else {
                break Verdict::Contended;
            };
            match self.attempt(&mut plans, claim, now, &mut taken, out) {
                Attempt::Admitted => return Verdict::Admitted(taken),
                Attempt::Refused if waited => return Verdict::Refused,
                Attempt::Refused => {
                    self.wait_for_overlapping(pinned);
                    waited = true;
                }
                Attempt::Stopped(Stop::Foreign) => break Verdict::Unavailable,
                Attempt::Stopped(_) => break Verdict::Contended,
                Attempt::NoSlots => {
                    drop(pinned);
                    insertions += 1;
                    // Only an eviction between our insertion and our use brings us here again.
                    if insertions > charges.len() + 4 {
                        break Verdict::Contended;
                    }
                    match self.insert_missing(&mut plans, now) {
                        Ok(()) => {}
                        Err(NoSlot::Full) => break Verdict::TableFull,
                        Err(NoSlot::Busy) => break Verdict::Contended,
                    }
                }
            }
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

    /// Gives a slot to every key that has none and needs one.
    ///
    /// A slot that is new counts nothing yet, so without a word against it, one key of a call would get another's.
    /// A limit that is only tried out gives its slot up for one that is enforced.
    #[cold]
    fn insert_missing(&self, plans: &mut [Plan<'_>], now: Nanos) -> Result<(), NoSlot> {
        for enforced in [true, false] {
            let kept: SmallVec<[Locator; 4]> = plans
                .iter()
                .filter(|plan| !plan.skipped && (plan.enforced || !enforced))
                .map(|plan| plan.key)
                .collect();
            for plan in plans
                .iter_mut()
                .filter(|plan| plan.enforced == enforced && plan.found.is_none() && !plan.skipped)
            {
                let content = Content::Count(plan.charge.counting.algorithm);
                match self.insert(plan.key, content, plan.charge.label, now, &kept, |_| {}) {
                    Ok(()) => {}
                    Err(_) if !enforced => plan.skipped = true,
                    Err(none) => return Err(none),
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn attempt<'t>(
        &'t self,
        plans: &mut [Plan<'t>],
        claim: Claim,
        now: Nanos,
        taken: &mut Reservation,
        out: &mut SmallVec<[Reading; 4]>,
    ) -> Attempt {
        for plan in plans.iter_mut() {
            plan.found = self.find(plan.key);
        }
        let Some(t) = self.present(now) else {
            return Attempt::Stopped(Stop::Foreign);
        };
        let (mut refused, mut missing) = (false, false);
        out.clear();
        for plan in plans.iter_mut() {
            let look = match self.look(plan, claim, t) {
                Ok(look) => look,
                Err(stop) => return Attempt::Stopped(stop),
            };
            let reading = plan.reading(&look, now);
            refused |= reading.refused;
            plan.ready = look.ready;
            plan.skipped |= !plan.enforced && !look.room;
            missing |= plan.found.is_none() && !plan.skipped;
            out.push(reading);
        }
        if refused {
            Attempt::Refused
        } else if missing {
            Attempt::NoSlots
        } else {
            self.take_all(plans, claim, Times { now, t }, taken, out)
        }
    }

    /// What a plan's call would find.
    #[inline]
    fn look(&self, plan: &Plan<'_>, claim: Claim, t: Nanos) -> Result<Look, Stop> {
        let slot = plan.found.map(|(_, slot)| slot);
        // ORDERING: Acquire, as for every count; an absent slot reads as one never used.
        let word =
            |place: usize| slot.map_or(0, |slot| slot.ring[place % RING].load(Ordering::Acquire));
        if let Some(slot) = slot {
            slot.admits(&plan.charge.counting.description, plan.charge.label)?;
        }
        match *plan.rule {
            Rule::Windows(windows) => {
                windows.look(plan.charge.cost, plan.bound, windows.epoch(t), word)
            }
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
        concurrency::suspects(&slot.ring, claim.index())
            .fold(false, |any, seat| self.retire_if_dead(seat) | any)
    }

    /// Takes every charge in order of its place, so that calls meet in the same order everywhere.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a word that two halves were put into is taken apart again"
    )]
    #[inline]
    fn take_all(
        &self,
        plans: &[Plan<'_>],
        claim: Claim,
        times: Times,
        taken: &mut Reservation,
        out: &mut [Reading],
    ) -> Attempt {
        // A place and the plan that has it, in one word: there are at most 2^24 places, and few plans.
        let mut order: SmallVec<[u64; 4]> = SmallVec::new();
        for (index, plan) in plans.iter().enumerate() {
            if let Some((place, _)) = plan.found.filter(|_| !plan.skipped) {
                order.push((place as u64) << 32 | index as u64);
            }
        }
        order.sort_unstable();
        for &next in &order {
            let (place, index) = ((next >> 32) as u32, next as u32 as usize);
            let (plan, reading) = (&plans[index], &mut out[index]);
            let Some((_, slot)) = plan.found else {
                continue;
            };
            let cost = plan.charge.cost;
            let mark = match plan.ready.filter(|ready| ready.take(&slot.ring[0])) {
                Some(Ready { epoch, .. }) => {
                    reading.remaining = reading.remaining.saturating_sub(cost);
                    Mark::Epoch { epoch, cost }
                }
                None => match self.take(plan, slot, claim, times.t) {
                    Ok(part) => {
                        reading.remaining = plan.whole().saturating_sub(part.used);
                        reading.reset_ns = part.clear_at.since(times.now);
                        part.mark
                    }
                    // What others did in the meantime is no reason to refuse for a limit that is only tried out.
                    Err(Stop::Full | Stop::Contended) if !plan.enforced => {
                        reading.shadow_refused = true;
                        continue;
                    }
                    Err(stop) => {
                        self.undo(taken, times.t);
                        return match stop {
                            Stop::Full => self.refusal(plans, claim, times, index, out),
                            _ => Attempt::Stopped(stop),
                        };
                    }
                },
            };
            taken.0.push(Held {
                slot: place,
                id: plan.key.id,
                mark,
            });
        }
        Attempt::Admitted
    }

    #[inline(never)]
    fn take(&self, plan: &Plan<'_>, slot: &Slot, claim: Claim, t: Nanos) -> Result<Taken, Stop> {
        let cost = plan.charge.cost;
        match *plan.rule {
            Rule::Windows(windows) => windows.take(&slot.ring, cost, plan.bound, windows.epoch(t)),
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
        claim: Claim,
        times: Times,
        failed: usize,
        out: &mut [Reading],
    ) -> Attempt {
        for (plan, reading) in plans.iter().zip(out.iter_mut()) {
            match self.look(plan, claim, times.t) {
                Ok(look) => *reading = plan.reading(&look, times.now),
                Err(stop) => return Attempt::Stopped(stop),
            }
        }
        // It had no room when it was tried, whatever has come free since.
        out[failed].refused = true;
        Attempt::Refused
    }

    /// Gives back what an attempt took; the caller is still pinned.
    #[cold]
    fn undo(&self, taken: &mut Reservation, now: Nanos) {
        for held in taken.0.drain(..) {
            match held.mark {
                Mark::Running { .. } => self.finish(&held),
                _ => self.give_back(&held, now),
            }
        }
    }

    /// Settles a reservation, which the caller does once. What a window no longer holds, it no longer holds: nothing
    /// else is lowered.
    pub fn release(&self, reservation: &Reservation, how: Release, now: Nanos) {
        if !self.mapping.usable() {
            return;
        }
        // A slot in which this process has a running call is not idle, so no pin is needed to keep it.
        for held in &reservation.0 {
            self.finish(held);
        }
        if how == Release::Finish || reservation.0.is_empty() {
            return;
        }
        // Without a pin the rest stays charged, which is the safe side.
        let Some(_pinned) = self.claim().and_then(|claim| self.pin(claim)) else {
            return;
        };
        for held in &reservation.0 {
            self.give_back(held, now);
        }
    }

    /// Ends a running call, if that is what is held.
    fn finish(&self, held: &Held) {
        let Mark::Running { claim, cost } = held.mark else {
            return;
        };
        if let Some(slot) = self.mapping.slots().get(held.slot as usize) {
            // ORDERING: Acquire, as in `find`.
            if held.is(slot.id.load(Ordering::Acquire)) {
                concurrency::finish(&slot.ring, claim, cost);
            }
        }
    }

    /// Takes a window's or a bucket's charge back; the caller is pinned.
    fn give_back(&self, held: &Held, now: Nanos) {
        let Some(slot) = self.mapping.slots().get(held.slot as usize) else {
            return;
        };
        // ORDERING: Acquire, as in `find`.
        if !revive(slot, held.id, slot.id.load(Ordering::Acquire)) {
            return;
        }
        match held.mark {
            Mark::Epoch { epoch, cost } => {
                let Some(Content::Count(algorithm)) = slot.content() else {
                    return;
                };
                if let Some(Rule::Windows(windows)) = Rule::of(algorithm) {
                    windows.give_back(&slot.ring, epoch, cost);
                }
            }
            Mark::Debt { debt_ns, stamp } => {
                Bucket::give_back(&slot.ring[0], debt_ns, stamp, || self.floor().max(now));
            }
            Mark::Running { .. } => {}
        }
    }

    /// How a charge stands at `now`: `refused` says whether its call would be. Changes no count. `None` if the
    /// table cannot be used.
    #[must_use]
    pub fn peek(&self, charge: &Charge<'_>, now: Nanos) -> Option<Reading> {
        if !self.mapping.usable() || now >= HORIZON {
            return None;
        }
        let mut plan = Plan::of(charge)?;
        plan.found = self
            .places(plan.key)
            .find(|(_, slot)| slot.holds_key(plan.key));
        let t = self.floor().max(now);
        let nobody = Claim {
            seat: u32::MAX,
            generation: 0,
        };
        let mut look = self.look(&plan, nobody, t);
        // Not pinned: if the slot changed hands meanwhile, the key has none.
        if plan
            .found
            .is_some_and(|(_, slot)| !slot.holds_key(plan.key))
        {
            plan.found = None;
            look = self.look(&plan, nobody, t);
        }
        Some(plan.reading(&look.ok()?, now))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
