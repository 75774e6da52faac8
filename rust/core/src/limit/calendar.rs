//! Which window an instant falls in, and where windows begin.

use super::word::Class;
use super::{EPOCH, Window};
use crate::time::Nanos;

const DAY_NS: u64 = 86_400 * Nanos::SECOND;
/// December 2025, in months since year 0: the month that [`EPOCH`] lies in.
const EPOCH_MONTH: u64 = 2025 * 12 + 11;
/// Days from the first of March of year 0 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;
/// Days in 400 years.
const ERA_DAYS: u64 = 146_097;

/// A division of time into numbered windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ruler {
    window: Window,
    class: Class,
}

impl Ruler {
    /// Windows of the UTC calendar; `None` if they are too narrow to be numbered.
    #[inline]
    pub(super) fn new(window: Window) -> Option<Self> {
        let class = match window {
            Window::Span(width_ns) => Class::of_width(width_ns)?,
            Window::Month => Class::MONTH,
        };
        Some(Self { window, class })
    }

    /// How the words of these windows are split.
    pub(super) const fn class(self) -> Class {
        self.class
    }

    /// The number of the window that holds `t`, which is not before [`EPOCH`].
    #[inline]
    pub(super) fn epoch(self, t: Nanos) -> u64 {
        match self.window {
            Window::Span(width_ns) => t.since(EPOCH) / width_ns,
            Window::Month => month_of_day(t.0 / DAY_NS).saturating_sub(EPOCH_MONTH),
        }
    }

    /// The first instant of window `epoch`.
    #[inline]
    pub(super) fn start(self, epoch: u64) -> Nanos {
        match self.window {
            Window::Span(width_ns) => EPOCH.plus(epoch.saturating_mul(width_ns)),
            Window::Month => {
                Nanos(first_day_of_month(epoch.saturating_add(EPOCH_MONTH)).saturating_mul(DAY_NS))
            }
        }
    }
}

/// The month, counted from January of year 0, of a day counted from 1970-01-01.
///
/// Years are taken to begin in March, which puts the leap day last; a month then begins on day
/// `(153 * month + 2) / 5` of its year.
fn month_of_day(day: u64) -> u64 {
    let day = day + DAYS_TO_1970;
    let (era, day) = (day / ERA_DAYS, day % ERA_DAYS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // March is month 2 when January is 0.
    (era * 400 + year) * 12 + (5 * day + 2) / 153 + 2
}

/// The first day, counted from 1970-01-01, of a month counted from January of year 0.
fn first_day_of_month(month: u64) -> u64 {
    let month = month - 2;
    let (year, month) = (month / 12, month % 12);
    let (era, year) = (year / 400, year % 400);
    era * ERA_DAYS + 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_the_calendar_day_by_day() {
        const LENGTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut day, mut month) = (0, 1970 * 12);
        while month < 2401 * 12 {
            let year = month / 12;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = LENGTHS[(month % 12) as usize] + u64::from(leap && month % 12 == 1);
            assert_eq!(first_day_of_month(month), day, "month {month}");
            for offset in 0..length {
                assert_eq!(month_of_day(day + offset), month, "day {}", day + offset);
            }
            day += length;
            month += 1;
        }
    }

    #[test]
    fn a_window_starts_where_its_number_changes() {
        for window in [
            Window::Month,
            Window::Span(60 * Nanos::SECOND),
            Window::Span(7 * DAY_NS),
            Window::Span(142_857_143),
        ] {
            let ruler = Ruler::new(window).unwrap_or(Ruler {
                window: Window::Month,
                class: Class::MONTH,
            });
            assert_eq!(ruler.epoch(EPOCH), 0);
            for epoch in [1, 2, 3, 13, 400] {
                let start = ruler.start(epoch);
                assert_eq!(ruler.epoch(start), epoch);
                assert_eq!(ruler.epoch(Nanos(start.0 - 1)), epoch - 1);
            }
        }
    }
}
