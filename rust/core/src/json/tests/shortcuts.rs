//! What is read in a hurry is read as what is read byte by byte.

use std::fmt::Write as _;

use super::super::{Bounds, FaultKind, Index, number};

/// Longer than two chunks, so that every place in a chunk is met in a first, a middle and a last one.
const LENGTHS: std::ops::Range<usize> = 0..40;

/// Behind a string, so that it is read by the chunk; and nothing, so that its end is not.
const TAILS: [&str; 2] = ["                ", ""];

fn scan(source: &str) -> Result<(), (FaultKind, usize)> {
    Index::default()
        .scan(source.as_bytes(), &Bounds::default())
        .map(drop)
        .map_err(|fault| (fault.kind, fault.offset))
}

#[test]
fn a_string_ends_at_its_quote_wherever_that_is() {
    for tail in TAILS {
        for length in LENGTHS {
            let content = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let source = format!("[\"{content}\",\"\"]{tail}");
            let mut index = Index::default();
            let value = index.scan(source.as_bytes(), &Bounds::default()).unwrap();
            let text = value.at(0).unwrap().text().unwrap();
            assert_eq!(text.plain(), Some(&*content), "{source}");
            assert_eq!(value.len(), 2, "{source}");
        }
    }
}

#[test]
fn a_string_is_looked_at_in_every_place() {
    for tail in TAILS {
        for length in LENGTHS {
            for place in 0..length {
                let with = |byte: &str| {
                    let (before, after) = ("x".repeat(place), "x".repeat(length - place - 1));
                    format!("[\"{before}{byte}{after}\"]{tail}")
                };
                assert_eq!(scan(&with("\x7f")), Ok(()));
                assert_eq!(scan(&with("\\n")), Ok(()));
                let broken = Err((FaultKind::Malformed, place + 2));
                for control in ["\0", "\x1f", "\t"] {
                    assert_eq!(scan(&with(control)), broken, "{:?}", with(control));
                }
                let unescaped = Err((FaultKind::Malformed, place + 3));
                assert_eq!(scan(&with("\\q")), unescaped, "{}", with("\\q"));
                if place + 1 < length {
                    let early = Err((FaultKind::Malformed, place + 3));
                    assert_eq!(scan(&with("\"")), early, "{}", with("\""));
                }
            }
        }
    }
}

#[test]
fn a_repeated_key_is_found_at_every_length_however_it_is_written() {
    for tail in TAILS {
        for length in LENGTHS {
            let key: String = ('a'..='z').cycle().take(length).collect();
            let escaped = key.bytes().fold(String::new(), |mut escaped, byte| {
                let _ = write!(escaped, "\\u{byte:04x}");
                escaped
            });
            for (first, second) in [(&key, &key), (&key, &escaped), (&escaped, &key)] {
                let source = format!("{{\"{first}\":0,\"?\":0,\"{second}\":0}}{tail}");
                let offset = first.len() + 12;
                let twice = Err((FaultKind::DuplicateKey, offset));
                assert_eq!(scan(&source), twice, "{source}");
            }
        }
    }
}

#[test]
fn keys_that_differ_in_any_byte_are_two() {
    for length in LENGTHS {
        for place in 0..length {
            let mut other = "x".repeat(length);
            other.replace_range(place..=place, "y");
            let source = format!("{{\"{}\":0,\"{other}\":0}}{}", "x".repeat(length), TAILS[0]);
            assert_eq!(scan(&source), Ok(()), "{source}");
        }
    }
}

#[test]
fn objects_of_any_size_may_have_keys_that_look_alike_to_the_filter() {
    for size in 0..300 {
        let members: Vec<_> = (0..size)
            .map(|key| format!("\"{key}\":{{\"{key}\":[]}}"))
            .collect();
        let source = format!("{{{}}}", members.join(","));
        assert_eq!(scan(&source), Ok(()), "{size}");
        if size > 0 {
            let source = format!("{{{},\"0\":0}}", members.join(","));
            let twice = Err((FaultKind::DuplicateKey, source.len() - 6));
            assert_eq!(scan(&source), twice, "{size}");
        }
    }
}

#[test]
fn a_number_is_obvious_only_if_it_is_one() {
    const LETTERS: &[u8] = b"-09.e+ ";
    fn words(length: usize) -> Vec<Vec<u8>> {
        let Some(shorter) = length.checked_sub(1) else {
            return vec![vec![]];
        };
        let longer = |word: Vec<u8>| {
            LETTERS
                .iter()
                .map(move |&letter| [&*word, &[letter]].concat())
        };
        words(shorter).into_iter().flat_map(longer).collect()
    }
    let mut obvious = 0;
    for word in (0..=6).flat_map(words) {
        let end = number::obvious(&word, 0);
        if end != 0 {
            let shape = number::shape(&word, 0).unwrap();
            assert_eq!((shape.mantissa_end, shape.end), (end, end), "{word:?}");
            obvious += 1;
        } else if let Ok(shape) = number::shape(&word, 0) {
            assert_ne!(shape.mantissa_end, shape.end, "{word:?} is obvious");
        }
    }
    assert!(obvious > 1_000);
}
