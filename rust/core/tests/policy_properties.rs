//! What holds of every document, also of one that nobody meant to write.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::HashSet;

use gateway_core::policy::tree::{self, Data, Node, Syntax};
use gateway_core::policy::{Code, Diagnostic, PolicySet, Severity};
use proptest::prelude::*;

const EXAMPLE: &str = r#"{
  "version": "1", "default": "deny", "hide": ["admin_*"],
  "all_tools": {"limits": [{"counter": "all", "window": "minute", "max": 300}]},
  "tools": {
    "search": {"rate_limit": "10/minute", "description": "d"},
    "bid": {
      "require": [{"conditions": [{"path": "args.id", "op": "exists", "value": true}], "on_deny": "n"}],
      "deny_if": [{"conditions": [{"path": "args.l[*].x", "op": "in", "value": [1, "a", null]}]}],
      "limits": [{"counter": "b", "window": "day", "max": 2000.5, "cost": "args.bid", "key": "args.k"},
                 {"counter": "n", "algorithm": "concurrency", "max": 3, "mode": "shadow"}]
    },
    "up_*": {"limits": [{"counter": "c", "algorithm": "token_bucket", "window": "90s", "max": 30, "burst": 5}]},
    "x": {"action": "deny", "reason": "no"}
  },
  "methods": {"resources/read": {}}
}"#;

/// Words that a mutation may put anywhere.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "9007199254740993",
    "\"args.a\"",
    "\"*\"",
    "\"\"",
    "\n",
    " ",
    "\t",
    "- ",
    "? ",
    "&a ",
    "*a",
    "!!str ",
    "---\n",
    "#",
    "|\n",
    "\u{feff}",
    "\u{0}",
    "é",
    "\"cost\":",
    "\"burst\":",
    "\"window\":",
    "\"month\"",
];

fn mutated() -> impl Strategy<Value = String> {
    let edit = (
        any::<prop::sample::Index>(),
        0..12usize,
        prop::sample::select(WORDS),
    );
    prop::collection::vec(edit, 1..4).prop_map(|edits| {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (at, removed, word) in edits {
            let at = at.index(text.len() + 1);
            let end = text.len().min(at + removed);
            text.splice(at..end, word.chars());
        }
        text.into_iter().collect()
    })
}

fn json() -> impl Strategy<Value = String> {
    let text = "[a-zA-Z0-9_ /~.*\u{e4}-]{0,6}".prop_map(|text| format!("\"{text}\""));
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        (-1_000_000..1_000_000i32).prop_map(|number| format!("{number}e-3")),
        text.clone(),
    ];
    scalar.prop_recursive(4, 24, 4, move |inner| {
        let members = prop::collection::vec((text.clone(), inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4)
                .prop_map(|list| format!("[ {} ]", list.join(" ,\n "))),
            members.prop_map(|members| {
                let mut seen = HashSet::new();
                let members: Vec<String> = members
                    .into_iter()
                    .filter(|(key, _)| seen.insert(key.clone()))
                    .map(|(key, value)| format!("{key}: {value}"))
                    .collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

/// A problem that a person can find: a known code, one line of prose, a place inside the text.
fn check(problem: &Diagnostic, source: &[u8]) -> Result<(), TestCaseError> {
    prop_assert!(Code::ALL.iter().any(|code| code.slug() == problem.code));
    prop_assert!(!problem.message.is_empty() && !problem.message.contains('\n'));
    prop_assert!(!problem.message.ends_with('.'));
    prop_assert!(problem.pointer.is_empty() || problem.pointer.starts_with('/'));
    // YAML takes more characters for ends of lines than one, so the count is a bound, not exact.
    let ends = source
        .iter()
        .filter(|byte| matches!(byte, b'\n' | b'\r'))
        .count();
    prop_assert!(
        (1..=ends + 1).contains(&(problem.line as usize)),
        "{problem:?}"
    );
    prop_assert!(
        (1..=source.len() + 1).contains(&(problem.column as usize)),
        "{problem:?}"
    );
    Ok(())
}

fn parse(source: &[u8], name: &str) -> Result<(), TestCaseError> {
    match PolicySet::parse(source, name) {
        Ok(policy) => {
            for warning in policy.warnings() {
                prop_assert_eq!(warning.severity, Severity::Warning);
                check(warning, source)?;
            }
        }
        Err(problems) => {
            prop_assert!(!problems.is_empty());
            let mut last = (0, 0);
            for problem in &problems {
                prop_assert_eq!(problem.severity, Severity::Error);
                check(problem, source)?;
                prop_assert!(last <= (problem.line, problem.column));
                last = (problem.line, problem.column);
            }
        }
    }
    Ok(())
}

/// A tree without places and ways of writing.
fn bare(node: &Node) -> String {
    match &node.data {
        Data::Text { text, .. } => format!("{text:?}"),
        Data::List(list) => format!("{:?}", list.iter().map(bare).collect::<Vec<_>>()),
        Data::Map(members) => {
            let members = members
                .iter()
                .map(|member| (&member.key, bare(&member.value)));
            format!("{{{:?}}}", members.collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    }
}

fn places(node: &Node, into: &mut Vec<(u32, u32)>) {
    into.push((node.place.line, node.place.column));
    match &node.data {
        Data::List(list) => list.iter().for_each(|node| places(node, into)),
        Data::Map(members) => {
            for member in members {
                into.push((member.place.line, member.place.column));
                places(&member.value, into);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_load_or_say_why_not(
        source in prop::collection::vec(any::<u8>(), 0..64),
        name in prop::sample::select(&["p.json", "p.yaml", "p"][..]),
    ) {
        parse(&source, name)?;
    }

    #[test]
    fn an_edited_policy_loads_or_says_why_not(
        source in mutated(),
        name in prop::sample::select(&["p.json", "p.yaml"][..]),
    ) {
        parse(source.as_bytes(), name)?;
    }

    #[test]
    fn json_reads_the_same_as_yaml(source in json()) {
        let json = tree::read(source.as_bytes(), Syntax::Json).expect("JSON");
        let yaml = tree::read(source.as_bytes(), Syntax::Yaml).expect("JSON is YAML");
        prop_assert_eq!(bare(&json), bare(&yaml));
        let (mut from_json, mut from_yaml) = (Vec::new(), Vec::new());
        places(&json, &mut from_json);
        places(&yaml, &mut from_yaml);
        prop_assert_eq!(from_json, from_yaml);
    }
}
