//! Duplicate keys: found in objects of every size, never by comparing each key with each of many.
//!
//! INVARIANT: equal keys have equal fingerprints, and so share their bit in a [`Filter`]. What these leave open is
//! settled by the keys' content.

use super::lanes::LANES;
use super::scan::fault;
use super::{Fault, FaultKind, Node, Text};

/// An odd number whose product with another spreads that one's bits upwards: 2^64 over the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether all keys of an object differ, as far as 64 bits can tell. They can for most objects there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filter(u64);

impl Filter {
    /// Adds a key by its fingerprint.
    #[inline]
    pub(super) fn add(&mut self, fingerprint: u64) {
        let bit = 1 << (fingerprint.wrapping_mul(SPREAD) >> 58);
        self.0 = if self.0 & bit == 0 {
            self.0 | bit
        } else {
            u64::MAX
        };
    }

    /// Two keys may be equal: they shared a bit, and every key does from there on.
    #[inline]
    pub(super) const fn may_repeat(self) -> bool {
        self.0 == u64::MAX
    }
}

/// A key of an object that is looked at more closely.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    fingerprint: u64,
    node: u32,
}

/// Objects of at most this many keys are looked at pair by pair.
const FEW_KEYS: usize = 16;

/// Refuses the object at `node`, which has been read, if it has a key twice. `keys` is room to work in.
///
/// # Errors
///
/// A duplicate key: the first that repeats an earlier one.
#[cold]
pub(super) fn distinct(
    bytes: &[u8],
    nodes: &[Node],
    node: u32,
    keys: &mut Vec<Key>,
) -> Result<(), Fault> {
    keys.clear();
    let end = nodes.get(node as usize).map_or(0, |object| object.next());
    let mut at = node + 1;
    while let Some(key) = nodes.get(at as usize).filter(|_| (at as usize) < end) {
        let fingerprint = fingerprint(raw(bytes, key), key.is_escaped());
        keys.push(Key {
            fingerprint,
            node: at,
        });
        // The value comes right after its key, and the next key after all that is in the value.
        at = nodes
            .get(at as usize + 1)
            .map_or(u32::MAX, |value| value.next & !Node::ESCAPED);
    }
    if keys.len() <= FEW_KEYS && all_differ(keys) {
        return Ok(());
    }
    match twin(bytes, nodes, keys) {
        None => Ok(()),
        Some(offset) => {
            let reason = "an object has the same key twice";
            Err(fault(FaultKind::DuplicateKey, offset, reason))
        }
    }
}

/// No two fingerprints are equal, and so no two keys.
fn all_differ(keys: &[Key]) -> bool {
    let mut rest = keys;
    while let [key, others @ ..] = rest {
        if others
            .iter()
            .any(|other| other.fingerprint == key.fingerprint)
        {
            return false;
        }
        rest = others;
    }
    true
}

/// The offset of the first key that repeats an earlier one. Reorders `keys`.
///
/// The content settles what the fingerprint leaves open, so keys chosen to share one cost a sort by content
/// and no more.
fn twin(bytes: &[u8], nodes: &[Node], keys: &mut [Key]) -> Option<usize> {
    let content = |key: &Key| key_text(bytes, nodes, key.node);
    keys.sort_unstable_by(|a, b| {
        a.fingerprint
            .cmp(&b.fingerprint)
            .then_with(|| content(a).cmp(&content(b)))
            .then_with(|| a.node.cmp(&b.node))
    });
    let twins = keys.windows(2).filter_map(|pair| match pair {
        [a, b] if a.fingerprint == b.fingerprint && content(a) == content(b) => {
            Some(content(b).start())
        }
        _ => None,
    });
    twins.min()
}

/// The content of the key at `node`, which the scan has read.
fn key_text<'s>(bytes: &'s [u8], nodes: &[Node], node: u32) -> Text<'s> {
    let Some(key) = nodes.get(node as usize) else {
        return Text::new("", 0, true);
    };
    let raw = std::str::from_utf8(raw(bytes, key)).unwrap_or_default();
    Text::new(raw, key.start, !key.is_escaped())
}

/// What was written between the quotes of a key.
fn raw<'s>(bytes: &'s [u8], key: &Node) -> &'s [u8] {
    let raw = bytes.get(key.start as usize + 1..key.end as usize - 1);
    raw.unwrap_or_default()
}

/// The two halves of a chunk.
#[expect(clippy::cast_possible_truncation, reason = "half by half")]
#[inline]
const fn halves(chunk: &[u8; LANES]) -> (u64, u64) {
    let chunk = u128::from_le_bytes(*chunk);
    (chunk as u64, (chunk >> 64) as u64)
}

#[inline]
const fn mix_word(fingerprint: u64, word: u64) -> u64 {
    (fingerprint ^ word).wrapping_mul(SPREAD).rotate_left(29)
}

/// Mixes a chunk of a key into its fingerprint, which begins as 0.
#[inline]
pub(super) const fn mix(fingerprint: u64, chunk: &[u8; LANES]) -> u64 {
    let (low, high) = halves(chunk);
    mix_word(mix_word(fingerprint, low), high)
}

/// Ends a fingerprint with the `count` bytes, fewer than all, at the front of the last chunk. A key of less than
/// eight bytes is its own fingerprint.
#[inline]
pub(super) const fn end(fingerprint: u64, chunk: &[u8; LANES], count: usize) -> u64 {
    let (low, high) = halves(chunk);
    let others = u64::MAX << (8 * count % 64);
    if count < 8 {
        fingerprint ^ (low & !others)
    } else {
        mix_word(fingerprint, low) ^ (high & !others)
    }
}

/// The fingerprint of a key of which `raw` is what was written between its quotes.
pub(super) fn fingerprint(raw: &[u8], escaped: bool) -> u64 {
    if escaped {
        let raw = std::str::from_utf8(raw).unwrap_or_default();
        let decoded: String = Text::new(raw, 0, false).chars().collect();
        return fingerprint(decoded.as_bytes(), false);
    }
    let mut fingerprint = 0;
    let mut rest = raw;
    while let Some((chunk, after)) = rest.split_first_chunk() {
        fingerprint = mix(fingerprint, chunk);
        rest = after;
    }
    let mut last = [0; LANES];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    end(fingerprint, &last, rest.len())
}
