//! Names as readers that ignore case see them.
//!
//! INVARIANT: two names that some reader in use takes for one are one here; that a few more are is on the safe
//! side, since what reads as a known name without being it is refused.

use crate::json::Text;

/// Whether `key` is `known`, or is to a reader that ignores case.
#[must_use]
pub fn reads_as(key: &str, known: &str) -> bool {
    if key.is_ascii() && known.is_ascii() {
        return key.eq_ignore_ascii_case(known);
    }
    key.chars().flat_map(fold).eq(known.chars().flat_map(fold))
}

/// The same of a key as it was written. Does not allocate, and ends at the first letter that differs.
#[must_use]
pub fn text_reads_as(key: Text<'_>, known: &str) -> bool {
    match key.plain() {
        Some(key) => reads_as(key, known),
        None => key.chars().flat_map(fold).eq(known.chars().flat_map(fold)),
    }
}

/// Whether a key that begins with the byte `first`, as it was written, could be read as `known`: nearly all that
/// cannot need no further look.
#[inline]
#[must_use]
pub fn may_read_as(first: u8, known: &str) -> bool {
    let differ = |wanted: u8| (first ^ wanted) & !0x20 != 0 && (first | wanted).is_ascii();
    first == b'\\' || !known.as_bytes().first().copied().is_some_and(differ)
}

/// A letter without its case. Some readers compare lower case, some upper case, some either: by way of all of
/// them, what any takes for one letter becomes one (the long s and `s`, both lower-case sigmas).
pub fn fold(c: char) -> impl Iterator<Item = char> {
    // In Unicode's full mapping its lower case is two characters, in the simple one that Java goes by it is `i`.
    let c = if c == '\u{130}' { 'i' } else { c };
    c.to_lowercase()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::{fold, may_read_as, reads_as};

    #[test]
    fn every_reader_that_ignores_case_is_reckoned_with() {
        for (key, known) in [
            ("BID", "bid"),
            ("bid", "BID"),
            ("\u{212a}EY", "key"),
            ("\u{17f}um", "sum"),
            ("sum", "\u{17f}um"),
            ("\u{131}d", "id"),
            ("\u{130}D", "id"),
            ("GRÖSSE", "größe"),
            ("grö\u{1e9e}e", "größe"),
            ("ΟΔΟΣ", "οδος"),
            ("οδος", "οδοσ"),
        ] {
            assert!(reads_as(key, known), "{key} {known}");
            assert!(may_read_as(key.as_bytes()[0], known), "{key} {known}");
            assert!(may_read_as(b'\\', known), "{known}");
        }
        for (key, known) in [
            ("bids", "bid"),
            ("", "bid"),
            ("b id", "bid"),
            ("be", "bé"),
            ("а", "a"),
        ] {
            assert!(!reads_as(key, known), "{key} {known}");
        }
    }

    #[test]
    fn a_first_letter_settles_most() {
        assert!(!may_read_as(b'a', "bid"));
        assert!(!may_read_as(b'"', "bid"));
        assert!(may_read_as(b'a', "\u{e9}"));
    }

    #[test]
    fn a_letter_folds_as_its_upper_and_its_lower_case_do() {
        for c in '\0'..='\u{1ffff}' {
            let folded = || fold(c).collect::<String>();
            for other in [c.to_uppercase().to_string(), c.to_lowercase().to_string()] {
                if c != '\u{130}' {
                    let other: String = other.chars().flat_map(fold).collect();
                    assert_eq!(other, folded(), "{c:?}");
                }
            }
        }
    }
}
