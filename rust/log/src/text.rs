//! JSON text that cannot be taken for anything else: printable ASCII, one line.
//!
//! INVARIANT: whatever is given, what is appended are bytes from 0x20 to 0x7E, in which quotes and backslashes have
//! a backslash before them; so no content can end its string, its line, or write to a terminal.

use std::fmt::Write as _;

use gateway_core::time::civil;
use sha2::{Digest, Sha256};

/// What a cut text ends in: an ellipsis, a sign, and the first 64 bits of the digest of all of it.
const CUT_BYTES: usize = 6 + 1 + 16;

/// Appends a string, quotes included. One that takes more than `most` bytes is cut, and its digest put in the place
/// of the rest, so that what is alike stays alike.
pub fn string(out: &mut String, text: &str, most: usize) {
    out.push('"');
    let start = out.len();
    if text.len() <= most && is_plain(text) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut whole = start;
    for c in text.chars() {
        character(out, c);
        if out.len() - start <= most.saturating_sub(CUT_BYTES) {
            whole = out.len();
        }
        if out.len() - start > most {
            out.truncate(whole);
            out.push_str("\\u2026#");
            hex(
                out,
                Sha256::digest(text.as_bytes()).get(..8).unwrap_or_default(),
            );
            break;
        }
    }
    out.push('"');
}

/// Nothing needs an escape. All bytes are looked at, whatever the first ones are, so that many are at once.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "a branch at each byte is what it goes without"
)]
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| {
        plain & matches!(byte, 0x20..=0x7E) & (byte != b'"') & (byte != b'\\')
    })
}

fn character(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        ' '..='~' => out.push(c),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

/// Appends a value that a reader of JSON has accepted: without blanks between its parts, and in ASCII.
///
/// What is not JSON comes out as printable ASCII all the same.
pub fn value(out: &mut String, spelt: &str) {
    let mut quoted = false;
    let mut escaped = false;
    for c in spelt.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' | '\n' | '\r' if !quoted => continue,
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
        if matches!(c, ' '..='~') {
            out.push(c);
        } else {
            character(out, c);
        }
    }
}

/// Appends bytes as lower-case hexadecimal digits.
pub fn hex(out: &mut String, bytes: &[u8]) {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    for some in bytes.chunks(32) {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(some) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        let digits = digits.get(..2 * some.len()).unwrap_or_default();
        out.push_str(std::str::from_utf8(digits).unwrap_or_default());
    }
}

/// Appends a number.
pub fn number(out: &mut String, number: impl itoa::Integer) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// Appends a number with zeros before it, so that it has so many digits.
fn padded(out: &mut String, number: u64, digits: usize) {
    let mut buffer = itoa::Buffer::new();
    let spelt = buffer.format(number);
    out.extend(std::iter::repeat_n('0', digits.saturating_sub(spelt.len())));
    out.push_str(spelt);
}

/// Appends thousandths as a decimal number with three decimals.
pub fn thousandths(out: &mut String, thousandths: u64) {
    number(out, thousandths / 1000);
    out.push('.');
    padded(out, thousandths % 1000, 3);
}

/// Appends a time of nanoseconds since 1970 as RFC 3339 has it, UTC, to the microsecond.
pub fn time(out: &mut String, ns: u64) {
    let [year, month, day, hour, minute, second] = civil(ns / 1_000_000_000);
    padded(out, year, 4);
    for (before, number) in [
        ('-', month),
        ('-', day),
        ('T', hour),
        (':', minute),
        (':', second),
    ] {
        out.push(before);
        padded(out, number, 2);
    }
    out.push('.');
    padded(out, ns % 1_000_000_000 / 1000, 6);
    out.push('Z');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(text: &str, most: usize) -> String {
        let mut out = String::new();
        string(&mut out, text, most);
        out
    }

    #[test]
    fn times_are_rfc_3339() {
        let at = |ns| {
            let mut out = String::new();
            time(&mut out, ns);
            out
        };
        assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            at(951_782_400 * 1_000_000_000),
            "2000-02-29T00:00:00.000000Z"
        );
        assert_eq!(at(1_795_273_199_123_456_789), "2026-11-21T14:59:59.123456Z");
        assert_eq!(at(4_107_542_399_999_999_999), "2100-02-28T23:59:59.999999Z");
    }

    #[test]
    fn a_cut_text_says_which_it_was() {
        let (one, other) = ("a".repeat(300), "a".repeat(301));
        assert_eq!(said(&one, 300).len(), 302);
        assert_ne!(said(&one, 200), said(&other, 200));
        assert!(said(&one, 200).len() <= 202 && said(&one, 200).contains("\\u2026#"));
    }

    #[test]
    fn nothing_ends_a_line_or_a_string() {
        let nasty = "\"}\n{\"ts\":\r\u{2028}\u{85}\u{1b}[2K\\\u{7f}\u{202e}";
        let out = said(nasty, 1000);
        assert!(
            out.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
            "{out}"
        );
        assert_eq!(
            serde_json::from_str::<String>(&out).ok().as_deref(),
            Some(nasty)
        );
    }

    #[test]
    fn a_value_keeps_its_meaning_and_loses_its_blanks() {
        let mut out = String::new();
        value(
            &mut out,
            "{\"a b\" :\n [1.50, \"\u{e9}\\\" \u{2028}\\\\\" , true ]}",
        );
        assert_eq!(out, "{\"a b\":[1.50,\"\\u00e9\\\" \\u2028\\\\\",true]}");
    }

    proptest! {
        #[test]
        fn a_string_reads_back(text in ".*") {
            let out = said(&text, usize::MAX / 2);
            prop_assert!(out.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(serde_json::from_str::<String>(&out).ok(), Some(text));
        }

        #[test]
        fn a_cut_string_is_bounded_and_still_one(text in ".{0,400}", most in 23_usize..200) {
            let out = said(&text, most);
            prop_assert!(out.len() <= most + 2);
            prop_assert!(serde_json::from_str::<String>(&out).is_ok());
        }

        #[test]
        fn a_value_is_ascii_whatever_it_is(spelt in ".*") {
            let mut out = String::new();
            value(&mut out, &spelt);
            prop_assert!(out.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        }
    }
}
