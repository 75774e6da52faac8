//! Patterns against the textbook's algorithm, by themselves and all at once.

use gateway_core::pattern::{Pattern, PatternSet};
use smallvec::SmallVec;

/// Lines: a name, and patterns.
pub fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n').take(12);
    let name = lines.next().unwrap_or_default();
    if text.len() > 400 {
        return; // the textbook's takes the product of both lengths
    }
    let patterns: Vec<Pattern> = lines.filter_map(|line| Pattern::parse(line).ok()).collect();
    let set: PatternSet = patterns.iter().cloned().zip(0..).collect();
    let mut found = SmallVec::new();
    set.matches_into(name, &mut found);
    for (pattern, id) in patterns.iter().zip(0..) {
        let matches = textbook(pattern.as_str(), name);
        assert_eq!(pattern.matches(name), matches, "{:?}", pattern.as_str());
        assert_eq!(
            found.contains(&id),
            matches,
            "in a set: {:?}",
            pattern.as_str()
        );
    }
}

fn textbook(pattern: &str, name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    // Which beginnings of the name the pattern matches so far.
    let mut ends = vec![false; name.len() + 1];
    ends[0] = true;
    for c in pattern.chars() {
        let mut next = vec![false; name.len() + 1];
        let mut any = false;
        for at in 0..=name.len() {
            if c == '*' {
                any |= ends[at];
                next[at] = any;
            } else if at > 0 {
                next[at] = ends[at - 1] && name[at - 1] == c;
            }
        }
        ends = next;
    }
    ends[name.len()]
}
