//! What a reservation remembers: enough to give each unit back to where it was counted, and nowhere else.

use smallvec::SmallVec;

use crate::time::Nanos;

/// A process's seat at the table and the generation under which it took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) seat: usize,
    pub(super) generation: u64,
}

/// Where one charge was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// In the window of this number.
    Epoch(u64),
    /// As this much debt of a bucket, added at `stamp`.
    Debt { debt_ns: u64, stamp: Nanos },
    /// As a running call of this process.
    Running(Claim),
}

/// One charge that was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) slot: usize,
    pub(super) id: u64,
    pub(super) key_hi: u64,
    pub(super) cost: u64,
    pub(super) mark: Mark,
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
            .any(|held| matches!(held.mark, Mark::Running(_)))
    }
}
