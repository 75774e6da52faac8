//! Who owns a session or a task: a slot that remembers an owner instead of a count.
//!
//! INVARIANT: while a binding lives, its owner does not change. The owner is written before the slot is
//! published and never after; another owner gets the key only through a slot made anew, once the binding has
//! lapsed at the clock floor.

use super::key::Locator;
use super::layout::{Content, Slot};
use super::table::NoSlot;
use super::{HORIZON, LimitTable, QuotaKey};
use crate::sync::{Ordering, step};
use crate::time::Nanos;

/// Places in a binding's ring.
const OWNER: usize = 0;
const PAYLOAD: usize = 1;
const LAST_SEEN: usize = 2;
const IDLE: usize = 3;

/// Who owns a session or a task, and a word that the owner keeps with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Who bound the key.
    pub owner: u64,
    /// What the owner keeps with it.
    pub payload: u64,
}

/// Why a key was not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// Somebody else owns it.
    Taken,
    /// The key found no slot.
    TableFull,
    /// Others hold the table's lock for too long.
    Contended,
    /// The table cannot be used, or the key counts something.
    Unavailable,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Taken => "it belongs to somebody else",
            Self::TableFull => "the limit table is full",
            Self::Contended => "the limit table is busy",
            Self::Unavailable => "the limit table cannot be used",
        })
    }
}

impl std::error::Error for BindError {}

impl LimitTable {
    /// Makes `owner` the owner of a key, or, if it is already, notes that it was seen and keeps `payload`. The
    /// binding lapses once it was not seen for `idle_ns`.
    ///
    /// # Errors
    ///
    /// [`BindError`]; nothing was changed.
    pub fn bind(
        &self,
        key: QuotaKey,
        owner: u64,
        payload: u64,
        now: Nanos,
        idle_ns: u64,
    ) -> Result<(), BindError> {
        let key = Locator::of(key);
        // A binding made by the insertion is found by the second round, unless it was taken away again at once.
        for _ in 0..4 {
            let claim = self
                .claim()
                .filter(|_| now < HORIZON)
                .ok_or(BindError::Unavailable)?;
            {
                let _pinned = self.pin(claim).ok_or(BindError::Contended)?;
                if let Some((_, slot)) = self.find(key) {
                    let t = self.present(now).ok_or(BindError::Unavailable)?;
                    if slot.content() != Some(Content::Binding) {
                        return Err(BindError::Unavailable);
                    }
                    // ORDERING: Relaxed; written before the slot was published, never after.
                    if slot.ring[OWNER].load(Ordering::Relaxed) == owner {
                        step();
                        // ORDERING: Relaxed; each word stands for itself, and the pin's Release shows them all.
                        slot.ring[PAYLOAD].store(payload, Ordering::Relaxed);
                        slot.ring[IDLE].store(idle_ns, Ordering::Relaxed);
                        slot.ring[LAST_SEEN].fetch_max(t.0, Ordering::Relaxed);
                        return Ok(());
                    }
                    if !lapsed(slot, t) {
                        return Err(BindError::Taken);
                    }
                }
            }
            let write = |slot: &Slot| {
                let seen = self.floor().max(now);
                for (place, value) in [
                    (OWNER, owner),
                    (PAYLOAD, payload),
                    (LAST_SEEN, seen.0),
                    (IDLE, idle_ns),
                ] {
                    // ORDERING: Relaxed; published by the Release of the slot's id.
                    slot.ring[place].store(value, Ordering::Relaxed);
                }
            };
            match self.insert(key, Content::Binding, 0, now, &[], write) {
                Ok(()) => {}
                Err(NoSlot::Full) => return Err(BindError::TableFull),
                Err(NoSlot::Busy) => return Err(BindError::Contended),
            }
        }
        Err(BindError::Contended)
    }

    /// The owner of a key, which counts as seen by this.
    #[must_use]
    pub fn owner(&self, key: QuotaKey, now: Nanos) -> Option<Binding> {
        let claim = self.claim().filter(|_| now < HORIZON)?;
        let _pinned = self.pin(claim)?;
        let (_, slot) = self.find(Locator::of(key))?;
        let t = self.present(now)?;
        if slot.content() != Some(Content::Binding) || lapsed(slot, t) {
            return None;
        }
        step();
        // ORDERING: Relaxed; the owner was published with the slot, the other words stand for themselves.
        slot.ring[LAST_SEEN].fetch_max(t.0, Ordering::Relaxed);
        Some(Binding {
            owner: slot.ring[OWNER].load(Ordering::Relaxed),
            payload: slot.ring[PAYLOAD].load(Ordering::Relaxed),
        })
    }

    /// Lets a key lapse at once.
    pub fn unbind(&self, key: QuotaKey) {
        let Some(_pinned) = self.claim().and_then(|claim| self.pin(claim)) else {
            return;
        };
        if let Some((_, slot)) = self.find(Locator::of(key)) {
            if slot.content() == Some(Content::Binding) {
                step();
                // ORDERING: Relaxed; no idle time at all means that the binding has lapsed, whenever it was seen.
                slot.ring[IDLE].store(0, Ordering::Relaxed);
            }
        }
    }
}

/// Whether a binding was not seen for too long at `t`.
fn lapsed(slot: &Slot, t: Nanos) -> bool {
    // ORDERING: Relaxed; each word stands for itself.
    let (seen, idle) = (
        slot.ring[LAST_SEEN].load(Ordering::Relaxed),
        slot.ring[IDLE].load(Ordering::Relaxed),
    );
    t.0 >= seen.saturating_add(idle) || idle == 0
}

/// Whether a binding's slot can go at the clock floor.
pub(super) fn idle(slot: &Slot, floor: Nanos) -> bool {
    lapsed(slot, floor)
}

/// Whether the words could have been written by this code no later than `t`.
pub(super) fn plausible(slot: &Slot, t: Nanos) -> bool {
    // ORDERING: Relaxed; nobody else has the file open.
    slot.ring[LAST_SEEN].load(Ordering::Relaxed) <= t.0
        && slot
            .ring
            .iter()
            .skip(IDLE + 1)
            .all(|word| word.load(Ordering::Relaxed) == 0)
}
