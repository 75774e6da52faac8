//! The one place that decides which atomics the crate is built on.
//!
//! Ordinary builds use the standard library; `--cfg loom` swaps in loom, which explores every interleaving of a
//! small model, and the feature `simulated` swaps in atomics before each of whose operations a simulator may switch
//! to another worker or end this one. Code that is to be modelled imports from here and nowhere else.

#[cfg(all(feature = "simulated", not(loom)))]
pub(crate) use crate::simulated::AtomicU64;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(all(not(feature = "simulated"), not(loom)))]
pub(crate) use std::sync::atomic::AtomicU64;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// A sequentially consistent fence right after a successful exchange.
///
/// On x86-64 an exchange is a full barrier already, so only the compiler is held back; everywhere else, and in
/// models, this is the fence itself.
#[inline]
pub(crate) fn fence_after_exchange() {
    // ORDERING: see above; the fence's place in the protocol is explained where it is called.
    if cfg!(all(target_arch = "x86_64", not(loom))) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// How many rounds of [`relax`] a bounded wait may take before it gives up.
///
/// Counted in rounds because this crate reads no clock; the rounds below amount to roughly the time named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(u32);

impl Patience {
    /// About 0.2 ms: what a call may wait for overlapping calls before it is refused.
    #[cfg(not(loom))]
    pub(crate) const CALL: Self = Self(SPINS + YIELDS + 2);
    /// About 2 ms: what an insertion may wait for the lock, or an eviction for the calls it overlaps.
    #[cfg(not(loom))]
    pub(crate) const INSERT: Self = Self(SPINS + YIELDS + 20);
    /// A model explores yields, not time.
    #[cfg(loom)]
    pub(crate) const CALL: Self = Self(2);
    /// A model explores yields, not time.
    #[cfg(loom)]
    pub(crate) const INSERT: Self = Self(2);

    /// Waits one round; false once the rounds are used up.
    pub(crate) fn wait(self, round: &mut u32) -> bool {
        if *round >= self.0 {
            return false;
        }
        relax(*round);
        *round += 1;
        true
    }
}

/// Rounds that only pause the processor.
#[cfg(not(loom))]
const SPINS: u32 = 128;
/// Rounds after those that hand the processor to another thread.
#[cfg(not(loom))]
const YIELDS: u32 = 16;

/// Lets somebody else get on: a pause at first, then a yield, then a short sleep.
#[cfg(not(loom))]
pub(crate) fn relax(round: u32) {
    #[cfg(feature = "simulated")]
    if crate::simulated::waits() {
        return;
    }
    if round < SPINS {
        std::hint::spin_loop();
    } else if round < SPINS + YIELDS {
        std::thread::yield_now();
    } else {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}

/// Lets somebody else get on.
#[cfg(loom)]
pub(crate) fn relax(_round: u32) {
    loom::thread::yield_now();
}

/// Called before each write to shared memory, so that a test can end the process at any one of them.
#[cfg(any(loom, not(test)))]
#[inline(always)]
pub(crate) fn step() {}

#[cfg(all(test, not(loom)))]
pub(crate) use kill::step;

/// Death at a chosen operation, for the test that a killed process leaves nothing half-done.
#[cfg(all(test, not(loom)))]
pub(crate) mod kill {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<Option<(u64, i32)>> = const { Cell::new(None) };
    }

    /// From here on this thread survives `steps` writes, and the process ends with `status` before the next.
    pub(crate) fn after(steps: u64, status: i32) {
        LEFT.set(Some((steps, status)));
    }

    pub(crate) fn step() {
        match LEFT.get() {
            None => {}
            // As abrupt as SIGKILL for what is shared: no destructor of this thread runs.
            Some((0, status)) => std::process::exit(status),
            Some((left, status)) => LEFT.set(Some((left - 1, status))),
        }
    }
}
