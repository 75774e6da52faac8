//! The shared memory: a header page, a page of pins, then the slots. Naturally aligned 64-bit words throughout.
//!
//! INVARIANT: everything that is read or written after the file was opened is an atomic word, so any content at
//! all is a value that the code can look at. Nothing here holds a pointer or a length that is trusted.

use super::key::Locator;
use super::outcome::Stop;
use super::window::RING;
use super::{Algorithm, Window};
use crate::sync::{AtomicU64, Ordering};

/// Processes that can share a table (two in models, which explore every reading of every seat).
pub(super) const SEATS: usize = if cfg!(loom) { 2 } else { 8 };
/// Threads of one process that can decide at the same instant; more wait a moment.
pub(super) const PINS_PER_SEAT: usize = if cfg!(loom) { 3 } else { 8 };
/// How far from its home a key may lie.
pub(super) const PROBES: usize = 64;
/// Size of the header and of the pins.
pub(super) const PAGE: usize = 4096;
/// The slots begin here.
pub(super) const SLOTS_OFFSET: usize = 2 * PAGE;
/// Bytes of a slot.
pub(super) const SLOT_BYTES: usize = 128;
/// Bytes of the header's constant part.
pub(super) const IDENTITY_BYTES: usize = 64;

/// `id` of a slot that was never used: a search may end here.
pub(super) const EMPTY: u64 = 0;
/// `id` of a slot that is being filled or was given up: a search goes on.
pub(super) const BUSY: u64 = 1;
/// Bit of an `id` that says somebody means to evict the slot; any user takes it off again.
pub(super) const MARK: u64 = 1;

/// Bytes that keep things apart in the mapping. Models have none: their stacks are small.
const fn pad(bytes: usize) -> usize {
    if cfg!(loom) { 0 } else { bytes }
}

/// First page.
#[cfg_attr(not(loom), repr(C, align(4096)))]
pub(super) struct Header {
    /// Written before the file gets its name and never again; see `file.rs`.
    _identity: [u8; pad(IDENTITY_BYTES)],
    /// No decision is made for an earlier time than this (nanoseconds since 1970).
    pub(super) floor: AtomicU64,
    _floor_line: [u8; pad(56)],
    /// Keys that found no slot.
    pub(super) insert_refusals: AtomicU64,
    /// Slots taken over from keys that counted nothing any more.
    pub(super) evictions: AtomicU64,
    /// One more than the highest seat that was ever taken.
    pub(super) seats_used: AtomicU64,
    _counter_line: [u8; pad(40)],
    _reserved: [u8; pad(832)],
    /// The processes that share the table.
    pub(super) seats: [Seat; SEATS],
    _rest: [u8; pad(PAGE - 1024 - SEATS * 64)],
}

/// A process's place.
#[cfg_attr(not(loom), repr(C, align(64)))]
pub(super) struct Seat {
    /// Rises with each process that takes the seat and when its process is found dead.
    pub(super) generation: AtomicU64,
    _line: [u8; pad(56)],
}

/// Shows that a thread is deciding: odd while it is, and never the same odd number twice.
#[cfg_attr(not(loom), repr(C, align(64)))]
pub(super) struct Pin {
    /// See the type.
    pub(super) sequence: AtomicU64,
    _line: [u8; pad(56)],
}

/// One key and what it counts.
#[cfg_attr(not(loom), repr(C, align(128)))]
pub(super) struct Slot {
    /// [`EMPTY`], [`BUSY`], or 63 bits of the key above a [`MARK`].
    pub(super) id: AtomicU64,
    /// The other 64 bits of the key.
    pub(super) key_hi: AtomicU64,
    /// Kind in the low byte, label in the high half.
    pub(super) meta: AtomicU64,
    /// Width of the window, nanoseconds, where there is one.
    pub(super) span: AtomicU64,
    /// Bucket: nanoseconds to regain a unit.
    pub(super) interval: AtomicU64,
    /// Bucket: units at once.
    pub(super) burst: AtomicU64,
    _reserved: [u64; 2],
    /// The counts.
    pub(super) ring: [AtomicU64; RING],
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Header>() == PAGE, "the header fills its page");
    assert!(
        std::mem::offset_of!(Header, seats) == 1024,
        "the seats lie where the layout says"
    );
    assert!(
        size_of::<Pin>() * SEATS * PINS_PER_SEAT == PAGE,
        "the pins fill their page"
    );
    assert!(size_of::<Slot>() == SLOT_BYTES, "a slot is two cache lines");
    assert!(
        std::mem::offset_of!(Slot, ring) == 64,
        "the counts have a cache line to themselves"
    );
};

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A count.
    Count(Algorithm),
    /// Who owns a session or a task.
    Binding,
}

/// What tells one kind of content from another in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Description {
    /// The low byte of `meta`.
    kind: u64,
    /// Width of the window, nanoseconds, where there is one.
    span: u64,
    /// A bucket's nanoseconds to regain a unit, and units at once.
    rate: Option<(u64, u64)>,
}

