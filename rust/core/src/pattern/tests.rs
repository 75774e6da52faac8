//! Patterns against tables and against their translation into regular expressions.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use proptest::prelude::*;
use regex::Regex;
use smallvec::SmallVec;

use super::{Pattern, PatternError, PatternSet};

fn matches(pattern: &str, name: &str) -> bool {
    Pattern::parse(pattern).unwrap().matches(name)
}

#[test]
fn a_star_stands_for_any_run() {
    for (pattern, name) in [
        ("*", ""),
        ("*", "anything at all"),
        ("**", ""),
        ("a", "a"),
        ("upwork_*", "upwork_"),
        ("upwork_*", "upwork_search"),
        ("*_admin", "_admin"),
        ("a*a", "aa"),
        ("a*b*c", "abc"),
        ("a*b*c", "a-b-b-c"),
        ("*ab*ab", "abab"),
        ("*ab*ab", "abxabab"),
        ("é*", "été"),
        ("a.c", "a.c"),
    ] {
        assert!(matches(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn everything_else_stands_for_itself() {
    for (pattern, name) in [
        ("a", ""),
        ("a", "A"),
        ("a", "aa"),
        ("a.c", "abc"),
        ("a?", "ab"),
        ("[ab]", "a"),
        ("upwork_*", "upwork"),
        ("upwork_*", "Upwork_x"),
        ("upwork_*", "my_upwork_x"),
        ("*_admin", "_admin_x"),
        // One occurrence cannot serve as both ends.
        ("a*a", "a"),
        ("ab*ba", "aba"),
        ("*ab*ab", "aab"),
        ("a*b*c", "acb"),
        // The same letter composed and decomposed: code points decide.
        ("\u{e9}*", "e\u{301}"),
    ] {
        assert!(!matches(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn an_empty_text_is_no_pattern() {
    assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
}

#[test]
fn a_pattern_knows_whether_it_is_a_name() {
    let literal = Pattern::parse("search").unwrap();
    assert!(literal.is_literal());
    assert_eq!(
        (literal.as_str(), literal.to_string()),
        ("search", "search".to_owned())
    );
    assert!(!Pattern::parse("sear*ch").unwrap().is_literal());
}

fn set(patterns: &[&str]) -> PatternSet {
    let numbered = patterns.iter().zip(0..);
    numbered
        .map(|(text, id)| (Pattern::parse(text).unwrap(), id))
        .collect()
}

fn ids(set: &PatternSet, name: &str) -> Vec<u32> {
    let mut out = SmallVec::from_slice(&[7, 7, 7]);
    set.matches_into(name, &mut out);
    out.into_vec()
}

#[test]
fn a_set_answers_in_order_and_once() {
    let patterns = [
        "*z", "get_*", "get_job", "*", "g*b", "get_job", "**", "*_job", "set_*",
    ];
    assert_eq!(ids(&set(&patterns), "get_job"), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(ids(&set(&patterns), "zz"), [0, 3, 6]);
    let twice: PatternSet = ["a*", "*a"]
        .map(|text| (Pattern::parse(text).unwrap(), 5))
        .into_iter()
        .collect();
    assert_eq!(ids(&twice, "aa"), [5]);
    assert!(PatternSet::default().is_empty() && !twice.is_empty());
    assert!(ids(&PatternSet::default(), "a").is_empty());
}

#[test]
fn a_set_cuts_names_between_characters_only() {
    let set = set(&["a*", "*b"]);
    assert!(ids(&set, "é").is_empty());
}

/// The pattern as a regular expression.
fn translated(pattern: &str) -> Regex {
    let escaped: Vec<_> = pattern.split('*').map(regex::escape).collect();
    Regex::new(&format!("(?s)^{}$", escaped.join(".*"))).unwrap()
}

fn patterns() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab*]{1,10}",
        "[ab]{0,3}\\*",
        "\\*[ab]{0,3}",
        "[aé.*\\\\\n]{1,8}"
    ]
}

proptest! {
    #[test]
    fn matches_as_its_regex_does(pattern in patterns(), name in prop_oneof!["[ab]{0,12}", "[aé.*\\\\\n]{0,8}"]) {
        prop_assert_eq!(matches(&pattern, &name), translated(&pattern).is_match(&name));
    }

    #[test]
    fn a_set_matches_as_its_patterns_do(
        patterns in prop::collection::vec(patterns(), 0..20),
        name in "[abé]{0,8}",
    ) {
        let texts: Vec<_> = patterns.iter().map(String::as_str).collect();
        let expected: Vec<_> = (0..).zip(&texts).filter(|(_, text)| matches(text, &name)).map(|(id, _)| id).collect();
        prop_assert_eq!(ids(&set(&texts), &name), expected);
    }
}
