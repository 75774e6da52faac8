//! What each key of the document means once it is compiled.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(clippy::format_collect, reason = "the documents are short")]

use smallvec::SmallVec;

use super::condition::{ArgPath, Op, Operand};
use super::document::{ALL_TOOLS_KEYS, DOCUMENT_KEYS, ENTRY_KEYS};
use super::limit_form::{LIMIT_KEYS, RATE_KEYS};
use super::rule_form::{CONDITION_KEYS, RULE_KEYS};
use super::tree::{self, Data, Node, Syntax};
use super::{
    Code, Cost, Diagnostic, Effect, Entry, EntryEffect, EntryId, LimitUse, Mode, PolicySet, Quota,
    Scope, Severity, policy_schema,
};
use crate::limit::{Algorithm, Window};

const SECOND: u64 = 1_000_000_000;

fn load(yaml: &str) -> PolicySet {
    let source = format!("version: \"1\"\n{yaml}");
    match PolicySet::parse(source.as_bytes(), "policy.yaml") {
        Ok(policy) => policy,
        Err(problems) => panic!("{problems:#?}"),
    }
}

fn load_tool(entry: &str) -> PolicySet {
    load(&format!("default: deny\ntools:\n  x: {entry}\n"))
}

fn refuse(yaml: &str) -> Vec<Diagnostic> {
    let source = format!("version: \"1\"\n{yaml}");
    PolicySet::parse(source.as_bytes(), "policy.yaml").expect_err("an impossible policy loads")
}

fn entries<'p>(policy: &'p PolicySet, tool: &str) -> Vec<&'p Entry> {
    let mut found = SmallVec::new();
    policy.tool_entries(tool, &mut found);
    found
        .into_iter()
        .map(|id: EntryId| policy.entry(id))
        .collect()
}

fn entry<'p>(policy: &'p PolicySet, tool: &str) -> &'p Entry {
    let found = entries(policy, tool);
    assert_eq!(found.len(), 1, "entries of {tool}");
    found.first().expect("one entry")
}

fn only_limit(policy: &PolicySet) -> (&LimitUse, &Quota) {
    let limit = entry(policy, "x").limits.first().expect("a limit");
    (limit, policy.quota(limit.quota))
}

fn pointers<'p>(policy: &'p PolicySet, tool: &str) -> Vec<&'p str> {
    entries(policy, tool)
        .iter()
        .map(|entry| entry.pointer.as_str())
        .collect()
}

fn codes(problems: &[Diagnostic]) -> Vec<&str> {
    problems.iter().map(|problem| problem.code).collect()
}

#[test]
fn default_and_modes() {
    let policy = load("default: allow");
    assert_eq!(policy.default_effect(), Effect::Allow);
    assert_eq!(policy.mode(), Mode::Enforce);
    let policy = load(
        "default: deny\nmode: shadow\ntools: {x: {limits: [{counter: c, max: 1, window: day}]}}",
    );
    assert_eq!(policy.default_effect(), Effect::Deny);
    assert_eq!(policy.mode(), Mode::Shadow);
    assert_eq!(entry(&policy, "x").mode, Mode::Shadow);
    assert_eq!(only_limit(&policy).0.mode, Mode::Shadow);
}

#[test]
fn shadow_above_is_shadow_below() {
    let policy = load_tool(
        "{mode: shadow, deny_if: [{mode: enforce}], limits: [{counter: c, max: 1, window: day, mode: enforce}]}",
    );
    let x = entry(&policy, "x");
    assert_eq!(x.mode, Mode::Shadow);
    assert_eq!(x.deny_if.first().expect("a rule").mode, Mode::Shadow);
    assert_eq!(x.limits.first().expect("a limit").mode, Mode::Shadow);
    let policy = load_tool(
        "{deny_if: [{mode: shadow}, {}], limits: [{counter: c, max: 1, window: day, mode: shadow}]}",
    );
    let x = entry(&policy, "x");
    assert_eq!(x.mode, Mode::Enforce);
    assert_eq!(x.deny_if.first().expect("a rule").mode, Mode::Shadow);
    assert_eq!(x.deny_if.get(1).expect("a rule").mode, Mode::Enforce);
    assert_eq!(x.limits.first().expect("a limit").mode, Mode::Shadow);
}

