//! Time as an argument.
//!
//! INVARIANT: nothing in this crate reads a clock. Every operation that depends on time is handed a
//! [`Nanos`], and all arithmetic on it saturates, so a stale or wild value can shift an answer but never
//! wrap one.

/// Nanoseconds since 1970-01-01T00:00:00Z. Covers the years 1970 to 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Nanoseconds in a second.
    pub const SECOND: u64 = 1_000_000_000;

    /// This instant `ns` nanoseconds later, at most the last instant there is.
    #[must_use]
    pub const fn plus(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to here; 0 where `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
