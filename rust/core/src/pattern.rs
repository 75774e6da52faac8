//! Name patterns: which names an entry of a policy speaks of.
//!
//! The grammar has one rule: `*` stands for any run of characters, the empty one included, and every other
//! character stands for itself, code point for code point. There is no way to write a literal `*`, no
//! character class, no case folding; `upwork_*` and `*` are patterns, and so is `a*b*c`.
//!
//! INVARIANT: matching takes time linear in the name, and in a [`PatternSet`] no more than that for any number
//! of literals, prefixes (`a*`) and suffixes (`*a`) but for one probe for each different length among them.

use std::fmt;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

#[cfg(test)]
mod tests;

/// One pattern, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// There is nothing in it; it would match the empty name alone, which nothing has.
    Empty,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a pattern is empty"),
        }
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// If the text is empty.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        Ok(Self(text.into()))
    }

    /// There is no `*` in it: it matches one name.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches the whole of `name`. Linear in both; allocates nothing.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some((prefix, rest)) = self.0.split_once('*') else {
            return *self.0 == *name;
        };
        let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
        let between = name
            .strip_prefix(prefix)
            .and_then(|name| name.strip_suffix(suffix));
        let Some(mut between) = between else {
            return false;
        };
        // The leftmost place for each piece leaves the most room for the next: no need to look back.
        middle
            .split('*')
            .all(|piece| match between.split_once(piece) {
                Some((_, after)) => {
                    between = after;
                    true
                }
                None => false,
            })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Ids = SmallVec<[u32; 2]>;

/// Many patterns, each with an id, asked all at once.
#[derive(Clone, Debug, Default)]
pub struct PatternSet {
    literals: FxHashMap<Box<str>, Ids>,
    prefixes: Vec<OfOneLength>,
    suffixes: Vec<OfOneLength>,
    general: Vec<(Pattern, u32)>,
}

/// The prefixes or suffixes of one length in bytes.
#[derive(Clone, Debug, Default)]
struct OfOneLength {
    len: usize,
    affixes: FxHashMap<Box<str>, Ids>,
}

impl PatternSet {
    /// Replaces what is in `out` by the ids of all patterns that match `name`: ascending, each once.
    pub fn matches_into(&self, name: &str, out: &mut SmallVec<[u32; 8]>) {
        out.clear();
        let ids = self.literals.get(name);
        out.extend(ids.into_iter().flatten().copied());
        // A cut inside a character yields nothing, and rightly so: no affix ends inside one.
        for group in &self.prefixes {
            let ids = name
                .get(..group.len)
                .and_then(|head| group.affixes.get(head));
            out.extend(ids.into_iter().flatten().copied());
        }
        for group in &self.suffixes {
            let tail = name
                .len()
                .checked_sub(group.len)
                .and_then(|cut| name.get(cut..));
            let ids = tail.and_then(|tail| group.affixes.get(tail));
            out.extend(ids.into_iter().flatten().copied());
        }
        let general = self
            .general
            .iter()
            .filter(|(pattern, _)| pattern.matches(name));
        out.extend(general.map(|(_, id)| *id));
        out.sort_unstable();
        out.dedup();
    }

    /// There is no pattern in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.literals.is_empty()
            && self.prefixes.is_empty()
            && self.suffixes.is_empty()
            && self.general.is_empty()
    }
}

impl FromIterator<(Pattern, u32)> for PatternSet {
    fn from_iter<I: IntoIterator<Item = (Pattern, u32)>>(patterns: I) -> Self {
        let mut set = Self::default();
        for (pattern, id) in patterns {
            let text = pattern.as_str();
            let inner_star = |affix: &str| affix.contains('*');
            if pattern.is_literal() {
                set.literals.entry(text.into()).or_default().push(id);
            } else if let Some(prefix) = text.strip_suffix('*').filter(|prefix| !inner_star(prefix))
            {
                OfOneLength::add(&mut set.prefixes, prefix, id);
            } else if let Some(suffix) = text.strip_prefix('*').filter(|suffix| !inner_star(suffix))
            {
                OfOneLength::add(&mut set.suffixes, suffix, id);
            } else {
                set.general.push((pattern, id));
            }
        }
        set
    }
}

impl OfOneLength {
    fn add(groups: &mut Vec<Self>, affix: &str, id: u32) {
        let len = affix.len();
        let place = groups.binary_search_by_key(&len, |group| group.len);
        let place = place.unwrap_or_else(|place| {
            groups.insert(
                place,
                Self {
                    len,
                    ..Self::default()
                },
            );
            place
        });
        if let Some(group) = groups.get_mut(place) {
            group.affixes.entry(affix.into()).or_default().push(id);
        }
    }
}
