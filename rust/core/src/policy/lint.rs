//! Warnings: a policy that loads, and says something its author hardly meant.
//!
//! INVARIANT: each warning is a fact about the policy, true of every call; what only might be a mistake stays
//! unsaid.

use regex_syntax::hir::Look;

use super::condition::{Op, Operand};
use super::diagnostic::{Code, Diagnostic, Problems, quote};
use super::document::{Document, EntryForm, Name};
use super::limit_form::{CostForm, LimitForm};
use super::names::{Found, Names};
use super::quotas::floor_units;
use super::rule_form::{ConditionForm, RuleForm};
use super::tree::Place;
use super::{Cost, EntryEffect, Mode, Quota, Scope};
use crate::decimal::Decimal;
use crate::limit::Algorithm;
use crate::message;

pub(super) fn run(
    document: &Document,
    quotas: &[(&[&LimitForm], &Quota)],
    tools: &Names,
    hide: &Names,
    problems: &mut Problems,
) {
    let entries = document
        .tools
        .iter()
        .chain(&document.methods)
        .chain(&document.all_tools);
    for entry in entries {
        reason(entry, problems);
        unreachable_rules(entry, problems);
        for rule in &entry.require {
            idle_require(rule, problems);
            unanchored(rule, problems);
        }
        for rule in entry.deny_if.iter().chain(&entry.approval) {
            always_holds(rule, problems);
        }
        for rule in entry
            .deny_if
            .iter()
            .chain(&entry.require)
            .chain(&entry.approval)
        {
            never_holds(rule, problems);
        }
        absent_arguments(entry, problems);
        for limit in &entry.limits {
            session(limit, problems);
        }
    }
    for name in document
        .tools
        .iter()
        .chain(&document.methods)
        .map(|entry| &entry.name)
    {
        suspicious(name, problems);
    }
    for name in &document.hide {
        suspicious(name, problems);
    }
    for entry in &document.methods {
        unknown_method(entry, problems);
    }
    shadowed(document, tools, hide, problems);
    for (limits, quota) in quotas {
        different_max(limits, problems);
        for limit in *limits {
            maximum(limit, quota, problems);
        }
    }
}

fn warn(problems: &mut Problems, pointer: &str, place: Place, diagnostic: Diagnostic) {
    problems.add(diagnostic.at(pointer, place));
}

fn reason(entry: &EntryForm, problems: &mut Problems) {
    if let (Some((_, place)), EntryEffect::Allow) = (&entry.reason, entry.effect) {
        let message = "`reason` is shown with the actions `deny` and `require_approval` only";
        let help = "use `on_deny` in a rule or a limit";
        let pointer = format!("{}/reason", entry.name.pointer);
        warn(
            problems,
            &pointer,
            *place,
            Diagnostic::new(Code::UnusedReason, message).help(help),
        );
    }
}

fn unreachable_rules(entry: &EntryForm, problems: &mut Problems) {
    let any_rules = !(entry.deny_if.is_empty()
        && entry.require.is_empty()
        && entry.approval.is_empty()
        && entry.limits.is_empty());
    if entry.effect == EntryEffect::Deny && entry.mode == Mode::Enforce && any_rules {
        let message = "every call is denied here, so the rules and limits decide nothing";
        let diagnostic = Diagnostic::new(Code::UnreachableRules, message)
            .help("remove them, or remove `\"action\": \"deny\"`");
        warn(problems, &entry.name.pointer, entry.name.place, diagnostic);
    }
}

fn idle_require(rule: &RuleForm, problems: &mut Problems) {
    if rule.conditions.is_empty() {
        let message = "a rule without conditions always holds, so it requires nothing";
        let diagnostic = Diagnostic::new(Code::NoEffect, message).help("add a condition");
        warn(problems, &rule.pointer, rule.place, diagnostic);
    }
}

fn always_holds(rule: &RuleForm, problems: &mut Problems) {
    if rule.conditions.is_empty() {
        let message = "a rule without conditions holds for every call";
        let help = "add a condition, or say it with `action`";
        let diagnostic = Diagnostic::new(Code::NoEffect, message).help(help);
        warn(problems, &rule.pointer, rule.place, diagnostic);
    }
}

