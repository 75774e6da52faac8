//! At most `max` calls at the same time, counted so that a process that dies gives its calls back.
//!
//! Each process that shares the table counts in a ring word of its own, `class | generation (28) | count (32)`.
//! A word counts only while its generation is the current one of its process seat; a seat changes its generation
//! when a new process takes it, or when its process is found dead.
//!
//! INVARIANT: the calls of live processes never sum to more than the bound that admitted them. An admission adds
//! to its own word, then fences, then sums all live words, and undoes itself if the sum is over. Of several
//! admissions that together exceed the bound, the one whose fence comes last sees the others' additions (a
//! Dekker pattern) and undoes itself. A word is read before its seat's generation: a writer under a new
//! generation published that generation first, so its word is never taken for a dead one's.

use super::layout::{SEATS, Seat};
use super::mark::{Claim, Mark};
use super::outcome::{Look, Stop, Taken};
use super::window::RING;
use super::word::{CONCURRENCY, pack_plain, unpack_plain};
use crate::sync::{AtomicU64, Ordering, fence_after_exchange, step};
use crate::time::Nanos;

const COUNT_BITS: u32 = 32;
const GENERATION_MASK: u64 = (1 << 28) - 1;
/// Largest maximum: eight words of it still sum without loss.
pub(super) const CAPACITY: u64 = (1 << (COUNT_BITS - 1)) - 1;

const _: () = assert!(SEATS <= RING, "one ring word for each seat");

const fn split(value: u64) -> (u64, u64) {
    (value >> COUNT_BITS, value & ((1 << COUNT_BITS) - 1))
}

fn pack(generation: u64, count: u64) -> u64 {
    pack_plain(
        CONCURRENCY,
        ((generation & GENERATION_MASK) << COUNT_BITS) | count,
    )
}

/// The calls that run, as one process counts them.
#[derive(Clone, Copy)]
pub(super) struct Calls<'a> {
    /// All processes.
    pub(super) seats: &'a [Seat],
    /// This one.
    pub(super) claim: Claim,
}

impl Calls<'_> {
    /// The sum of the live words. `word` gives the bits at a place of the ring.
    fn live(self, word: impl Fn(usize) -> u64) -> Result<u64, Stop> {
        let mut sum = 0;
        for (place, seat) in self.seats.iter().enumerate() {
            let (generation, count) =
                split(unpack_plain(CONCURRENCY, word(place)).ok_or(Stop::Foreign)?);
            // ORDERING: Acquire, and after the word: a word of a new generation is never seen with the old one.
            if count > 0 && generation == seat.generation.load(Ordering::Acquire) & GENERATION_MASK
            {
                sum += count;
            }
        }
        Ok(sum)
    }

    /// What a call of `cost` at `t` would find.
    pub(super) fn look(
        self,
        cost: u64,
        bound: u64,
        t: Nanos,
        word: impl Fn(usize) -> u64,
    ) -> Result<Look, Stop> {
        let used = self.live(word)?;
        let room = cost <= bound && used <= bound - cost;
        Ok(Look {
            used,
            room,
            opens_at: room.then_some(t),
            clear_at: t,
            ready: None,
        })
    }

    /// Adds `cost` to the own word, if all live words stay within `bound`.
    pub(super) fn take(
        self,
        ring: &[AtomicU64; RING],
        cost: u64,
        bound: u64,
        t: Nanos,
    ) -> Result<Taken, Stop> {
        let (word, generation) = (
            ring.get(self.claim.index()).ok_or(Stop::Foreign)?,
            u64::from(self.claim.generation),
        );
        let allowed = bound.checked_sub(cost).ok_or(Stop::Full)?;
        loop {
            // ORDERING: Acquire; threads of this process compete for the word by exchange only.
            let bits = word.load(Ordering::Acquire);
            let (written, count) = split(unpack_plain(CONCURRENCY, bits).ok_or(Stop::Foreign)?);
            let count = if written == generation & GENERATION_MASK {
                count
            } else {
                0
            };
            if count > allowed {
                return Err(Stop::Full);
            }
            let next = pack(generation, count + cost);
            step();
            // ORDERING: AcqRel, so that whoever reads the word also sees the seat's generation.
            if word
                .compare_exchange(bits, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                break;
            }
        }
        // ORDERING: SeqCst fence between the own addition and the reading of the others: of two calls that
        // together are too many, at least one sees the other.
        fence_after_exchange();
        // ORDERING: Acquire, ordered after the additions by the fence.
        match self.live(|place| ring[place].load(Ordering::Acquire)) {
            Ok(used) if used <= bound => Ok(Taken {
                used,
                clear_at: t,
                mark: Mark::Running {
                    claim: self.claim,
                    cost,
                },
            }),
            over => {
                finish(ring, self.claim, cost);
                Err(over.err().unwrap_or(Stop::Full))
            }
        }
    }

    /// Whether no live process has a call running.
    pub(super) fn idle(self, ring: &[AtomicU64; RING]) -> bool {
        // ORDERING: Acquire; the caller's fence orders this scan after its mark.
        self.live(|place| ring[place].load(Ordering::Acquire)) == Ok(0)
    }
}

/// Takes `cost` out of the word it was counted in; false if that word is of another generation by now.
pub(super) fn finish(ring: &[AtomicU64; RING], claim: Claim, cost: u64) -> bool {
    let Some(word) = ring.get(claim.index()) else {
        return false;
    };
    loop {
        // ORDERING: Acquire, as in `take`.
        let bits = word.load(Ordering::Acquire);
        let Some((written, count)) = unpack_plain(CONCURRENCY, bits).map(split) else {
            return false;
        };
        if bits == 0 || written != u64::from(claim.generation) & GENERATION_MASK || count < cost {
            return false;
        }
        let next = pack(u64::from(claim.generation), count - cost);
        step();
        // ORDERING: AcqRel, as in `take`.
        if word
            .compare_exchange(bits, next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            return true;
        }
    }
}

/// Whether the words could have been written by this code.
pub(super) fn plausible(ring: &[AtomicU64; RING]) -> bool {
    // ORDERING: Relaxed; nobody else has the file open.
    ring.iter()
        .all(|word| unpack_plain(CONCURRENCY, word.load(Ordering::Relaxed)).is_some())
}

/// The seats other than `own` whose counts stand in the way and whose process may be dead.
pub(super) fn suspects(ring: &[AtomicU64; RING], own: usize) -> impl Iterator<Item = usize> + '_ {
    ring.iter().enumerate().filter_map(move |(place, word)| {
        // ORDERING: Relaxed; only a hint which seats to examine.
        let (_, count) = split(unpack_plain(CONCURRENCY, word.load(Ordering::Relaxed))?);
        (place != own && count > 0).then_some(place)
    })
}
