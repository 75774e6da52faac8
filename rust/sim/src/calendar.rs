//! Windows by arithmetic of our own, in integers that cannot overflow here, so that a mistake of the core's is not
//! made twice.

/// Nanoseconds in a second.
pub const SECOND: i128 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLI: i128 = 1_000_000;
/// Nanoseconds in a day.
pub const DAY: i128 = 86_400 * SECOND;

/// Monday 2025-12-29T00:00:00Z in nanoseconds since 1970, from which windows are counted (docs/limits.md).
pub const ORIGIN: i128 = 20_451 * DAY;

/// How a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Windows of this many nanoseconds from [`ORIGIN`].
    Fixed(i128),
    /// Months of the calendar.
    Month,
    /// Any interval of this many nanoseconds.
    Sliding(i128),
    /// At most `burst` units at once, one regained every `interval` nanoseconds.
    Bucket {
        /// Nanoseconds until one unit is regained.
        interval: i128,
        /// Units at once.
        burst: i128,
        /// The window that the policy names, nanoseconds.
        window: i128,
        /// The most in any such window.
        max: i128,
    },
    /// At the same time.
    Concurrency,
}

impl Algorithm {
    /// The number of the window, or of the seventh of a sliding one, in which `t` lies; 0 where there is none.
    #[must_use]
    pub fn number(self, t: i128) -> i128 {
        match self {
            Self::Fixed(span) => (t - ORIGIN).div_euclid(span),
            Self::Month => month(t),
            Self::Sliding(window) => (t - ORIGIN).div_euclid(seventh(window)),
            Self::Bucket { .. } | Self::Concurrency => 0,
        }
    }

    /// How many windows after its own a unit still counts.
    #[must_use]
    pub const fn memory(self) -> i128 {
        match self {
            Self::Sliding(_) => 7,
            _ => 0,
        }
    }

    /// When the window of that number begins.
    #[must_use]
    pub fn start(self, number: i128) -> i128 {
        match self {
            Self::Fixed(span) => ORIGIN + number * span,
            Self::Month => month_start(number),
            Self::Sliding(window) => ORIGIN + number * seventh(window),
            Self::Bucket { .. } | Self::Concurrency => 0,
        }
    }
}

fn seventh(window: i128) -> i128 {
    window / 7 + i128::from(window % 7 != 0)
}

/// Months since January of the year 0, by counting whole years and months.
fn month(t: i128) -> i128 {
    let mut days = t.div_euclid(DAY);
    let mut year = 1970;
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
    }
    let mut month = 0;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    year * 12 + month
}

fn month_start(number: i128) -> i128 {
    let (year, month) = (number.div_euclid(12), number.rem_euclid(12));
    let days: i128 = (1970..year).map(year_days).sum::<i128>()
        + (0..month)
            .map(|month| month_days(year, month))
            .sum::<i128>();
    days * DAY
}

fn leap(year: i128) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn year_days(year: i128) -> i128 {
    365 + i128::from(leap(year))
}

fn month_days(year: i128, month: i128) -> i128 {
    match month {
        1 => 28 + i128::from(leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}
