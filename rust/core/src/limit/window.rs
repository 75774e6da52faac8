//! Fixed and sliding windows: the pure step, and the atomic ring it runs on.
//!
//! A fixed window is a ring of one word. A sliding window of width W is a ring of eight words, each over a
//! sub-window of ⌈W/7⌉: seven past ones and the current one. Past words are **sealed** before they are summed.
//!
//! INVARIANT: the counts of any `past + 1` consecutive epochs never sum to more than the bound that admitted
//! them. Any interval of length W lies within eight consecutive sub-windows k−7..=k. The last admission among
//! them, at k, summed the others after sealing them; a sealed word admits nothing, so its count can only fall,
//! and the true sum at that admission was at most the sum that was tested. Nothing is added to k−7..k−1 after it.
//!
//! A stale clock does no harm: an admission joins the newest epoch found in the ring, never an older one, and one
//! that finds the newest word sealed joins the epoch after it, which has begun for whoever sealed it.

use super::Window;
use super::calendar::Ruler;
use super::mark::Mark;
use super::outcome::{Look, Ready, Stop, Taken};
use super::word::Word;
use crate::sync::{AtomicU64, Ordering, step};
use crate::time::Nanos;

/// Words in a ring.
pub(super) const RING: usize = 8;
/// Past sub-windows of a sliding window.
const PAST: u8 = 7;

const _: () = assert!(
    RING == PAST as usize + 1,
    "a word for each sub-window, and one more"
);
/// How often an admission starts over because others changed the ring under it.
const RESTARTS: u32 = 64;

/// A fixed or sliding window: what its words mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    ruler: Ruler,
    past: u8,
}

/// A reading of a ring.
struct Tally {
    newest: u64,
    /// Units by age in epochs, the newest first.
    counts: [u64; RING],
    total: u64,
}

impl Windows {
    /// A window of the calendar; `None` if it is too narrow.
    #[inline]
    pub(super) fn fixed(window: Window) -> Option<Self> {
        Ruler::new(window).map(|ruler| Self { ruler, past: 0 })
    }

    /// A sliding window; `None` if it is too narrow.
    #[inline]
    pub(super) fn sliding(window_ns: u64) -> Option<Self> {
        let ruler = Ruler::new(Window::Span(window_ns.div_ceil(u64::from(PAST))))?;
        Some(Self { ruler, past: PAST })
    }

    /// The largest count one word holds.
    pub(super) const fn capacity(self) -> u64 {
        self.ruler.class().capacity()
    }

    /// The number of the window that holds `t`.
    #[inline]
    pub(super) fn epoch(self, t: Nanos) -> u64 {
        self.ruler.epoch(t)
    }

    /// Where in the ring an epoch has its word.
    #[expect(clippy::cast_possible_truncation, reason = "at most 7")]
    const fn place(self, epoch: u64) -> usize {
        // The ring's length is a power of two, and `past` is one less than it or 0.
        (epoch & self.past as u64) as usize
    }

    /// The words in use.
    const fn words(self) -> usize {
        self.past as usize + 1
    }

    fn decode(self, bits: u64) -> Result<Word, Stop> {
        self.ruler.class().unpack(bits).ok_or(Stop::Foreign)
    }

    /// The epoch that an admission joins which finds this word: a sealed one says that time has gone past it.
    const fn joined(word: Word) -> u64 {
        word.epoch + word.sealed as u64
    }

    /// Sums the words that an admission in `epoch` would sum. `word` gives the bits at a place of the ring.
    fn tally(self, epoch: u64, word: impl Fn(usize) -> u64) -> Result<Tally, Stop> {
        let mut words = [Word::UNUSED; RING];
        let mut newest = epoch;
        for (place, slot) in words.iter_mut().enumerate() {
            *slot = self.decode(word(place))?;
            newest = newest.max(Self::joined(*slot));
        }
        let mut tally = Tally {
            newest,
            counts: [0; RING],
            total: 0,
        };
        for word in &words {
            if let Some(count) = tally.counts.get_mut(index(newest - word.epoch)) {
                *count += word.count;
                tally.total += word.count;
            }
        }
        Ok(tally)
    }

    /// When the last unit of window `epoch` is forgotten.
    #[inline]
    fn clear_at(self, epoch: u64) -> Nanos {
        self.ruler
            .start(epoch.saturating_add(u64::from(self.past) + 1))
    }

