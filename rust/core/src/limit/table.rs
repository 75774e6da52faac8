//! The limit table: from a key to its slot, and what happens when a slot is needed.
//!
//! INVARIANT: a key has at most one slot, and a slot changes its key only when it counts nothing any more.
//! Slots are filled under a lock that the kernel frees if its holder dies, and `id` is written last, so there is
//! no half-made slot. A slot is taken away in this order: it is found idle at the clock floor; it is marked; all
//! pins seen taken have changed; it is found idle again; it is taken by an exchange on the marked id. A user that
//! found it before the mark was pinned, so what it did is seen by the second look; a user that comes after the
//! mark takes the mark off, so the exchange fails. Only then is the slot cleared.
//!
//! Forgetting an idle slot forgives nothing: every window it counted ended at or before the clock floor, and
//! whoever makes the slot anew reads the floor after finding it.

use std::sync::OnceLock;

use super::binding;
use super::bucket::Bucket;
use super::concurrency::{self, Calls};
use super::key::Locator;
use super::layout::{BUSY, Content, Description, EMPTY, MARK, PROBES, Slot};
use super::mark::Claim;
use super::pins::{Pinned, overlapping, pin};
use super::shared::Mapping;
use super::window::Windows;
use super::{Algorithm, HORIZON};
use crate::sync::{Mutex, MutexGuard, Ordering, Patience, fence, step};
use crate::time::Nanos;

/// How far the clock floor may lag behind the newest decision about a window: keeps its cache line shared.
pub(super) const FLOOR_LAG_NS: u64 = 1_000_000;

/// Where every limit is counted. Shared by the threads of a process, and by the processes that
/// [`LimitTable::join`] its file.
#[derive(Debug)]
pub struct LimitTable {
    pub(super) mapping: Mapping,
    secret: [u8; 16],
    inserting: Mutex<()>,
    claim: OnceLock<Claim>,
}

/// Why a key has no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// All slots that it could have count something.
    Full,
    /// Somebody else is inserting and does not come to an end.
    Busy,
}

/// The right to fill and empty slots.
pub(super) struct Inserting<'a> {
    table: &'a LimitTable,
    _thread: MutexGuard<'a, ()>,
}

impl Drop for Inserting<'_> {
    fn drop(&mut self) {
        self.table.mapping.unlock_insert();
    }
}

/// How a count of some algorithm is kept, or `None` if it is out of bounds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Fixed or sliding windows.
    Windows(Windows),
    /// A token bucket.
    Bucket(Bucket),
    /// Running calls.
    Concurrency,
}

impl Rule {
    #[inline]
    pub(super) fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Fixed(window) => Windows::fixed(window).map(Self::Windows),
            Algorithm::Sliding(window_ns) => Windows::sliding(window_ns).map(Self::Windows),
            Algorithm::Bucket {
                interval_ns, burst, ..
            } => Bucket::new(interval_ns, burst).map(Self::Bucket),
            Algorithm::Concurrency => Some(Self::Concurrency),
        }
    }

    /// The largest maximum.
    pub(super) const fn capacity(self) -> u64 {
        match self {
            Self::Windows(windows) => windows.capacity(),
            Self::Bucket(_) => Bucket::CAPACITY,
            Self::Concurrency => concurrency::CAPACITY,
        }
    }
}

impl LimitTable {
    pub(super) fn new(mapping: Mapping, secret: [u8; 16]) -> Self {
        Self {
            mapping,
            secret,
            inserting: Mutex::new(()),
            claim: OnceLock::new(),
        }
    }

    pub(super) const fn secret(&self) -> &[u8; 16] {
        &self.secret
    }

