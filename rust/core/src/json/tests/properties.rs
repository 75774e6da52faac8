//! The scanner against `serde_json`, which reads the same grammar by other means.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::super::{Bounds, FaultKind, Index, Kind, Value};

/// A JSON document as a tree; objects keep their keys in order and may repeat them.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Null,
    Bool(bool),
    Number(Digits),
    Text(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// A number as it was written, but for its exponent's letter and plus sign, which `serde_json` respells.
#[derive(Clone, Debug)]
struct Digits(String);

impl PartialEq for Digits {
    fn eq(&self, other: &Self) -> bool {
        let respelt = |digits: &str| digits.replace('E', "e").replace("e+", "e");
        respelt(&self.0) == respelt(&other.0)
    }
}

/// Marks `serde_json`'s numbers that keep their digits.
const NUMBER: &str = "$serde_json::private::Number";

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("json")
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(Digits(value.to_string())))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(Digits(value.to_string())))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Tree::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == NUMBER {
                return Ok(Tree::Number(Digits(map.next_value()?)));
            }
            members.push((key, map.next_value()?));
        }
        Ok(Tree::Object(members))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

impl Tree {
    fn of(value: Value<'_>) -> Self {
        match value.kind() {
            Kind::Null => Self::Null,
            Kind::Bool => Self::Bool(value.boolean().unwrap()),
            Kind::Number => Self::Number(Digits(value.source().to_owned())),
            Kind::String => Self::Text(value.text().unwrap().chars().collect()),
            Kind::Array => Self::Array(value.elements().map(Self::of).collect()),
            Kind::Object => Self::Object(
                value
                    .members()
                    .map(|(key, value)| (key.to_cow().into_owned(), Self::of(value)))
                    .collect(),
            ),
        }
    }

    fn repeats_a_key(&self) -> bool {
        match self {
            Self::Array(elements) => elements.iter().any(Self::repeats_a_key),
            Self::Object(members) => {
                let mut seen = HashSet::new();
                members
                    .iter()
                    .any(|(key, value)| !seen.insert(key) || value.repeats_a_key())
            }
            _ => false,
        }
    }

    /// Writes the document; `noise` decides, a bit at a time, on blanks and escapes.
    fn write(&self, noise: &mut u64, out: &mut String) {
        fn blank(noise: &mut u64, out: &mut String) {
            *noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            out.push_str(match *noise >> 60 {
                0 => " ",
                1 => "\n\t",
                2 => "\r\n",
                _ => "",
            });
        }
        fn text(text: &str, noise: &mut u64, out: &mut String) {
            out.push('"');
            for c in text.chars() {
                *noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                if c < ' ' || c == '"' || c == '\\' || *noise >> 61 == 0 {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                } else {
                    out.push(c);
                }
            }
            out.push('"');
        }
        blank(noise, out);
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(&value.to_string()),
            Self::Number(digits) => out.push_str(&digits.0),
            Self::Text(content) => text(content, noise, out),
            Self::Array(elements) => {
                out.push('[');
                for (count, element) in elements.iter().enumerate() {
                    out.push_str(if count > 0 { "," } else { "" });
                    element.write(noise, out);
                }
                blank(noise, out);
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (count, (key, value)) in members.iter().enumerate() {
                    out.push_str(if count > 0 { "," } else { "" });
                    blank(noise, out);
                    text(key, noise, out);
                    blank(noise, out);
                    out.push(':');
                    value.write(noise, out);
                }
                blank(noise, out);
                out.push('}');
            }
        }
        blank(noise, out);
    }

    fn written(&self, mut noise: u64) -> String {
        let mut out = String::new();
        self.write(&mut noise, &mut out);
        out
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?"
            .prop_map(|digits| Tree::Number(Digits(digits))),
        any::<String>().prop_map(Tree::Text),
        "[a-z \"\\\\\u{0}-\u{1f}\u{1f600}]{0,20}".prop_map(Tree::Text),
    ];
    leaf.prop_recursive(6, 60, 24, |inner| {
        // A small alphabet, so that keys do repeat, and a long shared middle, so that fingerprints do too.
        let key = prop_oneof!["[ab]{0,3}", "(prefix-_[ab]{2}_-suffix)", any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Tree::Array),
            prop::collection::vec((key, inner), 0..24).prop_map(Tree::Object),
        ]
    })
}

fn scan(source: &[u8]) -> Result<Tree, FaultKind> {
    let mut index = Index::default();
    index
        .scan(source, &Bounds::default())
        .map(Tree::of)
        .map_err(|fault| fault.kind)
}

proptest! {
    #[test]
    fn reads_back_what_was_written(tree in trees(), noise: u64) {
        let source = tree.written(noise);
        prop_assert_eq!(&serde_json::from_str::<Tree>(&source).unwrap(), &tree);
        let expected = if tree.repeats_a_key() { Err(FaultKind::DuplicateKey) } else { Ok(tree) };
        prop_assert_eq!(scan(source.as_bytes()), expected, "{}", source);
    }

    #[test]
    fn a_document_cut_short_is_refused(tree in trees(), noise: u64, cut: prop::sample::Index) {
        let source = Tree::Array(vec![tree]).written(noise);
        let whole = source.trim_end().len();
        let cut = cut.index(whole);
        prop_assert!(scan(&source.as_bytes()[..cut]).is_err(), "{}", &source);
    }

    #[test]
    fn agrees_with_another_reader_on_damaged_documents(
        tree in trees(),
        noise: u64,
        at: prop::sample::Index,
        new in prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\u0eE+-. \n\t".to_vec())],
        how in 0..3,
    ) {
        let mut source = tree.written(noise).into_bytes();
        let at = at.index(source.len());
        match how {
            0 => source[at] = new,
            1 => source.insert(at, new),
            _ => drop(source.remove(at)),
        }
        match (scan(&source), serde_json::from_slice::<Tree>(&source)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
            (Err(FaultKind::DuplicateKey), Ok(theirs)) => prop_assert!(theirs.repeats_a_key()),
            // A digit put into an exponent; or one fault of several.
            (Err(FaultKind::NumberOutOfRange), _)
            | (Err(FaultKind::Malformed | FaultKind::DuplicateKey), Err(_)) => {}
            (ours, theirs) => prop_assert!(false, "{:?} {:?} {}", ours, theirs, String::from_utf8_lossy(&source)),
        }
    }

    #[test]
    fn is_total(source in prop::collection::vec(any::<u8>(), 0..64)) {
        let theirs = serde_json::from_slice::<Tree>(&source);
        prop_assert!(scan(&source).is_err() || theirs.is_ok());
    }

    #[test]
    fn every_span_lies_in_its_parent(tree in trees(), noise: u64) {
        fn check(value: Value<'_>) {
            let inside: Vec<_> = match value.kind() {
                Kind::Object => value.members().flat_map(|(key, member)| {
                    [(key.start(), key.end()), (member.start(), member.end())]
                }).collect(),
                _ => value.elements().map(|element| (element.start(), element.end())).collect(),
            };
            let mut last = value.start();
            for (start, end) in inside {
                assert!(last < start && start < end && end < value.end());
                last = end;
            }
            value.members().for_each(|(_, member)| check(member));
            value.elements().for_each(check);
        }
        let source = tree.written(noise);
        let mut index = Index::default();
        if let Ok(root) = index.scan(source.as_bytes(), &Bounds::default()) {
            check(root);
        }
    }
}
