//! The chain: each line's last members are the hash of the line before it and its own.
//!
//! A line without its last member is an object by itself: `hash` is the SHA-256 of these bytes. `prev`, the member
//! before, is the `hash` of the line above, 64 zeros where there is none.
//!
//! INVARIANT: what is taken for a line has exactly this form, byte for byte.

use sha2::{Digest, Sha256};

use crate::text;

/// Bytes that a line has at most, its end included: what a pipe takes in one piece (POSIX, `PIPE_BUF`).
pub const LINE_BYTES: usize = 4096;

/// What a chain begins with in the place of a hash.
pub const NOTHING: Hash = [b'0'; 64];

/// Hexadecimal digits of a SHA-256.
pub type Hash = [u8; 64];

const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b"\",\"hash\":\"";
const END: &[u8] = b"\"}";

/// Bytes of `prev` and `hash` and what is around them.
pub(crate) const SEAL_BYTES: usize = PREV.len() + 64 + HASH.len() + 64 + END.len();

/// Where a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the last line; the first is 1.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            seq: 0,
            hash: NOTHING,
        }
    }
}

/// Ends a line, an object without its closing brace, as the one behind `place`; a line break included.
pub(crate) fn seal(line: &mut String, from: usize, place: &mut Place) {
    line.push_str(",\"prev\":\"");
    line.push_str(std::str::from_utf8(&place.hash).unwrap_or_default());
    line.push('"');
    let mut hash = Sha256::new();
    hash.update(line.as_bytes().get(from..).unwrap_or_default());
    hash.update(b"}");
    line.push_str(",\"hash\":\"");
    let start = line.len();
    text::hex(line, &hash.finalize());
    if let Some(Ok(digits)) = line.as_bytes().get(start..).map(TryInto::try_into) {
        place.hash = digits;
    }
    line.push_str("\"}\n");
    place.seq += 1;
}

/// What a line says of its place in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub seq: u64,
    /// The hash of the line before.
    pub prev: Hash,
    /// Its own, as it says.
    pub hash: Hash,
    /// Whether that is what the line hashes to.
    pub holds: bool,
}

impl Link {
    /// Reads a line, without its end; `None` if it does not have the form of one.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        let (head, seal) = line.split_at_checked(line.len().checked_sub(SEAL_BYTES)?)?;
        let (prev, rest) = digits(seal.strip_prefix(PREV)?)?;
        let (hash, rest) = digits(rest.strip_prefix(HASH)?)?;
        if rest != END {
            return None;
        }
        let mut digest = Sha256::new();
        digest.update(head);
        digest.update(seal.get(..PREV.len() + 64 + 1)?);
        digest.update(b"}");
        let mut found = String::with_capacity(64);
        text::hex(&mut found, &digest.finalize());
        Some(Self {
            seq: seq(head)?,
            prev,
            hash,
            holds: found.as_bytes() == hash,
        })
    }
}

fn digits(bytes: &[u8]) -> Option<(Hash, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(64)?;
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    Some((
        digits.try_into().ok().filter(|_| digits.iter().all(hex))?,
        rest,
    ))
}

/// The number of a line: its second member, behind a time that is 27 bytes long.
fn seq(line: &[u8]) -> Option<u64> {
    const TIME_BYTES: usize = "2026-11-21T14:59:59.123456Z".len();
    let rest = line.strip_prefix(b"{\"ts\":\"")?.get(TIME_BYTES..)?;
    let rest = rest.strip_prefix(b"\",\"seq\":")?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(place: &mut Place) -> String {
        let mut line = format!(
            "{{\"ts\":\"2026-11-21T14:59:59.123456Z\",\"seq\":{},\"event\":\"x\"",
            place.seq + 1
        );
        seal(&mut line, 0, place);
        line
    }

    #[test]
    fn a_line_is_linked_to_the_one_before() {
        let mut place = Place::default();
        let (first, second) = (sealed(&mut place), sealed(&mut place));
        let read = |line: &str| Link::read(line.trim_end().as_bytes());
        let (first, second) = (read(&first), read(&second));
        assert_eq!(
            first.map(|link| (link.seq, link.prev, link.holds)),
            Some((1, NOTHING, true))
        );
        assert_eq!(second.map(|link| (link.seq, link.holds)), Some((2, true)));
        assert_eq!(second.map(|link| link.prev), first.map(|link| link.hash));
        assert_eq!(second.map(|link| link.hash), Some(place.hash));
    }

    #[test]
    fn the_hash_is_that_of_the_object_without_it() {
        let line = sealed(&mut Place::default());
        let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let hash = value
            .get("hash")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let without = line
            .trim_end()
            .replace(&format!(",\"hash\":\"{hash}\""), "");
        assert_eq!(format!("{:x}", Sha256::digest(without)), hash);
    }

    #[test]
    fn any_changed_byte_shows() {
        let line = sealed(&mut Place::default());
        let line = line.trim_end().as_bytes();
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(
                Link::read(&changed).is_none_or(|link| !link.holds),
                "byte {at}"
            );
        }
    }
}
