//! The text of a window: a unit by name, or a number and a letter.

use super::diagnostic::{Code, Diagnostic, did_you_mean, quote};
use crate::limit::Window;
use crate::time::Nanos;

/// Windows by name; the month is the calendar's.
pub(super) const NAMES: &[(&str, Window)] = &[
    ("second", Window::Span(Nanos::SECOND)),
    ("minute", Window::Span(60 * Nanos::SECOND)),
    ("hour", Window::Span(3_600 * Nanos::SECOND)),
    ("day", Window::Span(86_400 * Nanos::SECOND)),
    ("week", Window::Span(7 * 86_400 * Nanos::SECOND)),
    ("month", Window::Month),
];
/// Longest window: 366 days.
pub(super) const MOST_SECONDS: u64 = 366 * 86_400;
const UNITS: &[(char, u64)] = &[
    ('s', 1),
    ('m', 60),
    ('h', 3_600),
    ('d', 86_400),
    ('w', 604_800),
];

/// Reads `minute`, `90s`, `5m`, `12h`, `30d` or `2w`.
pub(super) fn parse(text: &str) -> Result<Window, Diagnostic> {
    if let Some((_, window)) = NAMES.iter().find(|(name, _)| *name == text) {
        return Ok(*window);
    }
    let Some((digits, unit)) = split(text) else {
        let message = format!("{} is not a window", quote(text));
        let help = match did_you_mean(text, NAMES.iter().map(|(name, _)| *name)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => {
                "write `second`, `minute`, `hour`, `day`, `week`, `month`, or such as `90s` or `5m`"
                    .to_owned()
            }
        };
        return Err(Diagnostic::new(Code::BadWindow, message).help(help));
    };
    let seconds = digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit));
    match seconds {
        Some(0) => Err(Diagnostic::new(
            Code::BadWindow,
            "a window is at least 1 s long",
        )),
        Some(seconds) if seconds <= MOST_SECONDS => Ok(Window::Span(seconds * Nanos::SECOND)),
        _ => {
            let message = format!("a window of {} is longer than 366 days", quote(text));
            Err(Diagnostic::new(Code::BadWindow, message))
        }
    }
}

fn split(text: &str) -> Option<(&str, u64)> {
    let (_, seconds) = UNITS.iter().find(|(letter, _)| text.ends_with(*letter))?;
    let digits = text.get(..text.len() - 1)?;
    let plain = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    plain.then_some((digits, *seconds))
}
