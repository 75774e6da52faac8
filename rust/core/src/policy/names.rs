//! From a name to the entries that name it.
//!
//! INVARIANT: every look-up gives ids in ascending order, each once, and costs the same however many exact
//! names there are: a listed name has its whole answer ready, any other asks the patterns only.

use rustc_hash::FxHashMap;
use std::borrow::Cow;

use smallvec::SmallVec;

use crate::pattern::{Pattern, PatternSet};

/// Ids found by a look-up.
pub(super) type Found = SmallVec<[u32; 8]>;

/// Exact names and patterns with their ids.
#[derive(Debug)]
pub(super) struct Names {
    exact: FxHashMap<Box<str>, Box<[u32]>>,
    patterns: PatternSet,
}

impl Names {
    pub(super) fn new(names: impl IntoIterator<Item = (Pattern, u32)>) -> Self {
        let mut literal: FxHashMap<Box<str>, Found> = FxHashMap::default();
        let mut general = Vec::new();
        for (pattern, id) in names {
            if pattern.is_literal() {
                literal.entry(pattern.as_str().into()).or_default().push(id);
            } else {
                general.push((pattern, id));
            }
        }
        let patterns: PatternSet = general.into_iter().collect();
        let mut matching = Found::new();
        let exact = literal
            .into_iter()
            .map(|(name, mut ids)| {
                patterns.matches_into(&name, &mut matching);
                ids.extend_from_slice(&matching);
                ids.sort_unstable();
                (name, ids.into_boxed_slice())
            })
            .collect();
        Self { exact, patterns }
    }

    /// The ids of `name`; `room` is for those that have to be searched for.
    pub(super) fn find<'n>(&'n self, name: &str, room: &'n mut Found) -> &'n [u32] {
        self.find_or_match(name, room).0
    }

    /// [`Names::find`], and whether `name` is there itself, not only matched by a pattern.
    pub(super) fn find_or_match<'n>(
        &'n self,
        name: &str,
        room: &'n mut Found,
    ) -> (&'n [u32], bool) {
        match self.exact.get(name) {
            Some(ids) => (ids, true),
            None if self.patterns.is_empty() => (&[], false),
            None => {
                self.patterns.matches_into(name, room);
                (room, false)
            }
        }
    }

    pub(super) fn has_literal(&self, name: &str) -> bool {
        self.exact.contains_key(name)
    }

    fn count(&self, name: &str) -> usize {
        self.find(name, &mut Found::new()).len()
    }
}

/// The names of `tools` and `hide` without regard to the case of ASCII letters.
#[derive(Debug)]
pub(super) struct Folded {
    names: Names,
    /// Some name of the policy has an upper-case letter.
    any_upper: bool,
}

impl Folded {
    pub(super) fn new<'p>(patterns: impl IntoIterator<Item = &'p Pattern>) -> Self {
        let mut any_upper = false;
        let folded: Vec<Pattern> = patterns
            .into_iter()
            .filter_map(|pattern| {
                any_upper |= pattern
                    .as_str()
                    .bytes()
                    .any(|byte| byte.is_ascii_uppercase());
                Pattern::parse(&pattern.as_str().to_ascii_lowercase()).ok()
            })
            .collect();
        Self {
            names: Names::new(folded.into_iter().zip(0..)),
            any_upper,
        }
    }

    pub(super) fn conflict(&self, name: &str, tools: &Names, hide: &Names) -> bool {
        let lower = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else if self.any_upper {
            Cow::Borrowed(name)
        } else {
            return false;
        };
        if tools.has_literal(name) || hide.has_literal(name) {
            return false;
        }
        // Whatever matches as written matches folded too, so more matches are other ones.
        self.names.count(&lower) > tools.count(name) + hide.count(name)
    }
}
