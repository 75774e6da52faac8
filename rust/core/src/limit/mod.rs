//! Limits: what is counted, over which window, and who shares the count.
//!
//! The declarations here are what a compiled policy holds; the counts themselves live in the limit table
//! and outlive every policy.
#![cfg_attr(
    loom,
    allow(dead_code, reason = "models have no file to open and examine")
)]

mod binding;
mod bucket;
mod calendar;
mod concurrency;
mod error;
#[cfg(not(loom))]
mod examine;
#[cfg(not(loom))]
mod file;
mod key;
mod layout;
mod mark;
mod outcome;
mod pins;
mod reserve;
#[cfg(not(loom))]
mod shared;
#[cfg(loom)]
#[path = "tests/loom_shared.rs"]
mod shared;
mod survey;
mod table;
mod window;
mod word;

#[cfg(test)]
mod tests;

pub use binding::{BindError, Binding};
pub use error::OpenError;
pub use mark::Reservation;
pub use reserve::{Release, Verdict};
pub use survey::{Entry, Stats};
pub use table::LimitTable;

use crate::time::Nanos;
use layout::{Content, Description};
use table::Rule;

/// The calendar month cannot be a fixed number of nanoseconds, so windows are an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// A span of this many nanoseconds, aligned to [`EPOCH`] where the algorithm has an alignment.
    Span(u64),
    /// A UTC calendar month; only for [`Algorithm::Fixed`].
    Month,
}

/// Monday 2025-12-29T00:00:00Z: epochs are counted from here, so that days and hours are UTC-aligned and
/// weeks begin on a Monday.
pub const EPOCH: Nanos = Nanos(1_766_966_400 * Nanos::SECOND);

/// The table makes no decision for this instant or a later one (late 2059), since windows are numbered in words of
/// limited width, and a wild clock would otherwise close every limit for good.
pub const HORIZON: Nanos = EPOCH.plus(34 * 365 * 86_400 * Nanos::SECOND);

/// How a quota turns time and cost into room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// At most `max` in each window of the UTC calendar.
    Fixed(Window),
    /// At most `max` in any interval of this many nanoseconds: a ring of sealed sub-windows.
    Sliding(u64),
    /// At most `burst` units at once and `max` in any interval of `window_ns`
    /// (one unit is regained every `interval_ns`).
    Bucket {
        /// The window the policy names, nanoseconds.
        window_ns: u64,
        /// Nanoseconds until one unit is regained.
        interval_ns: u64,
        /// Units that may be taken at once.
        burst: u64,
    },
    /// At most `max` at the same time; given back when the call ends, however it ends.
    Concurrency,
}

/// An algorithm and what follows from it alone: worked out once a quota instead of once a call.
#[derive(Clone, Copy, Debug)]
pub struct Counting {
    algorithm: Algorithm,
    /// `None` if it is out of bounds.
    rule: Option<Rule>,
    /// What a slot of it says.
    description: Description,
}

impl Counting {
    /// The counting that an algorithm asks for.
    #[must_use]
    pub fn by(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            rule: Rule::of(algorithm),
            description: Description::of(Content::Count(algorithm)),
        }
    }

    /// The algorithm it was made of.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Identity of one count in the limit table: SipHash-2-4-128 of everything that gives the count its meaning
/// (and nothing else), under the table's secret key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuotaKey(pub u128);

/// One quota that a call would use.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'q> {
    /// Which count.
    pub key: QuotaKey,
    /// How it counts.
    pub counting: &'q Counting,
    /// Units this call costs.
    pub cost: u64,
    /// Units allowed, where the limit is enforced.
    pub max: Option<u64>,
    /// Units allowed by limits in shadow mode over the same count (tested and reported, never refused).
    pub shadow_max: Option<u64>,
    /// Shown by people-facing listings of the table; part of no decision.
    pub label: u32,
}

/// What one charge looked like at the moment of decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Units in use before this call.
    pub used: u64,
    /// Units left after this call, or at present if it was refused.
    pub remaining: u64,
    /// This limit had no room for the call.
    pub refused: bool,
    /// A shadow limit over this count had no room for the call.
    pub shadow_refused: bool,
    /// Nanoseconds until this limit alone would admit the call; `None` if it never can (cost above max) or
    /// if that is not a matter of time (concurrency). 0 when it has room.
    pub wait_ns: Option<u64>,
    /// Nanoseconds until the window ends (fixed), or until all units are regained (others).
    pub reset_ns: u64,
}

/// The largest `max`, in units, that the table can count by this algorithm. 0 if it cannot count by it at all
/// (a window under 125 ms, a bucket that takes more than two years to refill).
#[must_use]
pub fn count_capacity(algorithm: Algorithm) -> u64 {
    Rule::of(algorithm).map_or(0, Rule::capacity)
}