fn never_holds(rule: &RuleForm, problems: &mut Problems) {
    for condition in &rule.conditions {
        let word = match (condition.op, &condition.operand) {
            (Op::In, Operand::List(list)) if list.is_empty() => "never",
            (Op::NotIn, Operand::List(list)) if list.is_empty() => "always",
            _ => continue,
        };
        let message = format!("`{}` with an empty list {word} holds", condition.op.name());
        let diagnostic = Diagnostic::new(Code::NoEffect, message);
        warn(problems, &condition.pointer, condition.place, diagnostic);
    }
}

/// In `deny_if` a match anywhere in the value is the careful reading; in `require` it lets more through.
fn unanchored(rule: &RuleForm, problems: &mut Problems) {
    for condition in &rule.conditions {
        let Operand::Pattern(regex) = &condition.operand else {
            continue;
        };
        let Ok(parsed) = regex_syntax::parse(regex.as_str()) else {
            continue;
        };
        let properties = parsed.properties();
        let anchored = properties.look_set_prefix().contains(Look::Start)
            && properties.look_set_suffix().contains(Look::End);
        if !anchored {
            let message = format!(
                "{} holds for any value with a match somewhere in it",
                quote(regex.as_str())
            );
            let help = "write `^(?:…)$` to match the whole value";
            let diagnostic = Diagnostic::new(Code::UnanchoredRegex, message).help(help);
            warn(problems, &condition.pointer, condition.place, diagnostic);
        }
    }
}

/// A bound on an argument is no bound on a call that leaves it out, unless something else asks for it.
fn absent_arguments(entry: &EntryForm, problems: &mut Problems) {
    for rule in &entry.deny_if {
        for condition in &rule.conditions {
            if !matches!(condition.op, Op::Lt | Op::Lte | Op::Gt | Op::Gte) {
                continue;
            }
            let path = condition.path.to_string();
            if condition.path.has_wildcard() || is_demanded(entry, &path) {
                continue;
            }
            let message = format!("a call without {} passes this rule", quote(&path));
            let help = format!(
                "if that is not meant, add to `require`: `{{\"conditions\": [{{\"path\": \"{path}\", \"op\": \"exists\", \"value\": true}}]}}`"
            );
            let diagnostic = Diagnostic::new(Code::AbsentArgument, message).help(help);
            warn(problems, &condition.pointer, condition.place, diagnostic);
        }
    }
}

