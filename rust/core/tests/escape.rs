//! Texts in refusals, as a reader of JSON sees them.

#![expect(clippy::expect_used, reason = "a test that cannot be set up must stop")]

use gateway_core::denial::escape;
use proptest::prelude::*;

fn is_read_back(text: &str) {
    let escaped = escape(text);
    let read: String = serde_json::from_str(&escaped).expect("a JSON string");
    assert_eq!(read, text, "{escaped}");
    let ends_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    assert!(!escaped.contains(ends_line), "{escaped}");
}

#[test]
fn a_special_character_is_found_wherever_it_is() {
    let special = [
        '"',
        '\\',
        '\n',
        '\0',
        '\x1F',
        '\x7F',
        '\u{80}',
        '\u{e9}',
        '\u{2028}',
        '\u{1f600}',
    ];
    for c in special {
        for at in 0..40 {
            let mut text = "x~ ".repeat(14);
            text.insert(at, c);
            is_read_back(&text);
            is_read_back(text.get(..at + c.len_utf8()).expect("a boundary"));
        }
    }
    assert_eq!(
        escape("plain ~ text, of more than sixteen bytes"),
        "\"plain ~ text, of more than sixteen bytes\""
    );
}

proptest! {
    #[test]
    fn any_text_is_read_back(text in ".{0,80}") {
        is_read_back(&text);
    }
}
