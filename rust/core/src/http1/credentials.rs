//! Whose token came with a request.
//!
//! INVARIANT: no token is kept, only its SHA-256; and a credential counts until the moment it ends, and not longer.
//! A digest is looked up by its own bytes. How long that takes tells of digests only, and nobody can choose a token
//! by its digest, so nothing is learned by timing it; the whole digest is then compared without an early end.

use std::sync::{PoisonError, RwLock};

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

use crate::time::Nanos;

/// The SHA-256 of a token.
pub type Fingerprint = [u8; 32];

/// Longest token that is looked at, bytes.
pub const LONGEST_TOKEN: usize = 8 << 10;
/// Most credentials that are learned; beyond them all are forgotten, and learned anew.
const MOST_LEARNED: usize = 4096;

/// What one token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The grant's name.
    pub grant: String,
    /// When it ends.
    pub until: Option<Nanos>,
}

/// Tokens by their digests.
#[derive(Debug, Default)]
pub struct Credentials {
    given: FxHashMap<u64, Vec<(Fingerprint, Credential)>>,
    /// Those that were verified elsewhere, such as signed ones.
    learned: RwLock<FxHashMap<Fingerprint, Credential>>,
    /// Whether learned ones may come, so that a credential is looked at though none was given.
    learns: bool,
}

impl Credentials {
    /// Without any; `learns` says whether there may be some later.
    #[must_use]
    pub fn new(learns: bool) -> Self {
        Self {
            learns,
            ..Self::default()
        }
    }

    /// Lets this token stand for a grant.
    pub fn add(&mut self, token: Fingerprint, credential: Credential) {
        let same = self.given.entry(front(&token)).or_default();
        same.push((token, credential));
    }

    /// Lets this token stand for a grant as long as there is room.
    pub fn learn(&self, token: Fingerprint, credential: Credential, now: Nanos) {
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        if learned.len() >= MOST_LEARNED {
            learned.retain(|_, known| known.lasts(now));
        }
        if learned.len() >= MOST_LEARNED {
            learned.clear();
        }
        learned.insert(token, credential);
    }

    /// Whether anybody is known by a token, so that a request's credentials have to be looked at.
    pub(super) fn any(&self) -> bool {
        self.learns || !self.given.is_empty()
    }

    /// What the value of an Authorization field stands for.
    pub(super) fn of(&self, value: &[u8], now: Nanos) -> Option<(Fingerprint, Credential)> {
        let token = fingerprint(value)?;
        let found = self.find(&token)?;
        found.lasts(now).then_some((token, found))
    }

    fn find(&self, token: &Fingerprint) -> Option<Credential> {
        let given = self.given.get(&front(token)).into_iter().flatten();
        let mut same = given.filter(|(known, _)| equal(known, token));
        if let Some((_, credential)) = same.next() {
            return Some(credential.clone());
        }
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        learned.get(token).cloned()
    }
}

impl Credential {
    fn lasts(&self, now: Nanos) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The SHA-256 of the token in the value of an Authorization field; `None` if it is no bearer token.
#[must_use]
pub fn fingerprint(value: &[u8]) -> Option<Fingerprint> {
    Some(Sha256::digest(bearer(value)?).into())
}

/// The token of a value `Bearer TOKEN` (RFC 6750 section 2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let is_token = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
    };
    (scheme.eq_ignore_ascii_case(b"bearer ")
        && !token.is_empty()
        && token.len() <= LONGEST_TOKEN
        && token.iter().all(is_token))
    .then_some(token)
}

fn front(token: &Fingerprint) -> u64 {
    token.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

/// Without an early end.
fn equal(one: &Fingerprint, other: &Fingerprint) -> bool {
    let differs = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differs) == 0
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;

    const TOKEN: &[u8] = b"Bearer ilk_00";

    fn of(grant: &str, until: Option<u64>) -> Credential {
        Credential {
            grant: grant.into(),
            until: until.map(Nanos),
        }
    }

    fn print(value: &[u8]) -> Fingerprint {
        fingerprint(value).expect("a bearer token")
    }

    #[test]
    fn only_one_bearer_token_is_a_token() {
        assert_eq!(fingerprint(TOKEN), fingerprint(b"bEARER ilk_00"));
        assert_eq!(print(TOKEN), Fingerprint::from(Sha256::digest(b"ilk_00")));
        let longest = [b"Bearer ".as_slice(), &[b'a'; LONGEST_TOKEN]].concat();
        assert!(fingerprint(&longest).is_some());
        for other in [
            &b""[..],
            b"Bearer",
            b"Bearer ",
            b"Bearer  a",
            b"Bearer\ta",
            b"Bearer a b",
            b"Bearer a,b",
            b"Bearer a\"",
            b"Bearer \xc3\xa4",
            b"Basic a",
            b"aBearer a",
            &[longest.as_slice(), b"a"].concat(),
        ] {
            assert_eq!(
                fingerprint(other),
                None,
                "{}",
                String::from_utf8_lossy(other)
            );
        }
    }

    #[test]
    fn a_credential_counts_until_the_moment_it_ends() {
        let mut credentials = Credentials::default();
        assert!(!credentials.any());
        credentials.add(print(TOKEN), of("a", Some(10)));
        assert!(credentials.any());
        let found = |now| credentials.of(TOKEN, Nanos(now)).map(|(_, one)| one.grant);
        assert_eq!(found(9).as_deref(), Some("a"));
        assert_eq!(found(10), None);
        assert_eq!(credentials.of(b"Bearer ilk_01", Nanos(0)), None);
    }

    #[test]
    fn digests_that_begin_alike_are_told_apart() {
        let (mut one, mut other) = (print(TOKEN), print(TOKEN));
        one[31] ^= 1;
        other[8] ^= 1;
        let mut credentials = Credentials::default();
        credentials.add(one, of("one", None));
        credentials.add(other, of("other", None));
        assert_eq!(credentials.of(TOKEN, Nanos(0)), None);
        credentials.add(print(TOKEN), of("a", None));
        let (token, found) = credentials.of(TOKEN, Nanos(0)).unwrap();
        assert_eq!((token, found.grant.as_str()), (print(TOKEN), "a"));
    }

    #[test]
    fn what_is_learned_is_bounded_and_never_before_what_was_given() {
        let mut credentials = Credentials::new(true);
        assert!(credentials.any());
        credentials.add(print(TOKEN), of("given", None));
        credentials.learn(print(TOKEN), of("learned", None), Nanos(0));
        let (_, found) = credentials.of(TOKEN, Nanos(0)).unwrap();
        assert_eq!(found.grant, "given");
        for number in 0..2 * MOST_LEARNED {
            let token = Fingerprint::from(Sha256::digest(number.to_le_bytes()));
            let until = if number % 2 == 0 { 1 } else { 100 };
            credentials.learn(token, of("a", Some(until)), Nanos(2));
            let learned = credentials.learned.read().unwrap();
            assert!(learned.len() <= MOST_LEARNED);
            assert!(learned.contains_key(&token));
        }
    }
}