/// Whether the entry refuses a call that lacks the argument.
fn is_demanded(entry: &EntryForm, path: &str) -> bool {
    let same = |other: &str| {
        other == path
            || other
                .strip_prefix(path)
                .is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    let present = |condition: &ConditionForm| {
        let holds_if_absent = match (condition.op, &condition.operand) {
            (Op::Neq | Op::NotIn, _) => true,
            (Op::Exists, Operand::Bool(wanted)) => !wanted,
            _ => false,
        };
        !holds_if_absent && same(&condition.path.to_string())
    };
    let absent = |condition: &ConditionForm| {
        matches!(
            (condition.op, &condition.operand),
            (Op::Exists, Operand::Bool(false))
        ) && condition.path.to_string() == path
    };
    let enforced = |rule: &&RuleForm| rule.mode == Mode::Enforce;
    let costs = |limit: &LimitForm| {
        matches!(&limit.cost.value, CostForm::Arg(cost) if cost.to_string() == path)
            && limit.mode == Mode::Enforce
    };
    entry
        .require
        .iter()
        .filter(enforced)
        .any(|rule| rule.conditions.iter().any(present))
        || entry.limits.iter().any(costs)
        || entry
            .deny_if
            .iter()
            .filter(enforced)
            .any(|rule| matches!(rule.conditions.as_slice(), [only] if absent(only)))
}

fn session(limit: &LimitForm, problems: &mut Problems) {
    if limit.scope.value == Scope::Session {
        let message = "an agent that opens a new session starts this count afresh";
        let help = if limit.short {
            "write it under `limits` with `\"scope\": \"grant\"`"
        } else {
            "use `\"scope\": \"grant\"`"
        };
        let diagnostic = Diagnostic::new(Code::SessionScope, message).help(help);
        limit.report(&limit.scope, problems, diagnostic);
    }
}

fn maximum(limit: &LimitForm, quota: &Quota, problems: &mut Problems) {
    let max = limit.max.value;
    let Some(units) = floor_units(max, quota.scale) else {
        return;
    };
    let (most, what) = match quota.counting.algorithm() {
        Algorithm::Bucket { burst, .. } => (burst, "burst"),
        _ => (units, "max"),
    };
    let amount = |units| Decimal::from_units(units, quota.scale);
    let message = match quota.cost {
        _ if most == 0 => "a max of 0 admits no call".to_owned(),
        Cost::Units(cost) if cost > most => format!(
            "a call costs {}, more than the {what} of {}: none is admitted",
            amount(cost),
            amount(most)
        ),
        _ => {
            if max.decimals() > quota.scale {
                let acts = amount(units);
                let message = format!("a max of {max} acts as {acts}: no finer amount is counted");
                limit.report(
                    &limit.max,
                    problems,
                    Diagnostic::new(Code::RoundedMax, message),
                );
            }
            return;
        }
    };
    let help = "to deny a tool, write `\"action\": \"deny\"`";
    let diagnostic = Diagnostic::new(Code::AdmitsNothing, message).help(help);
    limit.report(&limit.max, problems, diagnostic);
}

fn suspicious(name: &Name, problems: &mut Problems) {
    let text = name.pattern.as_str();
    if text.trim() != text || text.contains(char::is_control) {
        let message = format!(
            "{} has a blank at an end or a control character in it",
            quote(text)
        );
        let diagnostic = Diagnostic::new(Code::SuspiciousName, message);
        warn(problems, &name.pointer, name.place, diagnostic);
    }
}

fn unknown_method(entry: &EntryForm, problems: &mut Problems) {
    let pattern = &entry.name.pattern;
    if pattern.is_literal() && message::canonical(pattern.as_str()).is_none() {
        let text = quote(pattern.as_str());
        let message = format!("no revision of the protocol has a request {text}");
        let diagnostic = Diagnostic::new(Code::UnknownMethod, message);
        warn(problems, &entry.name.pointer, entry.name.place, diagnostic);
    }
}

/// Entries for tools that something else refuses altogether. A pattern that matches another's text, stars and
/// all, matches whatever the other does, since no pattern can ask for a `*`.
fn shadowed(document: &Document, tools: &Names, hide: &Names, problems: &mut Problems) {
    if document.mode == Mode::Shadow {
        return;
    }
    for entry in &document.tools {
        // One that denies agrees with whatever else refuses, and may say why.
        if entry.effect == EntryEffect::Deny {
            continue;
        }
        let mut room = Found::new();
        let found = hide.find(entry.name.pattern.as_str(), &mut room);
        if let Some(by) = found.first().and_then(|by| document.hide.get(*by as usize)) {
            let message = format!(
                "{} is hidden by {} and refused, whatever this entry says",
                quote(entry.name.pattern.as_str()),
                quote(&by.pointer)
            );
            let diagnostic =
                Diagnostic::new(Code::HiddenEntry, message).help("remove one of the two");
            warn(problems, &entry.name.pointer, entry.name.place, diagnostic);
            continue;
        }
        let found = tools.find(entry.name.pattern.as_str(), &mut room);
        let denies =
            |form: &&EntryForm| form.effect == EntryEffect::Deny && form.mode == Mode::Enforce;
        let by = found
            .iter()
            .filter_map(|by| document.tools.get(*by as usize))
            .find(denies);
        if let Some(by) = by {
            let message = format!(
                "{} is denied by {}, whatever this entry says",
                quote(entry.name.pattern.as_str()),
                quote(&by.name.pointer)
            );
            let help = "any denial wins; make the other pattern narrower";
            let diagnostic = Diagnostic::new(Code::ShadowedEntry, message).help(help);
            warn(problems, &entry.name.pointer, entry.name.place, diagnostic);
        }
    }
}

fn different_max(group: &[&LimitForm], problems: &mut Problems) {
    let Some((first, others)) = group.split_first() else {
        return;
    };
    for other in others {
        if other.max.value != first.max.value {
            let message = format!(
                "quota {} has a max of {} here and of {} at {}; they share one count",
                quote(&other.counter),
                other.max.value,
                first.max.value,
                quote(&first.pointer)
            );
            let help = "give both the same `max`, or rename the counter of one";
            let diagnostic = Diagnostic::new(Code::DifferentMax, message).help(help);
            other.report(&other.max, problems, diagnostic);
        }
    }
}
