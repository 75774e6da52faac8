//! Names and lines of header fields.

use crate::http1::field::{Field, Name, length};

fn name(spelt: &[u8]) -> Option<Name> {
    let line = [spelt, b": x\r\n"].concat();
    Field::read(&line).map(|(field, _)| {
        assert_eq!((field.spelt, field.value), (spelt, b"x".as_slice()));
        field.name
    })
}

#[test]
fn a_name_is_known_in_any_case_and_in_no_other_spelling() {
    for (text, known) in Name::LISTED {
        assert_eq!(name(text), Some(*known));
        assert_eq!(name(&text.to_ascii_uppercase()), Some(*known));
        assert_eq!(known.text(), Some(*text));
        for at in 0..text.len() {
            let mut other = text.to_vec();
            other[at] = b'_';
            assert!(matches!(name(&other), Some(Name::Other | Name::Mcp)));
            // As a hyphen is, but for the bit of the case.
            other[at] = b'\r';
            assert_eq!(name(&other), None);
            other[at] = text[at] | 0x80;
            assert_eq!(name(&other), None);
        }
        for more in [b"x".as_slice(), b"\0", b" ", b"\0\0\0\0"] {
            let other = [text, more].concat();
            assert_ne!(name(&other), Some(*known));
            assert_eq!(name(&other).is_some(), more == b"x");
        }
    }
}

#[test]
fn a_name_that_is_not_listed_is_still_a_token() {
    assert_eq!(name(b""), None);
    for more in 0..40 {
        let other = vec![b'a'; more + 1];
        assert_eq!(name(&other), Some(Name::Other));
        let own = [b"mCp-", other.as_slice()].concat();
        assert_eq!(name(&own), Some(Name::Mcp));
        for bad in [b' ', b'\0', b'(', b'\x7F', b'\n', 0xE9] {
            assert_eq!(name(&[other.as_slice(), &[bad]].concat()), None);
        }
    }
}

#[test]
fn a_length_has_one_spelling() {
    let most = "9".repeat(18);
    for digits in ["0", "7", "10", &most] {
        assert_eq!(length(digits.as_bytes()), digits.parse().ok());
    }
    for bad in [
        "",
        "00",
        "01",
        "+1",
        "-1",
        "1 ",
        "1,1",
        "0x1",
        &format!("{most}9"),
    ] {
        assert_eq!(length(bad.as_bytes()), None, "{bad:?}");
    }
}