    /// What a call of `cost` in `epoch` would find. `word` gives the bits at a place of the ring.
    #[inline]
    pub(super) fn look(
        self,
        cost: u64,
        bound: u64,
        epoch: u64,
        word: impl Fn(usize) -> u64,
    ) -> Result<Look, Stop> {
        if self.past > 0 {
            return self.look_back(cost, bound, epoch, word);
        }
        let seen = word(0);
        let word = self.decode(seen)?;
        let newest = epoch.max(word.epoch);
        let used = if word.epoch == newest { word.count } else { 0 };
        let room = cost <= bound && used <= bound - cost;
        let clear_at = self.clear_at(newest);
        // A fixed window is one word and is not sealed: whoever finds it so is left to `take`.
        let ready = (room && !word.sealed).then(|| Ready {
            seen,
            next: self.ruler.class().pack(Word {
                epoch: newest,
                sealed: false,
                count: used + cost,
            }),
            epoch: newest,
        });
        Ok(Look {
            used,
            room,
            opens_at: (cost <= bound).then_some(clear_at),
            clear_at,
            ready,
        })
    }

    /// [`Windows::look`] for a sliding window.
    fn look_back(
        self,
        cost: u64,
        bound: u64,
        epoch: u64,
        word: impl Fn(usize) -> u64,
    ) -> Result<Look, Stop> {
        let tally = self.tally(epoch, word)?;
        let room = cost <= bound && tally.total <= bound - cost;
        Ok(Look {
            used: tally.total,
            room,
            opens_at: self.opens_at(&tally, cost, bound),
            clear_at: if tally.total > 0 {
                self.clear_at(tally.newest)
            } else {
                Nanos(0)
            },
            ready: None,
        })
    }

    /// The least instant at which `cost` fits, if nobody else takes the room; `None` if it never does.
    fn opens_at(self, tally: &Tally, cost: u64, bound: u64) -> Option<Nanos> {
        let allowed = bound.checked_sub(cost)?;
        let mut left = tally.total;
        for age in (0..=u64::from(self.past)).rev() {
            left -= tally.counts[index(age)];
            if left <= allowed {
                return Some(self.clear_at(tally.newest.saturating_sub(age)));
            }
        }
        None
    }

    /// Counts `cost` in `epoch` or a newer one that has begun, if the sum stays within `bound`, which is within
    /// the capacity.
    #[inline]
    pub(super) fn take(
        self,
        ring: &[AtomicU64; RING],
        cost: u64,
        bound: u64,
        epoch: u64,
    ) -> Result<Taken, Stop> {
        for _ in 0..RESTARTS {
            if let Some(outcome) = self.try_take(ring, cost, bound, epoch) {
                return outcome;
            }
        }
        Err(Stop::Contended)
    }

    /// One attempt; `None` if the ring changed under it.
    #[inline]
    fn try_take(
        self,
        ring: &[AtomicU64; RING],
        cost: u64,
        bound: u64,
        epoch: u64,
    ) -> Option<Result<Taken, Stop>> {
        let (newest, before) = if self.past == 0 {
            (epoch, 0)
        } else {
            match self.seal_past(ring, epoch)? {
                Ok(sealed) => sealed,
                Err(stop) => return Some(Err(stop)),
            }
        };
        let cell = &ring[self.place(newest)];
        // ORDERING: Acquire pairs with the AcqRel below; every claim is about one word's own order.
        let bits = cell.load(Ordering::Acquire);
        let word = match self.decode(bits) {
            Ok(word) => word,
            Err(stop) => return Some(Err(stop)),
        };
        let newest = if self.past == 0 {
            newest.max(word.epoch)
        } else {
            newest
        };
        if Self::joined(word) > newest {
            return None;
        }
        let count = if word.epoch == newest { word.count } else { 0 };
        if cost > bound || before + count > bound - cost {
            return Some(Err(Stop::Full));
        }
        let count = count + cost;
        let next = self.ruler.class().pack(Word {
            epoch: newest,
            sealed: false,
            count,
        });
        step();
        // ORDERING: AcqRel; the test above holds for the value replaced, whatever other words do.
        cell.compare_exchange(bits, next, Ordering::AcqRel, Ordering::Acquire)
            .ok()?;
        Some(Ok(Taken {
            used: before + count,
            clear_at: self.clear_at(newest),
            mark: Mark::Epoch {
                epoch: newest,
                cost,
            },
        }))
    }

