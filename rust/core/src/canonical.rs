//! One spelling for each JSON value (RFC 8785, JCS), and the digest of a tool's definition.
//!
//! INVARIANT: two values have one canonical form if and only if every reader takes them for the same: the order
//! of keys, blanks, escapes and spellings of numbers do not show in it, and everything else does, as far as
//! doubles tell numbers apart.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::json::{Bounds, Fault, Index, Kind, Text, Value};
use crate::listing;

/// What a definition's digest leaves out: the server's notes on the answer, not on the tool.
const UNPINNED: &str = "_meta";

/// Bytes of a digest.
pub type DefinitionDigest = [u8; 32];

/// The SHA-256 of a tool's definition in its canonical form, without `_meta`.
#[must_use]
pub fn definition_digest(definition: Value<'_>) -> DefinitionDigest {
    let mut out = Vec::with_capacity(definition.raw().len());
    if definition.kind() == Kind::Object {
        object(definition, &|key| key != UNPINNED, &mut out);
    } else {
        spell(definition, &mut out);
    }
    Sha256::digest(&out).into()
}

/// The same of a definition in bytes.
///
/// # Errors
///
/// The scanner's [`Fault`] where it cannot be read exactly.
pub fn digest_of(source: &[u8]) -> Result<DefinitionDigest, Fault> {
    const BOUNDS: Bounds = listing::BOUNDS;
    let mut index = Index::default();
    Ok(definition_digest(index.scan(source, &BOUNDS)?))
}

/// Bytes in hexadecimal, as digests are written.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Appends the canonical form of a value. Nested as deeply as the scanner lets values be.
pub fn spell(value: Value<'_>, out: &mut Vec<u8>) {
    match value.kind() {
        Kind::Object => object(value, &|_| true, out),
        Kind::Array => {
            out.push(b'[');
            for (at, element) in value.elements().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                spell(element, out);
            }
            out.push(b']');
        }
        Kind::String => {
            let text = value.text().map(Text::to_cow).unwrap_or_default();
            string(&text, out);
        }
        Kind::Number => number(value.source(), out),
        Kind::Bool | Kind::Null => out.extend_from_slice(value.raw()),
    }
}

fn object(value: Value<'_>, keep: &dyn Fn(&str) -> bool, out: &mut Vec<u8>) {
    let mut members: Vec<_> = value
        .members()
        .map(|(key, value)| (key.to_cow(), value))
        .filter(|(key, _)| keep(key))
        .collect();
    // By UTF-16 code units, which is not the order of code points above U+FFFF (section 3.2.3).
    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push(b'{');
    for (at, (key, value)) in members.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(&key, out);
        out.push(b':');
        spell(value, out);
    }
    out.push(b'}');
}

/// As ECMAScript's `JSON.stringify` writes a string (section 3.2.2.2).
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0..0x20 => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.push(b'"');
}

/// As ECMAScript writes a double (section 3.2.2.3). The scanner admits no number that a double cannot hold.
fn number(source: &str, out: &mut Vec<u8>) {
    let value: f64 = source.parse().unwrap_or(f64::NAN);
    let mut buffer = ryu_js::Buffer::new();
    // Minus zero is written as zero.
    let value = if value == 0.0 { 0.0 } else { value };
    out.extend_from_slice(buffer.format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    #![expect(clippy::expect_used, reason = "a test")]

    use super::*;

    fn canonical(source: &str) -> String {
        let mut index = Index::default();
        let value = index
            .scan(source.as_bytes(), &listing::BOUNDS)
            .expect("is read");
        let mut out = Vec::new();
        spell(value, &mut out);
        String::from_utf8(out).expect("is text")
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let source = "{\"numbers\":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],\
             \"string\":\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\",\"literals\":[null,true,false]}";
        let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(canonical(source), expected);
        let sorted = "{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7}";
        let expected = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}";
        assert_eq!(canonical(sorted), expected);
    }

    #[test]
    fn five_controls_have_a_short_form() {
        let all: Vec<_> = (0..0x20).map(|byte| format!("\\u{byte:04x}")).collect();
        let all = all.concat();
        let expected = ["0008", "0009", "000a", "000c", "000d"]
            .into_iter()
            .zip(["b", "t", "n", "f", "r"])
            .fold(all.clone(), |text, (long, short)| {
                text.replace(&format!("u{long}"), short)
            });
        assert_eq!(canonical(&format!("\"{all}\"")), format!("\"{expected}\""));
    }

    #[test]
    fn numbers_are_written_as_doubles() {
        for (source, expected) in [
            ("-0", "0"),
            ("1.0", "1"),
            ("1e21", "1e+21"),
            ("123456789012345680000", "123456789012345680000"),
            ("9007199254740993", "9007199254740992"),
            ("5e-324", "5e-324"),
            ("-1.5E-7", "-1.5e-7"),
        ] {
            assert_eq!(canonical(source), expected);
        }
    }

    #[test]
    fn a_digest_sees_what_is_said_and_not_how() {
        let of = |source: &str| digest_of(source.as_bytes()).expect("is read");
        let one = of(r#"{"name":"a","inputSchema":{"x":1,"y":[2.0]},"_meta":{"a":1}}"#);
        assert_eq!(
            one,
            of(r#" {"inputSchema":{"y":[2],"x":1e0}, "n\u0061me":"a"}"#)
        );
        for other in [
            r#"{"name":"b","inputSchema":{"x":1,"y":[2]}}"#,
            r#"{"name":"a","inputSchema":{"x":1,"y":[2,2]}}"#,
            r#"{"name":"a","inputSchema":{"x":1,"y":[2],"_meta":1}}"#,
            r#"{"name":"a","inputSchema":{"x":1,"y":[2]},"title":""}"#,
        ] {
            assert_ne!(one, of(other));
        }
        assert!(digest_of(br#"{"a":1,"a":1}"#).is_err());
    }
}
