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

/// Year, month, day, hour, minute and second, UTC.
#[must_use]
pub fn civil(seconds: u64) -> [u64; 6] {
    // Counted from 1 March of year 0, so that a leap day is the last of its year; 719,468 days before 1970.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let second = seconds % 86_400;
    [
        year,
        month,
        day,
        second / 3600,
        second / 60 % 60,
        second % 60,
    ]
}