    /// Finds the newest epoch that has begun, seals those before it, and sums them; `None` if the ring changed.
    fn seal_past(self, ring: &[AtomicU64; RING], epoch: u64) -> Option<Result<(u64, u64), Stop>> {
        let mut newest = epoch;
        for cell in ring {
            // ORDERING: Acquire, as in `try_take`.
            match self.decode(cell.load(Ordering::Acquire)) {
                Ok(word) => newest = newest.max(Self::joined(word)),
                Err(stop) => return Some(Err(stop)),
            }
        }
        let mut sum = 0;
        for age in 1..=u64::from(self.past).min(newest) {
            match self.seal(&ring[self.place(newest - age)], newest - age)? {
                Ok(count) => sum += count,
                Err(stop) => return Some(Err(stop)),
            }
        }
        Some(Ok((newest, sum)))
    }

    /// Closes the word of a past epoch to admissions and reads it; `None` if it changed meanwhile.
    fn seal(self, cell: &AtomicU64, epoch: u64) -> Option<Result<u64, Stop>> {
        // ORDERING: Acquire, so that a sealed word read here is no newer than what follows.
        let bits = cell.load(Ordering::Acquire);
        let word = match self.decode(bits) {
            Ok(word) => word,
            Err(stop) => return Some(Err(stop)),
        };
        let count = match word.epoch.cmp(&epoch) {
            std::cmp::Ordering::Greater => return None,
            // Epoch 0 of an unused word is not sealed, so it takes the exchange below like any other.
            std::cmp::Ordering::Equal if word.sealed => return Some(Ok(word.count)),
            std::cmp::Ordering::Equal => word.count,
            std::cmp::Ordering::Less => 0,
        };
        let sealed = self.ruler.class().pack(Word {
            epoch,
            sealed: true,
            count,
        });
        step();
        // ORDERING: AcqRel; from here on the word's count can only fall, so a later sum is never too small.
        cell.compare_exchange(bits, sealed, Ordering::AcqRel, Ordering::Acquire)
            .ok()?;
        Some(Ok(count))
    }

    /// Takes `cost` back out of the window it was counted in; false if that window is gone.
    pub(super) fn give_back(self, ring: &[AtomicU64; RING], epoch: u64, cost: u64) -> bool {
        let cell = &ring[self.place(epoch)];
        loop {
            // ORDERING: Acquire, as above.
            let bits = cell.load(Ordering::Acquire);
            let Ok(word) = self.decode(bits) else {
                return false;
            };
            if bits == 0 || word.epoch != epoch || word.count < cost {
                return false;
            }
            let next = self.ruler.class().pack(Word {
                count: word.count - cost,
                ..word
            });
            step();
            // ORDERING: AcqRel; the epoch is part of the value replaced, so no other window is lowered.
            if cell
                .compare_exchange(bits, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return true;
            }
        }
    }

    /// Whether every count has been forgotten at `t`, whatever the clock did.
    pub(super) fn idle(self, ring: &[AtomicU64; RING], t: Nanos) -> bool {
        let now = self.ruler.epoch(t);
        ring[..self.words()].iter().all(|cell| {
            // ORDERING: Acquire; the caller's fence orders this scan after its mark.
            let bits = cell.load(Ordering::Acquire);
            self.decode(bits)
                .is_ok_and(|word| bits == 0 || word.epoch + u64::from(self.past) < now)
        })
    }

    /// Whether the words could have been written by this code no later than `t`.
    pub(super) fn plausible(self, ring: &[AtomicU64; RING], t: Nanos) -> bool {
        let now = self.ruler.epoch(t);
        ring.iter().enumerate().all(|(place, cell)| {
            // ORDERING: Relaxed; nobody else has the file open.
            let bits = cell.load(Ordering::Relaxed);
            bits == 0
                || (place < self.words()
                    && self.decode(bits).is_ok_and(|word| {
                        word.epoch <= now
                            && self.place(word.epoch) == place
                            && !(word.sealed && self.past == 0)
                    }))
        })
    }
}

/// Where a tally keeps the count of an age.
#[expect(clippy::cast_possible_truncation, reason = "less than 8")]
const fn index(age: u64) -> usize {
    // An age that does not fit is beyond the ring anyway.
    if age < RING as u64 {
        age as usize
    } else {
        RING
    }
}