impl Description {
    pub(super) const fn of(content: Content) -> Self {
        let (kind, span, rate) = match content {
            Content::Count(Algorithm::Fixed(Window::Span(span))) => (1, span, None),
            Content::Count(Algorithm::Fixed(Window::Month)) => (2, 0, None),
            Content::Count(Algorithm::Sliding(span)) => (3, span, None),
            Content::Count(Algorithm::Bucket {
                window_ns,
                interval_ns,
                burst,
            }) => (4, window_ns, Some((interval_ns, burst))),
            Content::Count(Algorithm::Concurrency) => (5, 0, None),
            Content::Binding => (6, 0, None),
        };
        Self { kind, span, rate }
    }
}

impl Slot {
    /// What the slot holds; `None` if its description makes no sense.
    pub(super) fn content(&self) -> Option<Content> {
        // ORDERING: Relaxed; the description is published by the Release of `id` and changes only for display.
        let span = self.span.load(Ordering::Relaxed);
        let content = match self.meta.load(Ordering::Relaxed) & 0xff {
            1 => Content::Count(Algorithm::Fixed(Window::Span(span))),
            2 => Content::Count(Algorithm::Fixed(Window::Month)),
            3 => Content::Count(Algorithm::Sliding(span)),
            4 => Content::Count(Algorithm::Bucket {
                window_ns: span,
                // ORDERING: Relaxed, as above.
                interval_ns: self.interval.load(Ordering::Relaxed),
                burst: self.burst.load(Ordering::Relaxed),
            }),
            5 => Content::Count(Algorithm::Concurrency),
            6 => Content::Binding,
            _ => return None,
        };
        Some(content)
    }

    /// Whether the slot is this key's, marked or not.
    pub(super) fn holds_key(&self, key: Locator) -> bool {
        // ORDERING: Acquire pairs with the Release that published the slot; the rest is ordered by it.
        key.is(self.id.load(Ordering::Acquire)) && self.key_hi.load(Ordering::Relaxed) == key.hi
    }

    /// Refuses what counts by other rules than the slot does; brings what is only displayed up to date.
    #[inline]
    pub(super) fn admits(&self, description: &Description, label: u32) -> Result<(), Stop> {
        // ORDERING: Relaxed, as in `content`.
        let (meta, span) = (
            self.meta.load(Ordering::Relaxed),
            self.span.load(Ordering::Relaxed),
        );
        if meta & 0xff != description.kind || span != description.span {
            return Err(Stop::Foreign);
        }
        if description.rate.is_some() || meta >> 32 != u64::from(label) {
            self.describe(description, label);
        }
        Ok(())
    }

    /// Shown by listings of the table.
    pub(super) fn label(&self) -> u32 {
        // ORDERING: Relaxed; display only.
        (self.meta.load(Ordering::Relaxed) >> 32) as u32
    }

    /// Writes the description. A changed label or a bucket's changed rate only matters to people who look.
    pub(super) fn describe(&self, description: &Description, label: u32) {
        let (interval, burst) = description.rate.unwrap_or_default();
        let span = description.span;
        let meta = description.kind | (u64::from(label) << 32);
        // ORDERING: Relaxed; a new slot is published by the Release of `id`. Written only where it differs, so
        // that a busy slot's first cache line stays shared between processors.
        for (word, value) in [
            (&self.meta, meta),
            (&self.span, span),
            (&self.interval, interval),
            (&self.burst, burst),
        ] {
            if word.load(Ordering::Relaxed) != value {
                word.store(value, Ordering::Relaxed);
            }
        }
    }
}

/// Memory for models: loom's atomics cannot live in a mapping.
#[cfg(loom)]
mod zeroed {
    use super::*;

    impl Header {
        pub(in crate::limit) fn zeroed() -> Self {
            Self {
                _identity: [0; pad(IDENTITY_BYTES)],
                floor: AtomicU64::new(0),
                _floor_line: [0; pad(56)],
                insert_refusals: AtomicU64::new(0),
                evictions: AtomicU64::new(0),
                seats_used: AtomicU64::new(0),
                _counter_line: [0; pad(40)],
                _reserved: [0; pad(832)],
                seats: std::array::from_fn(|_| Seat {
                    generation: AtomicU64::new(0),
                    _line: [0; pad(56)],
                }),
                _rest: [0; pad(PAGE - 1024 - SEATS * 64)],
            }
        }
    }

    impl Pin {
        pub(in crate::limit) fn zeroed() -> Self {
            Self {
                sequence: AtomicU64::new(0),
                _line: [0; pad(56)],
            }
        }
    }

    impl Slot {
        pub(in crate::limit) fn zeroed() -> Self {
            let zero = || AtomicU64::new(0);
            Self {
                id: zero(),
                key_hi: zero(),
                meta: zero(),
                span: zero(),
                interval: zero(),
                burst: zero(),
                _reserved: [0; 2],
                ring: std::array::from_fn(|_| zero()),
            }
        }
    }
}