#[test]
fn every_matching_entry_is_found_in_written_order() {
    let policy = load(
        "default: deny\ntools: {'*_b': {}, a_b: {}, 'a_*': {}, '*': {}, 'a*b': {}, a_c: {}}\nmethods: {'resources/*': {}}",
    );
    assert_eq!(
        pointers(&policy, "a_b"),
        [
            "/tools/*_b",
            "/tools/a_b",
            "/tools/a_*",
            "/tools/*",
            "/tools/a*b"
        ]
    );
    assert_eq!(
        pointers(&policy, "a_x_b"),
        ["/tools/*_b", "/tools/a_*", "/tools/*", "/tools/a*b"]
    );
    assert_eq!(
        pointers(&policy, "a_c"),
        ["/tools/a_*", "/tools/*", "/tools/a_c"]
    );
    assert_eq!(pointers(&policy, "resources/read"), ["/tools/*"]);
    let mut found = SmallVec::new();
    policy.method_entries("resources/read", &mut found);
    let pointer = policy
        .entry(*found.first().expect("an entry"))
        .pointer
        .as_str();
    assert_eq!((found.len(), pointer), (1, "/methods/resources~1*"));
    policy.method_entries("a_b", &mut found);
    assert_eq!(found.len(), 1, "tools are no methods");
}

#[test]
fn hidden_tools() {
    let policy = load("default: allow\nhide: [a, 'adm*', admin]");
    assert!(policy.hides_anything());
    assert_eq!(policy.hidden("a"), Some("/hide/0"));
    assert_eq!(policy.hidden("admin"), Some("/hide/1"));
    assert_eq!(policy.hidden("b"), None);
    assert!(!load("default: allow").hides_anything());
    assert_eq!(
        load("default: allow\nhide: ['*']").hidden(""),
        Some("/hide/0")
    );
}

#[test]
fn names_that_differ_in_case() {
    let policy = load(
        "default: allow\nhide: [Reset]\ntools: {drop_table: {action: deny}, 'get*': {}, getX: {}}",
    );
    assert!(policy.names_literally("drop_table") && policy.names_literally("Reset"));
    assert!(!policy.names_literally("get*") && !policy.names_literally("geta"));
    for conflict in [
        "Drop_Table",
        "DROP_TABLE",
        "reset",
        "RESET",
        "GETX",
        "Getx",
        "Get1",
        "getx",
    ] {
        assert!(policy.folded_conflict(conflict), "{conflict}");
    }
    for none in [
        "drop_table",
        "Reset",
        "getX",
        "get1",
        "other",
        "Other",
        "gety",
    ] {
        assert!(!policy.folded_conflict(none), "{none}");
    }
    let lower = load("default: allow\nhide: [reset]");
    assert!(lower.folded_conflict("Reset") && !lower.folded_conflict("resets"));
}

#[test]
fn actions_and_reasons() {
    let policy = load_tool("{action: deny, reason: not here}");
    let x = entry(&policy, "x");
    assert_eq!(
        (x.effect, x.reason.as_deref()),
        (EntryEffect::Deny, Some("not here"))
    );
    assert_eq!(
        entry(&load_tool("{action: require_approval}"), "x").effect,
        EntryEffect::RequireApproval
    );
    assert_eq!(
        entry(&load_tool("{action: allow}"), "x").effect,
        EntryEffect::Allow
    );
    assert_eq!(entry(&load_tool("{}"), "x").effect, EntryEffect::Allow);
}

