//! Shared memory as a simulator sees it. Only with the feature `simulated`, which nothing that ships asks for.
//!
//! Every operation on shared memory, and every question to the kernel about the file's locks, is announced to a
//! hook of the running thread before it takes place. The hook may run other virtual workers first, in which case
//! they act between two operations of this one; it may not return at all; and it may say that the operation does
//! not happen, because its worker is dead and only its destructors still run.
//!
//! INVARIANT: without a hook, everything here does what the standard library's does.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64 as Cell64, Ordering};

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation on shared memory, or a question about the file's locks.
    Operation,
    /// Nothing: the worker waits for others to get on.
    Wait,
}

/// Whether an operation takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As written.
    Happens,
    /// Its worker is dead: memory stays as it is.
    Lost,
    /// An exchange does not look at what it replaces. For the test that the simulator finds mistakes.
    Blind,
}

/// Told of each event of the thread that installed it.
pub type Hook = fn(Event) -> Fate;

thread_local! {
    static HOOK: Cell<Option<Hook>> = const { Cell::new(None) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// From here on, this thread's operations are announced to `hook`, and the keys of tables that it makes follow
/// from `seed`.
pub fn install(hook: Hook, seed: u64) {
    HOOK.set(Some(hook));
    RANDOM.set(seed);
}

fn fate() -> Fate {
    HOOK.get()
        .map_or(Fate::Happens, |hook| hook(Event::Operation))
}

/// Announces a system call.
pub(crate) fn asks_the_kernel() {
    let _ = fate();
}

/// Announces a wait; true if there is a hook, which has seen to it.
pub(crate) fn waits() -> bool {
    HOOK.get()
        .is_some_and(|hook| hook(Event::Wait) != Fate::Lost)
}

/// Fills `bytes` with what follows from the seed; false if there is no hook (`SplitMix64`, by Sebastiano Vigna).
pub(crate) fn fills(bytes: &mut [u8]) -> bool {
    if HOOK.get().is_none() {
        return false;
    }
    for byte in bytes {
        let state = RANDOM.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        RANDOM.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *byte = (mixed >> 56).to_le_bytes()[0];
    }
    true
}

/// The standard library's, with each operation announced.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct AtomicU64(Cell64);

impl AtomicU64 {
    pub(crate) fn load(&self, ordering: Ordering) -> u64 {
        let _ = fate();
        self.0.load(ordering)
    }

    pub(crate) fn store(&self, value: u64, ordering: Ordering) {
        if fate() != Fate::Lost {
            self.0.store(value, ordering);
        }
    }

    pub(crate) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        match fate() {
            Fate::Happens => self.0.compare_exchange(current, new, success, failure),
            Fate::Lost => Err(self.0.load(failure)),
            Fate::Blind => Ok(self.0.swap(new, success)),
        }
    }

    pub(crate) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
        match fate() {
            Fate::Lost => self.0.load(Ordering::Acquire),
            _ => self.0.fetch_add(value, ordering),
        }
    }

    pub(crate) fn fetch_max(&self, value: u64, ordering: Ordering) -> u64 {
        match fate() {
            Fate::Lost => self.0.load(Ordering::Acquire),
            _ => self.0.fetch_max(value, ordering),
        }
    }
}
