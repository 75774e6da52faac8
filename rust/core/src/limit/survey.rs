//! Looking over the whole table: what is in it, and clearing out what counts nothing any more.

use super::concurrency::Calls;
use super::key::Locator;
use super::layout::{BUSY, Content, EMPTY, MARK, SEATS, Slot};
use super::mark::Claim;
use super::outcome::Look;
use super::table::Rule;
use super::{Algorithm, HORIZON, LimitTable};
use crate::sync::{Ordering, fence, step};
use crate::time::Nanos;

/// Slots that are cleared under one holding of the lock.
const BATCH: usize = 256;

/// One count, for people to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The label of the charge that last used it.
    pub label: u32,
    /// How it counts.
    pub algorithm: Algorithm,
    /// Units in use.
    pub used: u64,
    /// Names the count among others; not the key, and of no use as one.
    pub fingerprint: u64,
}

/// The table's own figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Keys that the table has room for.
    pub slots: usize,
    /// Keys in it.
    pub used: usize,
    /// Keys that found no slot, since the file was made.
    pub insert_refusals: u64,
    /// Slots taken over from keys that counted nothing any more, since the file was made.
    pub evictions: u64,
    /// No decision is made for an earlier time than this. Where it is far ahead of the clock, the clock was.
    pub clock_floor: Nanos,
}

impl LimitTable {
    /// Keys in the table.
    #[must_use]
    pub fn used(&self) -> usize {
        // ORDERING: Relaxed; a count of a moving crowd.
        self.mapping
            .slots()
            .iter()
            .filter(|slot| slot.id.load(Ordering::Relaxed) > BUSY)
            .count()
    }

    /// The table's own figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let header = self.mapping.header();
        Stats {
            slots: self.slots(),
            used: self.used(),
            // ORDERING: Relaxed; statistics.
            insert_refusals: header.insert_refusals.load(Ordering::Relaxed),
            evictions: header.evictions.load(Ordering::Relaxed),
            clock_floor: self.floor(),
        }
    }

    /// Every count in the table, bindings left out.
    pub fn entries(&self, now: Nanos) -> impl Iterator<Item = Entry> + '_ {
        let t = self.floor().max(now);
        self.mapping
            .slots()
            .iter()
            .filter_map(move |slot| self.entry(slot, t))
    }

    fn entry(&self, slot: &Slot, t: Nanos) -> Option<Entry> {
        // ORDERING: Acquire, as in `find`.
        let id = slot.id.load(Ordering::Acquire);
        let (true, Some(Content::Count(algorithm))) = (id > BUSY, slot.content()) else {
            return None;
        };
        // ORDERING: Acquire, as for every count.
        let word = |place: usize| {
            slot.ring
                .get(place)
                .map_or(0, |word| word.load(Ordering::Acquire))
        };
        let calls = Calls {
            seats: self.mapping.seats(),
            claim: Claim {
                seat: 0,
                generation: 0,
            },
        };
        let look: Look = match Rule::of(algorithm)? {
            Rule::Windows(windows) => windows.look(0, u64::MAX, windows.epoch(t), word),
            Rule::Bucket(bucket) => bucket.look(0, t, word(0)),
            Rule::Concurrency => calls.look(0, u64::MAX, t, word),
        }
        .ok()?;
        let entry = Entry {
            label: slot.label(),
            algorithm,
            used: look.used,
            fingerprint: id >> 1,
        };
        // ORDERING: Acquire; not pinned, so a slot that changed hands meanwhile is left out.
        (slot.id.load(Ordering::Acquire) & !MARK == id & !MARK).then_some(entry)
    }

    /// Clears the slots that count nothing any more at `now`; how many there were. Changes no decision: a key
    /// that is looked for again reads as it did. Leaves off where the lock is busy.
    pub fn evict_idle(&self, now: Nanos) -> usize {
        if self.claim().is_none() || now >= HORIZON {
            return 0;
        }
        for seat in 0..SEATS {
            self.retire_if_dead(seat);
        }
        let slots = self.mapping.slots();
        let mut cleared = 0;
        // From the last to the first, so that a run of emptied slots before an empty one becomes empty as a whole.
        for first in (0..slots.len()).step_by(BATCH).rev() {
            let Some(_lock) = self.insert_lock() else {
                break;
            };
            self.raise_floor(now);
            cleared += self.clear(first, &slots[first..(first + BATCH).min(slots.len())]);
        }
        cleared
    }

    /// Clears the idle ones of some slots, the first of which lies at `first`. The caller holds the insert lock.
    fn clear(&self, first: usize, batch: &[Slot]) -> usize {
        let floor = self.floor();
        let marked: Vec<(&Slot, u64)> = batch
            .iter()
            .filter_map(|slot| Some((slot, self.mark(slot, floor)?)))
            .collect();
        // ORDERING: SeqCst fence between the marks and the reading of the pins.
        fence(Ordering::SeqCst);
        let cleared = if !marked.is_empty() && self.pins_have_moved() {
            marked
                .iter()
                .filter(|(slot, id)| self.take_marked(slot, *id, floor))
                .count()
        } else {
            0
        };
        let slots = self.mapping.slots();
        for (place, slot) in batch.iter().enumerate().rev() {
            let next = &slots[(first + place + 1) & (slots.len() - 1)];
            // ORDERING: Relaxed; under the lock nobody else fills or empties a slot.
            if slot.id.load(Ordering::Relaxed) == BUSY && next.id.load(Ordering::Relaxed) == EMPTY {
                step();
                // No key's search goes on past an empty slot, so it may as well end one earlier.
                slot.id.store(EMPTY, Ordering::Relaxed);
            }
        }
        cleared
    }

    /// Whether a key's search would come to this place. For the check at opening.
    pub(super) fn reachable(&self, key: Locator, place: usize) -> bool {
        // ORDERING: Relaxed; nobody else has the file open.
        self.places(key)
            .take_while(|(_, slot)| slot.id.load(Ordering::Relaxed) != EMPTY)
            .any(|(found, _)| found == place)
    }
}