#[test]
fn rules_and_conditions() {
    let policy = load_tool(
        "{require: [{conditions: [{path: args.a, op: exists, value: true}], on_deny: need a}], \
          deny_if: [{conditions: [{path: 'args.l[*].n', op: in, value: [1, two, null, true]}, {path: args.a, op: regex, value: '^b$'}]}, {}], \
          require_approval: [{conditions: [{path: args.a, op: lt, value: b}]}]}",
    );
    let x = entry(&policy, "x");
    let require = x.require.first().expect("a rule");
    assert_eq!(require.pointer, "/tools/x/require/0");
    assert_eq!(require.on_deny.as_deref(), Some("need a"));
    let condition = require.conditions.first().expect("a condition");
    assert_eq!(
        (condition.path.as_str(), condition.op),
        ("args.a", Op::Exists)
    );
    assert!(matches!(condition.operand, Operand::Bool(true)));
    let deny = x.deny_if.first().expect("a rule");
    let [first, second] = deny.conditions.as_slice() else {
        panic!("two conditions");
    };
    assert!(matches!(&first.operand, Operand::List(list) if list.len() == 4));
    assert!(matches!(&second.operand, Operand::Pattern(regex) if regex.as_str() == "^b$"));
    assert!(x.deny_if.get(1).expect("a rule").conditions.is_empty());
    let approval = x.approval.first().expect("a rule");
    assert_eq!(approval.pointer, "/tools/x/require_approval/0");
    assert!(
        matches!(&approval.conditions.first().expect("one").operand, Operand::Text(b) if b == "b")
    );
    let rules = x.require.iter().chain(&x.deny_if).chain(&x.approval);
    for condition in rules.flat_map(|rule| &rule.conditions) {
        assert!(condition.operand.suits(condition.op), "{condition:?}");
    }
}

#[test]
fn all_tools_is_an_entry_of_its_own() {
    let policy =
        load("default: deny\nall_tools: {limits: [{counter: all, max: 3, window: minute}]}");
    assert!(entries(&policy, "x").is_empty(), "it names no tool");
    let all = policy.entry(policy.all_tools().expect("all_tools"));
    assert_eq!(all.pointer, "/all_tools");
    assert_eq!(
        all.limits.first().expect("a limit").pointer,
        "/all_tools/limits/0"
    );
    assert_eq!(policy.labels(), ["all_tools"]);
    assert_eq!(load("default: deny").all_tools(), None);
}

#[test]
fn labels_are_the_names_each_once() {
    let policy = load("default: deny\ntools: {a: {}, 'b*': {}}\nmethods: {ping: {}, a: {}}");
    assert_eq!(policy.labels(), ["a", "b*", "ping"]);
    assert_eq!(entry(&policy, "b1").label, 1);
}

#[test]
fn a_limit_and_its_defaults() {
    let policy = load_tool("{limits: [{counter: c, max: 30, window: minute, on_deny: slow down}]}");
    let (limit, quota) = only_limit(&policy);
    assert_eq!(
        (limit.pointer.as_str(), limit.max),
        ("/tools/x/limits/0", 30)
    );
    assert_eq!(limit.on_deny.as_deref(), Some("slow down"));
    assert_eq!(
        (quota.counter.as_str(), quota.scope, quota.scale),
        ("c", Scope::Grant, 0)
    );
    assert_eq!(quota.algorithm, Algorithm::Fixed(Window::Span(60 * SECOND)));
    assert_eq!(quota.window_text, "minute");
    assert!(matches!(quota.cost, Cost::Units(1)) && quota.key.is_none());
}

#[test]
fn windows() {
    for (text, window) in [
        ("second", Window::Span(SECOND)),
        ("minute", Window::Span(60 * SECOND)),
        ("hour", Window::Span(3_600 * SECOND)),
        ("day", Window::Span(86_400 * SECOND)),
        ("week", Window::Span(604_800 * SECOND)),
        ("month", Window::Month),
        ("90s", Window::Span(90 * SECOND)),
        ("5m", Window::Span(300 * SECOND)),
        ("12h", Window::Span(43_200 * SECOND)),
        ("366d", Window::Span(31_622_400 * SECOND)),
    ] {
        let policy = load_tool(&format!(
            "{{limits: [{{counter: c, max: 1, window: {text}}}]}}"
        ));
        let quota = only_limit(&policy).1;
        assert_eq!(
            (quota.algorithm, quota.window_text.as_str()),
            (Algorithm::Fixed(window), text)
        );
    }
    for text in [
        "",
        "s",
        "m",
        "0s",
        "367d",
        "1w",
        "01s",
        "+1s",
        "1.5h",
        "90 s",
        "90S",
        "1ms",
        "60",
        "99999999999999999999s",
    ] {
        let problems = refuse(&format!(
            "default: deny\ntools: {{x: {{limits: [{{counter: c, max: 1, window: '{text}'}}]}}}}"
        ));
        assert_eq!(codes(&problems), ["bad-window"], "{text}");
    }
}

