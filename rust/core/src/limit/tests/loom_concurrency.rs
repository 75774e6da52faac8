//! Running calls of two processes, each counting in a word of its own.

use loom::sync::Arc;
use loom::thread;

use super::super::EPOCH;
use super::super::concurrency::{Calls, finish};
use super::super::layout::{Header, Seat};
use super::super::mark::Claim;
use super::super::window::RING;
use super::support::explore;
use crate::sync::{AtomicU64, Ordering};

struct Memory {
    header: Header,
    ring: [AtomicU64; RING],
}

impl Memory {
    fn new() -> Arc<Self> {
        let memory = Self {
            header: Header::zeroed(),
            ring: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        for seat in &memory.header.seats {
            seat.generation.store(1, Ordering::Relaxed);
        }
        Arc::new(memory)
    }

    fn seats(&self) -> &[Seat] {
        &self.header.seats
    }

    fn take(&self, claim: Claim, max: u64) -> bool {
        Calls {
            seats: self.seats(),
            claim,
        }
        .take(&self.ring, 1, max, EPOCH)
        .is_ok()
    }
}

const FIRST: Claim = Claim {
    seat: 0,
    generation: 1,
};
const SECOND: Claim = Claim {
    seat: 1,
    generation: 1,
};

#[test]
fn two_processes_never_share_the_last_place() {
    explore(4, || {
        let memory = Memory::new();
        let threads = [FIRST, SECOND].map(|claim| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.take(claim, 1))
        });
        let admitted = threads
            .map(|thread| thread.join().unwrap())
            .iter()
            .filter(|&&taken| taken)
            .count();
        assert!(admitted <= 1, "both took the last place");
        if admitted == 0 {
            // Both stepped back: nothing is left behind.
            assert!(
                Calls {
                    seats: memory.seats(),
                    claim: FIRST
                }
                .idle(&memory.ring)
            );
        }
    });
}

#[test]
fn a_process_that_takes_a_dead_ones_seat_is_counted_from_its_first_call() {
    explore(4, || {
        let memory = Memory::new();
        // The dead process left a running call behind.
        assert!(memory.take(SECOND, 1));
        let successor = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let generation = memory.seats()[1].generation.fetch_add(1, Ordering::AcqRel) + 1;
                memory.take(
                    Claim {
                        seat: 1,
                        generation: generation as u32,
                    },
                    1,
                )
            })
        };
        let other = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.take(FIRST, 1))
        };
        let (successor, other) = (successor.join().unwrap(), other.join().unwrap());
        assert!(!(successor && other), "both took the last place");
    });
}

#[test]
fn a_call_that_ends_frees_its_place_once() {
    explore(4, || {
        let memory = Memory::new();
        assert!(memory.take(FIRST, 2));
        assert!(memory.take(FIRST, 2));
        let threads = [(); 2].map(|()| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || finish(&memory.ring, FIRST, 1))
        });
        assert!(
            threads
                .map(|thread| thread.join().unwrap())
                .iter()
                .all(|&finished| finished)
        );
        assert!(
            Calls {
                seats: memory.seats(),
                claim: FIRST
            }
            .idle(&memory.ring)
        );
        assert!(
            !finish(&memory.ring, FIRST, 1),
            "there is nothing left to free"
        );
    });
}
