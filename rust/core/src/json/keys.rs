//! Duplicate keys: found in objects of every size, never by comparing each key with each of many.

use super::{Node, Text};

/// A key of an object whose end has not been met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Equal for equal keys; see [`fingerprint`].
    fingerprint: u64,
    /// Its node.
    node: u32,
}

impl Key {
    /// The key at `node`, the last one read.
    #[inline]
    pub(super) fn new(text: &str, nodes: &[Node], node: u32) -> Self {
        Self {
            fingerprint: fingerprint(key_text(text, nodes, node)),
            node,
        }
    }
}

/// Objects of at most this many keys are checked for duplicates pair by pair.
const FEW_KEYS: usize = 16;

/// The node of the first key that repeats an earlier one. May reorder `keys`.
#[inline]
pub(super) fn twin(text: &str, nodes: &[Node], keys: &mut [Key]) -> Option<u32> {
    if keys.len() <= FEW_KEYS {
        twin_by_pairs(text, nodes, keys)
    } else {
        twin_by_order(text, nodes, keys)
    }
}

/// The first key that repeats an earlier one, found by comparing each with each.
#[inline]
fn twin_by_pairs(text: &str, nodes: &[Node], keys: &[Key]) -> Option<u32> {
    let twins = |a: &Key, b: &Key| {
        a.fingerprint == b.fingerprint
            && key_text(text, nodes, a.node) == key_text(text, nodes, b.node)
    };
    keys.iter().enumerate().find_map(|(count, later)| {
        let mut earlier = keys.iter().take(count);
        earlier.any(|key| twins(key, later)).then_some(later.node)
    })
}

/// The first key that repeats an earlier one, found by sorting. The content settles what the fingerprint
/// leaves open, so keys chosen to share one cost a sort by content and no more.
#[cold]
fn twin_by_order(text: &str, nodes: &[Node], keys: &mut [Key]) -> Option<u32> {
    let content = |key: &Key| key_text(text, nodes, key.node);
    keys.sort_unstable_by(|a, b| {
        a.fingerprint
            .cmp(&b.fingerprint)
            .then_with(|| content(a).cmp(&content(b)))
            .then_with(|| a.node.cmp(&b.node))
    });
    keys.windows(2)
        .filter_map(|pair| match pair {
            [a, b] if a.fingerprint == b.fingerprint && content(a) == content(b) => Some(b.node),
            _ => None,
        })
        .min()
}

/// The content of the key at `node`, which the scan has read.
#[inline]
fn key_text<'s>(text: &'s str, nodes: &[Node], node: u32) -> Text<'s> {
    let Some(key) = nodes.get(node as usize) else {
        return Text::new("", 0, true);
    };
    let raw = text.get(key.start as usize + 1..key.end as usize - 1);
    Text::new(raw.unwrap_or_default(), key.start, !key.is_escaped())
}

/// A number that equal keys share: made of the first eight and the last eight bytes of the decoded key and
/// of its length, since those are cheap to come by.
#[inline]
fn fingerprint(key: Text<'_>) -> u64 {
    let bytes = key.raw().as_bytes();
    if !key.is_plain() {
        let mut mark = Mark::default();
        for c in key.chars() {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                mark.add(byte);
            }
        }
        return mark.finish();
    }
    if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return Mark {
            head: u64::from_be_bytes(*head),
            tail: u64::from_be_bytes(*tail),
            len: bytes.len() as u64,
        }
        .finish();
    }
    let mut mark = Mark::default();
    for &byte in bytes {
        mark.add(byte);
    }
    mark.finish()
}

/// What a fingerprint is made of.
#[derive(Default)]
struct Mark {
    /// The first eight bytes.
    head: u64,
    /// The last eight bytes.
    tail: u64,
    len: u64,
}

impl Mark {
    #[inline]
    fn add(&mut self, byte: u8) {
        self.tail = self.tail << 8 | u64::from(byte);
        self.len += 1;
        if self.len <= 8 {
            self.head = self.tail;
        }
    }

    #[inline]
    fn finish(self) -> u64 {
        self.tail.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.head.rotate_left(29) ^ self.len << 56
    }
}