#[test]
fn algorithms() {
    let algorithm = |limit: &str| {
        let policy = load_tool(&format!("{{limits: [{{counter: c, {limit}}}]}}"));
        only_limit(&policy).1.algorithm
    };
    assert_eq!(
        algorithm("max: 9, window: day, algorithm: sliding_window"),
        Algorithm::Sliding(86_400 * SECOND)
    );
    assert_eq!(
        algorithm("max: 9, algorithm: concurrency"),
        Algorithm::Concurrency
    );
    let bucket =
        |limit: &str| match algorithm(&format!("algorithm: token_bucket, window: minute, {limit}"))
        {
            Algorithm::Bucket {
                window_ns,
                interval_ns,
                burst,
            } => (window_ns / SECOND, interval_ns, burst),
            other => panic!("{other:?}"),
        };
    assert_eq!(bucket("max: 30"), (60, (60 * SECOND).div_ceil(16), 15));
    assert_eq!(
        bucket("max: 30, burst: 5"),
        (60, (60 * SECOND).div_ceil(26), 5)
    );
    assert_eq!(bucket("max: 30, burst: 30"), (60, 60 * SECOND, 30));
    assert_eq!(bucket("max: 1"), (60, 60 * SECOND, 1));
    // Counted in tenths: 30 of them in all, 15 at once.
    let tenths = (60, (60 * SECOND).div_ceil(16), 15);
    assert_eq!(bucket("max: 3, burst: 1.5, cost: 0.5"), tenths);
}

/// However calls are spread, a full burst and what comes back within any window stay within max.
#[test]
fn a_bucket_admits_no_more_than_max_in_a_window() {
    for max in 1..40u64 {
        for burst in 1..=max {
            let policy = load_tool(&format!(
                "{{limits: [{{counter: c, max: {max}, burst: {burst}, algorithm: token_bucket, window: 7s}}]}}"
            ));
            let Algorithm::Bucket {
                window_ns,
                interval_ns,
                burst,
            } = only_limit(&policy).1.algorithm
            else {
                panic!("a bucket");
            };
            let regained = (window_ns - 1) / interval_ns;
            assert!(burst + regained <= max, "{max} {burst}");
            // And no fewer than that, or the bucket would be needlessly slow.
            assert!(
                burst + (window_ns - 1) / (interval_ns - 1) >= max,
                "{max} {burst}"
            );
        }
    }
}

#[test]
fn scopes_and_keys() {
    for (text, scope) in [
        ("grant", Scope::Grant),
        ("session", Scope::Session),
        ("server", Scope::Server),
        ("global", Scope::Global),
    ] {
        let policy = load_tool(&format!(
            "{{limits: [{{counter: c, max: 1, window: day, scope: {text}, key: 'args.a[0].b'}}]}}"
        ));
        let quota = only_limit(&policy).1;
        assert_eq!(quota.scope, scope);
        assert_eq!(quota.key.as_ref().map(ArgPath::as_str), Some("args.a[0].b"));
    }
}

#[test]
fn costs_and_scales() {
    let compile = |limit: &str| {
        let policy = load_tool(&format!(
            "{{limits: [{{counter: c, window: minute, {limit}}}]}}"
        ));
        let (limit, quota) = only_limit(&policy);
        let cost = match &quota.cost {
            Cost::Units(units) => units.to_string(),
            Cost::Arg(path) => path.to_string(),
        };
        (limit.max, quota.scale, cost)
    };
    let text = str::to_owned;
    assert_eq!(compile("max: 10, cost: 2"), (10, 0, text("2")));
    assert_eq!(compile("max: 10, cost: 0.25"), (1_000, 2, text("25")));
    assert_eq!(compile("max: 10.999, cost: 0.25"), (1_099, 2, text("25")));
    assert_eq!(compile("max: 2.5"), (2, 0, text("1")));
    assert_eq!(
        compile("max: 10, cost: args.n"),
        (100_000, 4, text("args.n"))
    );
    assert_eq!(
        compile("max: 10, increment_from: args.n"),
        (100_000, 4, text("args.n"))
    );
    assert_eq!(compile("max: 10, increment_from: 3"), (10, 0, text("3")));
    // 33 bits of count for a minute: four decimals leave room up to 858,993, two up to 85,899,345.
    assert_eq!(
        compile("max: 858993, cost: args.n"),
        (8_589_930_000, 4, text("args.n"))
    );
    assert_eq!(
        compile("max: 858994, cost: args.n"),
        (85_899_400, 2, text("args.n"))
    );
    assert_eq!(
        compile("max: 85899346, cost: args.n"),
        (85_899_346, 0, text("args.n"))
    );
    assert_eq!(
        compile("max: 1.23456, cost: args.n, scale: 1"),
        (12, 1, text("args.n"))
    );
    assert_eq!(
        compile("max: 1.23456, cost: args.n, scale: 0"),
        (1, 0, text("args.n"))
    );
}

