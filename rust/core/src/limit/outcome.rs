//! What the algorithms report to the code that combines them.

use super::mark::Mark;
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
