//! From what gives a count its meaning to its key.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::layout::MARK;
use super::{LimitTable, QuotaKey};

impl LimitTable {
    /// The key of what these parts name together. Each part's length is hashed with it, so that no two lists of
    /// parts run together, and the hash is keyed with the file's secret, so that nobody who chooses a part (an
    /// argument of a call, say) can aim it at somebody else's count.
    #[must_use]
    pub fn key(&self, parts: &[&[u8]]) -> QuotaKey {
        let mut hasher = SipHasher24::new_with_key(self.secret());
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        QuotaKey(hasher.finish128().as_u128())
    }

    /// The key of a quota: whose it is and what it means, both as digests, and the argument value it goes by, if
    /// it goes by one. The digests are of one length, so nothing runs together, and they are hashed in one go,
    /// which is what a decision does most often.
    #[must_use]
    pub fn quota_key(
        &self,
        subject: &[u8; 16],
        meaning: &[u8; 16],
        value: Option<&[u8]>,
    ) -> QuotaKey {
        let mut pair = [0; 32];
        let (first, second) = pair.split_at_mut(16);
        first.copy_from_slice(subject);
        second.copy_from_slice(meaning);
        match value {
            None => QuotaKey(
                SipHasher24::new_with_key(self.secret())
                    .hash(&pair)
                    .as_u128(),
            ),
            Some(value) => self.key(&[&pair, value]),
        }
    }

    /// The key of a binding: what `kind` of thing (`session`, `task`, `reply`) of which server has this id.
    #[must_use]
    pub fn binding_key(&self, kind: &str, server: &str, id: &[u8]) -> QuotaKey {
        self.key(&[b"binding", kind.as_bytes(), server.as_bytes(), id])
    }

    /// The word by which a binding remembers the grant that owns it.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "64 of the 128 bits name the owner"
    )]
    pub fn owner_word(&self, grant: &str) -> u64 {
        self.key(&[b"owner", grant.as_bytes()]).0 as u64
    }
}

/// A key as a slot holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Locator {
    /// 63 bits above an unset mark; never one of the two special values.
    pub(super) id: u64,
    pub(super) hi: u64,
}

impl Locator {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the key")]
    pub(super) const fn of(key: QuotaKey) -> Self {
        let id = (key.0 as u64) << 1;
        Self {
            id: if id == 0 { 1 << 63 } else { id },
            hi: (key.0 >> 64) as u64,
        }
    }

    /// Where the search for the key begins in a table of `mask + 1` slots.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only the low bits are kept"
    )]
    pub(super) const fn home(self, mask: usize) -> usize {
        (self.hi as usize) & mask
    }

    /// Whether a slot's id is this key's, marked or not.
    pub(super) const fn is(self, id: u64) -> bool {
        id & !MARK == self.id
    }
}