#[test]
fn one_quota_in_several_places() {
    let policy = load(
        "default: deny\n\
         all_tools: {limits: [{counter: c, max: 900000, window: minute, cost: args.n}]}\n\
         tools:\n  x: {limits: [{counter: c, max: 10, window: 60s, cost: args.n}]}\n\
         \x20 y: {limits: [{counter: c, max: 10, window: hour, cost: args.n}]}\n",
    );
    assert_eq!(policy.quotas().len(), 2, "60 s is a minute, an hour is not");
    let all = policy
        .entry(policy.all_tools().expect("all_tools"))
        .limits
        .first()
        .expect("a limit");
    let (x, quota) = only_limit(&policy);
    assert_eq!(x.quota, all.quota);
    assert_eq!(
        (all.max, x.max, quota.scale),
        (90_000_000, 1_000, 2),
        "one scale, that of the largest"
    );
    assert_eq!(quota.label, x.quota.0);
    assert_eq!(codes(policy.warnings()), ["different-max"]);
}

#[test]
fn what_a_count_means_is_its_identity() {
    let identity = |limit: &str| {
        let policy = load_tool(&format!("{{limits: [{{counter: c, max: 5, {limit}}}]}}"));
        only_limit(&policy).1.identity.clone()
    };
    let base = identity("window: minute");
    for same in [
        "window: 60s",
        "window: 1m, on_deny: no, mode: shadow, description: d, scope: grant, algorithm: fixed_window",
        "window: minute, cost: 2",
    ] {
        assert_eq!(identity(same), base, "{same}");
    }
    let others = [
        "window: 61s",
        "window: month",
        "window: minute, scope: global",
        "window: minute, key: args.a",
        "window: minute, cost: 0.5",
        "window: minute, algorithm: sliding_window",
        "window: minute, algorithm: token_bucket",
        "algorithm: concurrency",
    ];
    let mut seen = vec![base];
    for other in others {
        let other = identity(other);
        assert!(!seen.contains(&other));
        seen.push(other);
    }
    let with_max = load_tool("{limits: [{counter: c, max: 6, window: minute}]}");
    assert_eq!(
        seen.first(),
        Some(&only_limit(&with_max).1.identity),
        "max is no part of it"
    );
}

#[test]
fn the_short_form_of_a_limit() {
    for rate in ["{max: 10, window: 60}", "10/minute", "10/60s"] {
        let policy = load_tool(&format!("{{rate_limit: {rate}}}"));
        let (limit, quota) = only_limit(&policy);
        assert_eq!(
            (limit.pointer.as_str(), limit.max),
            ("/tools/x/rate_limit", 10)
        );
        assert_eq!(
            (quota.counter.as_str(), quota.scope),
            ("x_rate_limit", Scope::Session)
        );
        assert_eq!(quota.algorithm, Algorithm::Fixed(Window::Span(60 * SECOND)));
        assert_eq!(codes(policy.warnings()), ["session-scope"]);
    }
    let policy = load(
        "default: deny\ntools: {'up_*': {rate_limit: 1/month, limits: [{counter: c, max: 1, window: day}]}}",
    );
    let counters: Vec<&str> = policy
        .quotas()
        .iter()
        .map(|quota| quota.counter.as_str())
        .collect();
    assert_eq!(counters, ["c", "up_*_rate_limit"]);
}

