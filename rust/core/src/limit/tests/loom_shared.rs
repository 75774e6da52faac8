//! Memory for models: loom's own atomics in boxes, with the surface of the mapped file.
//!
//! The kernel's locks are taken to be free and every process to be alive: models are about the words.

use std::fmt;

use super::layout::{Header, PINS_PER_SEAT, Pin, Seat, Slot};

/// The table's memory, made of loom's atomics.
pub(super) struct Mapping {
    header: Box<Header>,
    pins: Box<[Pin]>,
    slots: Box<[Slot]>,
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mapping")
    }
}

impl Mapping {
    /// Memory for one process.
    pub(super) fn model(slots: usize) -> Self {
        Self {
            header: Box::new(Header::zeroed()),
            pins: (0..PINS_PER_SEAT).map(|_| Pin::zeroed()).collect(),
            slots: (0..slots).map(|_| Slot::zeroed()).collect(),
        }
    }

    pub(super) fn usable(&self) -> bool {
        true
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn seats(&self) -> &[Seat] {
        &self.header.seats
    }

    pub(super) fn pins(&self) -> &[Pin] {
        &self.pins
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn try_lock_insert(&self) -> bool {
        true
    }

    pub(super) fn unlock_insert(&self) {}

    pub(super) fn try_lock_seat(&self, _seat: usize) -> bool {
        true
    }

    pub(super) fn seat_alive(&self, _seat: usize) -> bool {
        true
    }
}
