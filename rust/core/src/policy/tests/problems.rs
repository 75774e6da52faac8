//! What a refused policy is told, and how much of it.

use super::{codes, load, refuse};
use crate::policy::{Code, PolicySet, Severity};

#[test]
fn help_names_what_was_meant() {
    for (yaml, help) in [
        ("defualt: deny", "did you mean `default`?"),
        ("default: dney", "did you mean `deny`?"),
        (
            "default: deny\ntools: {x: {limits: [{counter: c, max: 1, window: minutes}]}}",
            "did you mean `minute`?",
        ),
        (
            "default: deny\ntools: {x: {limits: [{counter: c, max: 1, window: 60}]}}",
            "put the unit behind it: `\"60s\"`",
        ),
        (
            "default: deny\ntools: {x: {limits: [{counter: c, max: '5', window: day}]}}",
            "remove the quotes: `5`",
        ),
        (
            "default: deny\ntools: {x: {limits: [{counter: c, max: 1_000, window: day}]}}",
            "write numbers as JSON does, such as `1000` or `0.5`",
        ),
        ("default: deny\ntools: {x: }", "write `{}`"),
        (
            "default: deny\ntools: {x: {deny_if: [{conditions: [{path: args.a, op: '>=', value: 1}]}]}}",
            "did you mean `gte`?",
        ),
        (
            "default: deny\ntools: {x: {deny_if: [{conditions: [{path: args.a, op: eq, value: [1]}]}]}}",
            "did you mean `in`?",
        ),
        (
            "default: deny\ntools: {x: {require_approval: true}}",
            "write `\"action\": \"require_approval\"` where every call needs it",
        ),
    ] {
        let problems = refuse(yaml);
        assert!(
            problems
                .iter()
                .any(|problem| problem.help.as_deref() == Some(help)),
            "{yaml}: {problems:#?}"
        );
    }
    let problems = refuse("default: deny\ncompletely_else: 1");
    let help = problems
        .first()
        .and_then(|problem| problem.help.as_deref())
        .expect("help");
    assert!(
        help.starts_with("the keys here are `version`, `default`"),
        "{help}"
    );
}

#[test]
fn messages_keep_to_one_line_and_to_the_house_style() {
    let problems = refuse("default: \"a\\nb\\x1b[31m\"\n\"k\\u0007\": 1\nhide: [1]\n");
    assert_eq!(
        codes(&problems),
        ["unknown-value", "unknown-key", "wrong-type"]
    );
    for problem in &problems {
        assert!(
            !problem.message.contains(char::is_control),
            "{}",
            problem.message
        );
        assert!(!problem.message.ends_with('.') && problem.severity == Severity::Error);
    }
}

#[test]
fn more_problems_than_anyone_reads_are_counted() {
    let tools: String = (0..5_000)
        .map(|tool| format!("  t{tool}: {{x: 1}}\n"))
        .collect();
    let problems = refuse(&format!("default: deny\ntools:\n{tools}"));
    assert_eq!(problems.len(), 201);
    let last = problems.last().expect("one");
    assert_eq!(
        (last.code, last.message.as_str()),
        ("too-many-problems", "4800 more problems are not listed")
    );
}

#[test]
fn bounds_on_the_document() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for (name, open) in [
        (
            "p.json",
            "{\"version\":\"1\",\"default\":\"deny\",\"hide\":",
        ),
        ("p.yaml", "hide: "),
    ] {
        let close = if name == "p.json" { "}" } else { "" };
        let deep = format!("{open}{}{close}", nested(64));
        let problems = PolicySet::parse(deep.as_bytes(), name).expect_err("too deep");
        assert_eq!(codes(&problems), ["too-deep"], "{name}");
    }
    let large = format!(
        "{{\"version\":\"1\",\"default\":\"deny\"}}{}",
        " ".repeat(1 << 20)
    );
    assert_eq!(
        codes(&PolicySet::parse(large.as_bytes(), "p").expect_err("large")),
        ["too-large"]
    );
    let entries: String = (0..20_001)
        .map(|entry| format!(" t{entry}: {{}}\n"))
        .collect();
    assert_eq!(
        codes(&refuse(&format!("default: deny\ntools:\n{entries}"))),
        ["too-many-rules"]
    );
    let general: String = (0..501)
        .map(|entry| format!(" t{entry}*x: {{}}\n"))
        .collect();
    assert_eq!(
        codes(&refuse(&format!("default: deny\ntools:\n{general}"))),
        ["too-many-rules"]
    );
    let prefixes: String = (0..1_001)
        .map(|entry| format!(" t{entry}*: {{}}\n"))
        .collect();
    load(&format!("default: deny\ntools:\n{prefixes}"));
}

#[test]
fn regular_expressions_are_bounded_together() {
    let policy = |expression: &dyn Fn(u32) -> String| {
        let rule = |rule| {
            let value = expression(rule);
            format!("  - conditions: [{{path: args.a, op: regex, value: '{value}'}}]\n")
        };
        let rules: String = (0..400).map(rule).collect();
        format!("default: deny\ntools:\n x:\n  deny_if:\n{rules}")
    };
    let problems = refuse(&policy(&|rule| format!(r"a{rule}\w{{10}}")));
    assert_eq!(codes(&problems), ["bad-regex"], "said once");
    load(&policy(&|rule| format!("a{rule}[a-z]+")));
    load(&policy(&|_| r"a\w{10}".to_owned()));
}

#[test]
fn codes_are_slugs_each_once() {
    let mut slugs: Vec<&str> = Code::ALL.iter().map(|code| code.slug()).collect();
    for slug in &slugs {
        assert!(
            slug.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
            "{slug}"
        );
    }
    slugs.sort_unstable();
    slugs.dedup();
    assert_eq!(slugs.len(), Code::ALL.len());
    assert!(Code::ALL.iter().all(|code| code.meaning().ends_with('.')));
}

#[test]
fn what_is_no_utf_8_is_refused_where_it_begins() {
    let problems =
        PolicySet::parse(b"{\"version\":\n \"\xc3\xa4\xff\"}", "p").expect_err("refused");
    let found: Vec<_> = problems
        .iter()
        .map(|found| (found.code, found.line, found.column))
        .collect();
    assert_eq!(found, [("encoding", 2, 4)]);
}