#[test]
fn json_and_yaml_say_the_same() {
    let json = br#"{"version": "1", "default": "deny", "tools": {"x": {"limits": [{"counter": "c", "max": 2, "window": "day"}]}}}"#;
    for name in ["p.json", "p.yaml", "p.YML", "p", "-"] {
        let policy = PolicySet::parse(json, name).expect("JSON is YAML, too");
        assert_eq!(only_limit(&policy).0.max, 2);
        assert_eq!(policy.name(), name);
    }
    let yaml = b"version: '1'\ndefault: deny\n";
    assert!(PolicySet::parse(yaml, "p").is_ok() && PolicySet::parse(yaml, "p.json").is_err());
}

#[test]
fn the_digest_is_of_the_source() {
    let policy = PolicySet::parse(br#"{"version":"1","default":"deny"}"#, "p").expect("loads");
    assert_eq!(
        policy.digest(),
        "aeaf06700126854b9186966605af6bd20042ae56be7753f94096266dbcf2d4f3"
    );
}

#[test]
fn published_policies_load_without_a_word() {
    for tool in ["save_session", "upwork_close_session"] {
        let source = format!(
            r#"{{"version": "1", "default": "deny", "tools": {{"{tool}": {{"limits": [
            {{"counter": "{tool}_rate", "window": "minute", "max": 30, "scope": "grant"}}]}}}}}}"#
        );
        let policy = PolicySet::parse(source.as_bytes(), "p.json").expect("loads");
        assert_eq!(policy.warnings(), []);
        let limit = entry(&policy, tool).limits.first().expect("a limit");
        assert_eq!(
            (limit.max, policy.quota(limit.quota).scope),
            (30, Scope::Grant)
        );
    }
}

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
    let general: String = (0..1_001)
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

/// The schema lists the same keys and words as the reader.
#[test]
fn the_schema_agrees_with_the_reader() {
    let schema = tree::read(policy_schema().as_bytes(), Syntax::Json).expect("the schema is JSON");
    let keys = |node: &Node| -> Vec<String> {
        let Some(Data::Map(members)) = node.get("properties").map(|node| &node.data) else {
            panic!("properties");
        };
        let mut keys: Vec<String> = members
            .iter()
            .map(|member| member.key.to_string())
            .collect();
        keys.sort();
        keys
    };
    let sorted = |keys: &[&str]| {
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort();
        keys
    };
    let def = |name: &str| {
        schema
            .get("$defs")
            .and_then(|defs| defs.get(name))
            .expect("a definition")
    };
    assert_eq!(keys(&schema), sorted(DOCUMENT_KEYS));
    assert_eq!(keys(def("entry")), sorted(ENTRY_KEYS));
    assert_eq!(keys(def("allTools")), sorted(ALL_TOOLS_KEYS));
    assert_eq!(keys(def("rule")), sorted(RULE_KEYS));
    assert_eq!(keys(def("condition")), sorted(CONDITION_KEYS));
    assert_eq!(keys(def("limit")), sorted(LIMIT_KEYS));
    let short = def("rateLimit")
        .get("anyOf")
        .and_then(|any| any.elements().get(1))
        .expect("an object");
    assert_eq!(keys(short), sorted(RATE_KEYS));
    let words = |node: &Node, key: &str| -> Vec<String> {
        let words = node
            .get("properties")
            .and_then(|node| node.get(key)?.get("enum"))
            .expect("words");
        words
            .elements()
            .iter()
            .filter_map(|word| Some(word.text()?.to_owned()))
            .collect()
    };
    let options =
        |names: Vec<&str>| -> Vec<String> { names.into_iter().map(str::to_owned).collect() };
    assert_eq!(
        words(def("condition"), "op"),
        options(Op::ALL.iter().map(|op| op.name()).collect())
    );
    let names = super::limit_form::SCOPES
        .iter()
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(words(def("limit"), "scope"), options(names));
    let names = super::limit_form::KINDS
        .iter()
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(words(def("limit"), "algorithm"), options(names));
    let names = super::document::ACTIONS
        .iter()
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(words(def("entry"), "action"), options(names));
    let names = super::document::EFFECTS
        .iter()
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(words(&schema, "default"), options(names));
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
