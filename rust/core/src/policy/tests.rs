//! What each key of the document means once it is compiled.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(clippy::format_collect, reason = "the documents are short")]

mod limits;
mod problems;
mod schema;

use smallvec::SmallVec;

use super::condition::{Op, Operand};
use super::{Diagnostic, Effect, Entry, EntryEffect, LimitUse, Mode, PolicySet, Quota, Scope};

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
    found.into_vec()
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
    let pointers: Vec<&str> = found.iter().map(|entry| entry.pointer.as_str()).collect();
    assert_eq!(pointers, ["/methods/resources~1*"]);
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
    let both = load("default: deny\ntools: {Read: {}, read: {}}");
    assert!(!both.folded_conflict("Read") && !both.folded_conflict("read"));
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
    let all = policy.all_tools().expect("all_tools");
    assert_eq!(all.pointer, "/all_tools");
    assert_eq!(
        all.limits.first().expect("a limit").pointer,
        "/all_tools/limits/0"
    );
    assert_eq!(policy.labels(), ["all_tools"]);
    assert!(load("default: deny").all_tools().is_none());
}

#[test]
fn labels_are_the_names_each_once() {
    let policy = load("default: deny\ntools: {a: {}, 'b*': {}}\nmethods: {ping: {}, a: {}}");
    assert_eq!(policy.labels(), ["a", "b*", "ping"]);
    assert_eq!(entry(&policy, "b1").label, 1);
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
