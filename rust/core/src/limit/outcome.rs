//! What the algorithms report to the code that combines them.

use super::mark::Mark;
use crate::sync::{AtomicU64, Ordering, step};
use crate::time::Nanos;

/// What a call would find, before anything is changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Units in use.
    pub(super) used: u64,
    /// The call fits.
    pub(super) room: bool,
    /// For a call that does not fit, the first instant at which it does if nobody else takes the room; `None` if
    /// time alone never helps.
    pub(super) opens_at: Option<Nanos>,
    /// When nothing is in use any more (fixed windows: when the window ends).
    pub(super) clear_at: Nanos,
    /// How to take it, where that changes one word and depends on no other.
    pub(super) ready: Option<Ready>,
}

/// One exchange that counts a call for which a look found room. The room is that of the value it replaces, so it
/// is there if that value is, however long ago the look was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// The word's bits at the look.
    pub(super) seen: u64,
    /// The same with the call counted.
    pub(super) next: u64,
    /// The window it is counted in.
    pub(super) epoch: u64,
}

impl Ready {
    /// Counts the call; false if the word has changed since the look.
    #[inline]
    pub(super) fn take(self, cell: &AtomicU64) -> bool {
        step();
        // ORDERING: AcqRel, as for every admission: the room is that of the value replaced.
        cell.compare_exchange(self.seen, self.next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// What a call took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Units in use, this call's included.
    pub(super) used: u64,
    /// As in [`Look`].
    pub(super) clear_at: Nanos,
    /// What has to be remembered to give it back.
    pub(super) mark: Mark,
}

/// Why a call took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// There is no room.
    Full,
    /// Others changed the count too often in the meantime.
    Contended,
    /// The words belong to another algorithm, or the arguments are out of all bounds.
    Foreign,
}
