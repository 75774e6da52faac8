//! Duplicate keys: found in objects of every size, never by comparing each key with each of many.

use super::{Node, Text};

/// A key of an object whose end has not been met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Equal for equal keys; see [`mix`].
    fingerprint: u64,
    /// Its node.
    node: u32,
}

impl Key {
    /// The key at `node`, whose content as written is `raw`.
    #[inline]
    pub(super) fn new(raw: &[u8], escaped: bool, node: u32) -> Self {
        let fingerprint = if escaped {
            of_escaped(raw)
        } else {
            of_plain(raw)
        };
        Self { fingerprint, node }
    }
}

/// Objects of at most this many keys are looked at pair by pair.
const FEW_KEYS: usize = 16;

/// The node of the first key that repeats an earlier one. May reorder `keys`.
#[inline]
pub(super) fn twin(text: &str, nodes: &[Node], keys: &mut [Key]) -> Option<u32> {
    if keys.len() <= FEW_KEYS && all_differ(keys) {
        return None;
    }
    twin_by_order(text, nodes, keys)
}

/// No two fingerprints are equal, and so no two keys.
#[inline]
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

/// The content settles what the fingerprint leaves open, so keys chosen to share one cost a sort by content
/// and no more.
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
fn key_text<'s>(text: &'s str, nodes: &[Node], node: u32) -> Text<'s> {
    let Some(key) = nodes.get(node as usize) else {
        return Text::new("", 0, true);
    };
    let raw = text.get(key.start as usize + 1..key.end as usize - 1);
    Text::new(raw.unwrap_or_default(), key.start, !key.is_escaped())
}

/// What a fingerprint is made of: the length of the decoded key, its first eight bytes and its last eight, or
/// all of a shorter one twice. They are cheap to come by.
fn mix(head: u64, tail: u64, len: usize) -> u64 {
    tail.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ head.rotate_left(29) ^ (len as u64) << 56
}

#[inline]
fn of_plain(bytes: &[u8]) -> u64 {
    if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return mix(
            u64::from_be_bytes(*head),
            u64::from_be_bytes(*tail),
            bytes.len(),
        );
    }
    let all = if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        // Four to seven bytes: where the two halves overlap they agree.
        let (head, tail) = (u32::from_be_bytes(*head), u32::from_be_bytes(*tail));
        u64::from(head) << (8 * (bytes.len() - 4)) | u64::from(tail)
    } else {
        bytes
            .iter()
            .fold(0, |all, &byte| all << 8 | u64::from(byte))
    };
    mix(all, all, bytes.len())
}

#[cold]
fn of_escaped(raw: &[u8]) -> u64 {
    let raw = std::str::from_utf8(raw).unwrap_or_default();
    let (mut head, mut tail, mut len) = (0, 0, 0);
    for c in Text::new(raw, 0, false).chars() {
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            tail = tail << 8 | u64::from(byte);
            len += 1;
            if len <= 8 {
                head = tail;
            }
        }
    }
    mix(head, tail, len)
}
