//! What a reservation remembers: enough to give each unit back to where it was counted, and nowhere else.

use smallvec::SmallVec;

use super::layout::MARK;
use crate::time::Nanos;

/// A process's seat at the table and the generation under which it took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) seat: u32,
    /// The low half of the seat's generation: more than a word keeps of it.
    pub(super) generation: u32,
}

impl Claim {
    pub(super) const fn index(self) -> usize {
        self.seat as usize
    }
}

/// Where one charge was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// In the window of this number.
    Epoch { epoch: u64, cost: u64 },
    /// As this much debt of a bucket, added at `stamp`.
    Debt { debt_ns: u64, stamp: Nanos },
    /// As running calls of this process.
    Running { claim: Claim, cost: u64 },
}

/// One charge that was taken.
///
/// The slot is known again by the 63 bits of its `id`: they are part of a keyed hash, and the other half would
/// only make a reservation longer, which is moved about with every call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) slot: u32,
    pub(super) id: u64,
    pub(super) mark: Mark,
}

impl Held {
    /// Whether a slot's id is the one this was taken from, marked or not.
    pub(super) const fn is(&self, id: u64) -> bool {
        id & !MARK == self.id
    }
}

/// What an admitted call took. Hand it to [`super::LimitTable::release`] once, when the call has ended.
///
/// One that is dropped instead stays charged: windows and buckets forget it in time, a concurrency limit only
/// when the process ends.
#[derive(Debug, Default)]
#[must_use = "a concurrency limit is only freed by `LimitTable::release`"]
pub struct Reservation(pub(super) SmallVec<[Held; 4]>);

impl Reservation {
    /// Whether nothing has to be done when the call ends normally: no concurrency limit was taken.
    #[must_use]
    pub fn is_settled_by_time(&self) -> bool {
        !self
            .0
            .iter()
            .any(|held| matches!(held.mark, Mark::Running { .. }))
    }
}