    /// Keys that the table has room for.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.mapping.slots().len()
    }

    /// This process's seat, taken at its first use. `None` in a forked child and when all seats are taken.
    #[inline]
    pub(super) fn claim(&self) -> Option<Claim> {
        if !self.mapping.usable() {
            return None;
        }
        match self.claim.get() {
            Some(claim) => Some(*claim),
            None => self.take_seat(),
        }
    }

    #[cold]
    fn take_seat(&self) -> Option<Claim> {
        let _one_at_a_time = self.inserting.lock();
        if let Some(claim) = self.claim.get() {
            return Some(*claim);
        }
        let seats = self.mapping.seats();
        let seat = (0..seats.len()).find(|&seat| self.mapping.try_lock_seat(seat))?;
        // ORDERING: AcqRel; words written under the new generation are published after it.
        let generation = seats[seat]
            .generation
            .fetch_add(1, Ordering::AcqRel)
            .wrapping_add(1);
        let own = super::layout::PINS_PER_SEAT;
        for pin in self.mapping.pins().iter().skip(seat * own).take(own) {
            // ORDERING: Relaxed to read, Release to free what a dead process held: nobody else writes here.
            let sequence = pin.sequence.load(Ordering::Relaxed);
            if sequence & 1 == 1 {
                pin.sequence
                    .store(sequence.wrapping_add(1), Ordering::Release);
            }
        }
        // ORDERING: AcqRel; whoever must see this process's pins sees the new bound through the pins' fences.
        self.mapping
            .header()
            .seats_used
            .fetch_max(seat as u64 + 1, Ordering::AcqRel);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low half is what a claim keeps"
        )]
        let claim = Claim {
            seat: u32::try_from(seat).ok()?,
            generation: generation as u32,
        };
        Some(*self.claim.get_or_init(|| claim))
    }

    /// Declares a seat's generation over if its process is dead; true if it was.
    ///
    /// A process that has no seat yet does not judge: the kernel does not tell it of locks of its own, so it could
    /// take the seat that one of its threads is just taking for a dead one's.
    pub(super) fn retire_if_dead(&self, seat: usize) -> bool {
        let (Some(_), Some(place)) = (self.claim.get(), self.mapping.seats().get(seat)) else {
            return false;
        };
        // ORDERING: Acquire, and before the question: a process that takes the seat later changes this value.
        let seen = place.generation.load(Ordering::Acquire);
        if self.seat_lives(seat) {
            return false;
        }
        step();
        // ORDERING: AcqRel; only the generation that was seen with a dead process is ended.
        place
            .generation
            .compare_exchange(
                seen,
                seen.wrapping_add(1),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok()
    }

    /// Pins this thread.
    #[inline]
    pub(super) fn pin(&self, claim: Claim) -> Option<Pinned<'_>> {
        pin(self.mapping.pins(), claim.index(), hint())
    }

    /// The pins that some process could have taken.
    pub(super) fn pins_in_use(&self) -> &[super::layout::Pin] {
        let pins = self.mapping.pins();
        // ORDERING: Acquire, after the caller's fence: see `take_seat`.
        let seats = self.mapping.header().seats_used.load(Ordering::Acquire);
        let used = usize::try_from(seats)
            .unwrap_or(usize::MAX)
            .saturating_mul(super::layout::PINS_PER_SEAT);
        &pins[..used.min(pins.len())]
    }

    /// The time at which a decision is made that was asked for at `now`: never before any earlier one.
    /// `None` if `now` is out of all bounds, which would close every limit for good.
    #[inline]
    pub(super) fn present(&self, now: Nanos) -> Option<Nanos> {
        if now >= HORIZON {
            return None;
        }
        let floor = &self.mapping.header().floor;
        // ORDERING: Acquire, after the slots were found: an evictor's floor is seen by whoever sees its slot.
        let seen = floor.load(Ordering::Acquire);
        if now.0 >= seen.saturating_add(FLOOR_LAG_NS) {
            step();
            // ORDERING: AcqRel, as above.
            return Some(Nanos(floor.fetch_max(now.0, Ordering::AcqRel)).max(now));
        }
        Some(Nanos(seen).max(now))
    }

    /// Raises the clock floor to exactly `t`.
    pub(super) fn raise_floor(&self, t: Nanos) {
        let floor = &self.mapping.header().floor;
        // ORDERING: Acquire and AcqRel; published by the Release of the bucket's or the slot's own word.
        if floor.load(Ordering::Acquire) < t.0 {
            step();
            floor.fetch_max(t.0, Ordering::AcqRel);
        }
    }

    /// The clock floor.
    pub(crate) fn floor(&self) -> Nanos {
        // ORDERING: Acquire, after whatever the caller read before.
        Nanos(self.mapping.header().floor.load(Ordering::Acquire))
    }

    /// The places where a key may lie, nearest first.
    pub(super) fn places(&self, key: Locator) -> impl Iterator<Item = (usize, &Slot)> {
        let slots = self.mapping.slots();
        let mask = slots.len() - 1;
        let home = key.home(mask);
        (0..PROBES.min(slots.len())).map(move |distance| {
            let place = (home + distance) & mask;
            (place, &slots[place])
        })
    }

    /// The place of a key. The caller is pinned, unless it only wants to look. Takes a mark off.
    #[inline]
    pub(super) fn find(&self, key: Locator) -> Option<(usize, &Slot)> {
        for (place, slot) in self.places(key) {
            // ORDERING: Acquire pairs with the Release that published the slot: its other words are filled.
            let id = slot.id.load(Ordering::Acquire);
            if id == EMPTY {
                return None;
            }
            // ORDERING: Relaxed; ordered by `id`, and stable while the caller is pinned.
            if key.is(id) && slot.key_hi.load(Ordering::Relaxed) == key.hi {
                return revive(slot, key.id, id).then_some((place, slot));
            }
        }
        None
    }

    /// The right to fill and empty slots; the caller holds no pin.
    pub(super) fn insert_lock(&self) -> Option<Inserting<'_>> {
        let mut round = 0;
        let thread = loop {
            match self.inserting.try_lock() {
                Ok(guard) => break guard,
                // The lock guards no data of this process, so a panic under it spoils nothing.
                #[cfg(not(loom))]
                Err(std::sync::TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(_) if Patience::INSERT.wait(&mut round) => {}
                Err(_) => return None,
            }
        };
        while !self.mapping.try_lock_insert() {
            if !Patience::INSERT.wait(&mut round) {
                return None;
            }
        }
        Some(Inserting {
            table: self,
            _thread: thread,
        })
    }

    /// Gives a key a slot, unless it has one, and takes none of those of `kept` for it. The caller holds no pin.
    /// `first` writes its first words.
    pub(super) fn insert(
        &self,
        key: Locator,
        content: Content,
        label: u32,
        now: Nanos,
        kept: &[Locator],
        first: impl FnOnce(&Slot),
    ) -> Result<(), NoSlot> {
        let _lock = self.insert_lock().ok_or(NoSlot::Busy)?;
        self.raise_floor(now);
        let floor = self.floor();
        let mut free = None;
        for (_, slot) in self.places(key) {
            // ORDERING: Acquire, as in `find`; under the lock only marks can change behind our back.
            let id = slot.id.load(Ordering::Acquire);
            // ORDERING: Relaxed, as in `find`.
            if key.is(id) && slot.key_hi.load(Ordering::Relaxed) == key.hi {
                if content != Content::Binding || !self.idle(slot, floor) {
                    return Ok(());
                }
                // A binding that has lapsed may get another owner: its slot is made anew.
                free = if self.evict(slot, floor) {
                    Some(slot)
                } else {
                    return Err(NoSlot::Busy);
                };
                break;
            }
            if free.is_none() && (id == EMPTY || id == BUSY) {
                free = Some(slot);
            }
            if id == EMPTY {
                break;
            }
        }
        let free = free.or_else(|| {
            self.places(key)
                .map(|(_, slot)| slot)
                .filter(|slot| !kept.iter().any(|key| slot.holds_key(*key)))
                .find(|slot| self.evict(slot, floor))
        });
        let Some(slot) = free else {
            // ORDERING: Relaxed; a statistic.
            self.mapping
                .header()
                .insert_refusals
                .fetch_add(1, Ordering::Relaxed);
            return Err(NoSlot::Full);
        };
        // ORDERING: Relaxed; nobody looks at a slot without an id, and the Release below publishes them all.
        slot.key_hi.store(key.hi, Ordering::Relaxed);
        step();
        slot.describe(&Description::of(content), label);
        for word in &slot.ring {
            step();
            word.store(0, Ordering::Relaxed);
        }
        first(slot);
        step();
        // ORDERING: Release, and last: whoever finds the id finds the rest.
        slot.id.store(key.id, Ordering::Release);
        Ok(())
    }

    /// Takes an idle slot away from its key, leaving it [`BUSY`]. The caller holds the insert lock and no pin.
    pub(super) fn evict(&self, slot: &Slot, floor: Nanos) -> bool {
        let Some(marked) = self.mark(slot, floor) else {
            return false;
        };
        // ORDERING: SeqCst fence between the mark and the reading of the pins.
        fence(Ordering::SeqCst);
        // Out of patience: the mark stays, and any user or a later evictor takes it up.
        self.pins_have_moved() && self.take_marked(slot, marked, floor)
    }

    /// Marks an idle slot; its id with the mark.
    pub(super) fn mark(&self, slot: &Slot, floor: Nanos) -> Option<u64> {
        // ORDERING: Acquire, as in `find`.
        let id = slot.id.load(Ordering::Acquire);
        if id == EMPTY || id == BUSY || !self.idle(slot, floor) {
            return None;
        }
        step();
        // ORDERING: AcqRel; the fence that follows does the rest.
        (id & MARK == MARK
            || slot
                .id
                .compare_exchange(id, id | MARK, Ordering::AcqRel, Ordering::Acquire)
                .is_ok())
        .then_some(id | MARK)
    }

    /// Waits for all calls that overlap this moment; false when out of patience.
    pub(super) fn pins_have_moved(&self) -> bool {
        overlapping(self.pins_in_use(), None)
            .outlast(Patience::INSERT, |seat| self.seat_lives(seat))
    }

    /// Takes a marked slot if it is still idle and nobody has used it since.
    pub(super) fn take_marked(&self, slot: &Slot, marked: u64, floor: Nanos) -> bool {
        step();
        if !self.idle(slot, floor) {
            // ORDERING: AcqRel; if it fails, a user has taken the mark off already.
            let _ = slot.id.compare_exchange(
                marked,
                marked & !MARK,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            return false;
        }
        // ORDERING: AcqRel; from here on the slot is ours, and so clearing it harms nobody.
        if slot
            .id
            .compare_exchange(marked, BUSY, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            return false;
        }
        // ORDERING: Relaxed; a statistic.
        self.mapping
            .header()
            .evictions
            .fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Whether another process, or this one, sits there. The kernel tells of others' locks only.
    pub(super) fn seat_lives(&self, seat: usize) -> bool {
        self.claim.get().is_some_and(|claim| claim.index() == seat) || self.mapping.seat_alive(seat)
    }

    /// Whether a slot counts nothing any more at the clock floor.
    pub(super) fn idle(&self, slot: &Slot, floor: Nanos) -> bool {
        match slot.content() {
            Some(Content::Binding) => binding::idle(slot, floor),
            Some(Content::Count(algorithm)) => match Rule::of(algorithm) {
                Some(Rule::Windows(windows)) => windows.idle(&slot.ring, floor),
                Some(Rule::Bucket(_)) => Bucket::idle(&slot.ring[0], floor),
                Some(Rule::Concurrency) => self
                    .calls(Claim {
                        seat: 0,
                        generation: 0,
                    })
                    .idle(&slot.ring),
                None => false,
            },
            None => false,
        }
    }

    /// The running calls as the holder of `claim` counts them.
    pub(super) fn calls(&self, claim: Claim) -> Calls<'_> {
        Calls {
            seats: self.mapping.seats(),
            claim,
        }
    }
}

/// Takes the mark off a slot that is about to be used, whose id was read as `id`; false if the slot is not, or no
/// longer, the one of the unmarked id `own`.
#[inline]
pub(super) fn revive(slot: &Slot, own: u64, mut id: u64) -> bool {
    while id == own | MARK {
        step();
        // ORDERING: AcqRel; makes the evictor's last exchange fail.
        match slot
            .id
            .compare_exchange(id, own, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => return true,
            Err(now) => id = now,
        }
    }
    id == own
}

/// Where this thread begins to look for a free pin, so that threads do not meet.
#[cfg(not(any(loom, feature = "simulated")))]
fn hint() -> usize {
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // ORDERING: Relaxed; any spread of values will do.
    thread_local!(static HINT: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    HINT.with(|hint| *hint)
}

#[cfg(any(loom, feature = "simulated"))]
fn hint() -> usize {
    0
}
