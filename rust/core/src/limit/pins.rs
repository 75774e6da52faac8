//! Pins: how a thread that takes a slot away knows that nobody still uses it.
//!
//! A thread pins before it looks for slots and unpins when it is done with them. Whoever means to evict a slot
//! marks it, fences, and waits until each pin it saw taken has changed.
//!
//! INVARIANT: a user that found the slot unmarked is seen by the evictor. Its pin precedes its fence, the mark
//! precedes the evictor's fence; whichever fence comes second sees the other side's write.

use smallvec::SmallVec;

use super::layout::{PINS_PER_SEAT, Pin};
use crate::sync::{Ordering, Patience, fence_after_exchange, relax, step};

/// Rounds that a thread waits for a free pin of its process. Pins are held for well under a microsecond, so only a
/// process with far more deciding threads than processors comes near.
const TAKE_ROUNDS: u32 = 4_096;

/// A pin held by this thread; freed when dropped, also while a panic unwinds.
pub(super) struct Pinned<'a> {
    pin: &'a Pin,
    index: usize,
    sequence: u64,
}

/// Takes a free pin among those of a seat, starting the search at `hint`. `None` if none comes free.
pub(super) fn pin(pins: &[Pin], seat: usize, hint: usize) -> Option<Pinned<'_>> {
    let first = seat * PINS_PER_SEAT;
    let own = pins.get(first..(first + PINS_PER_SEAT).min(pins.len()))?;
    for round in 0..TAKE_ROUNDS {
        for offset in 0..own.len() {
            let index = (hint + offset) % own.len();
            let pin = &own[index];
            // ORDERING: Relaxed; the exchange below decides.
            let idle = pin.sequence.load(Ordering::Relaxed);
            if idle & 1 == 1 {
                continue;
            }
            step();
            // ORDERING: Acquire pairs with the Release of whoever held the pin before.
            if pin
                .sequence
                .compare_exchange(idle, idle + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                // ORDERING: SeqCst fence between the pin and every look at a slot: see the module's invariant.
                fence_after_exchange();
                return Some(Pinned {
                    pin,
                    index: first + index,
                    sequence: idle + 1,
                });
            }
        }
        relax(round);
    }
    None
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        step();
        // ORDERING: Release; all that was done to slots under the pin is seen by whoever sees it changed.
        self.pin
            .sequence
            .store(self.sequence.wrapping_add(1), Ordering::Release);
    }
}

/// The pins that were taken at one moment.
pub(super) struct Overlapping<'a> {
    pins: &'a [Pin],
    seen: SmallVec<[(usize, u64); PINS_PER_SEAT]>,
}

/// The pins taken by others than `own`.
pub(super) fn overlapping<'a>(pins: &'a [Pin], own: Option<&Pinned<'_>>) -> Overlapping<'a> {
    let own = own.map(|pinned| pinned.index);
    let seen = pins.iter().enumerate().filter_map(|(index, pin)| {
        // ORDERING: Acquire; a pin seen free, or changed, has its slots' changes seen too.
        let sequence = pin.sequence.load(Ordering::Acquire);
        (sequence & 1 == 1 && own != Some(index)).then_some((index, sequence))
    });
    Overlapping {
        pins,
        seen: seen.collect(),
    }
}

impl Overlapping<'_> {
    /// Waits until each of the pins has changed or its process (given by seat) is dead; false when out of patience.
    pub(super) fn outlast(mut self, patience: Patience, alive: impl Fn(usize) -> bool) -> bool {
        let mut round = 0;
        loop {
            let pins = self.pins;
            // ORDERING: Acquire, as in `overlapping`.
            self.seen.retain(|(index, sequence)| {
                pins[*index].sequence.load(Ordering::Acquire) == *sequence
            });
            // Asking the kernel costs as much as the wait usually lasts, so first see whether it passes.
            if round % 64 == 63 {
                self.seen.retain(|(index, _)| alive(*index / PINS_PER_SEAT));
            }
            if self.seen.is_empty() {
                return true;
            }
            if !patience.wait(&mut round) {
                return false;
            }
        }
    }
}
