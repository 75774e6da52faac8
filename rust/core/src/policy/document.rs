//! The written form of a policy: what each key said, with the places that later problems point at.
//!
//! INVARIANT: a part that could not be read is absent here and its problem is reported, so nothing downstream
//! meets a half-read rule; and since any error refuses the whole policy, an absent part never loosens one.

use super::diagnostic::{Code, Diagnostic, Problems, quote};
use super::limit_form::{LimitForm, rate_limit};
use super::rule_form::{Regexes, RuleForm};
use super::shape::{Cursor, Object};
use super::tree::{At, Data, Place};
use super::{Effect, EntryEffect, Mode};
use crate::pattern::Pattern;

/// Keys of the document.
pub(super) const DOCUMENT_KEYS: &[&str] = &[
    "version",
    "default",
    "mode",
    "hide",
    "all_tools",
    "tools",
    "methods",
    "$schema",
    "description",
];
/// Keys of an entry of `tools` and of `methods`.
pub(super) const ENTRY_KEYS: &[&str] = &[
    "action",
    "reason",
    "require",
    "deny_if",
    "require_approval",
    "limits",
    "rate_limit",
    "mode",
    "description",
];
/// Keys of `all_tools`, which adds to calls what it adds but admits and denies none as a whole.
pub(super) const ALL_TOOLS_KEYS: &[&str] = &[
    "require",
    "deny_if",
    "require_approval",
    "limits",
    "rate_limit",
    "mode",
    "description",
];
pub(super) const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("shadow", Mode::Shadow)];
pub(super) const EFFECTS: &[(&str, Effect)] = &[("allow", Effect::Allow), ("deny", Effect::Deny)];
pub(super) const ACTIONS: &[(&str, EntryEffect)] = &[
    ("allow", EntryEffect::Allow),
    ("deny", EntryEffect::Deny),
    ("require_approval", EntryEffect::RequireApproval),
];

/// Most entries of `tools` and `methods` together, most elements of `hide`, and most rules and limits together.
pub(super) const MOST_RULES: usize = 20_000;
/// Most `*` in patterns where one stands elsewhere than at one end: each costs every look-up of an unlisted name.
pub(super) const MOST_STARS: usize = 500;
/// Longest name or pattern, characters; the protocol advises 128 for a tool.
const LONGEST_NAME: usize = 256;

/// A whole policy as written.
pub(super) struct Document {
    pub(super) mode: Mode,
    pub(super) default: Effect,
    pub(super) hide: Vec<Name>,
    pub(super) all_tools: Option<EntryForm>,
    pub(super) tools: Vec<EntryForm>,
    pub(super) methods: Vec<EntryForm>,
}

/// A name or pattern and where it stands.
pub(super) struct Name {
    pub(super) pattern: Pattern,
    pub(super) pointer: String,
    pub(super) place: Place,
}

/// An entry of `tools` or `methods`, or `all_tools`.
pub(super) struct EntryForm {
    pub(super) name: Name,
    /// The word that metrics use for it.
    pub(super) label: String,
    pub(super) effect: EntryEffect,
    pub(super) reason: Option<(String, Place)>,
    pub(super) mode: Mode,
    pub(super) deny_if: Vec<RuleForm>,
    pub(super) require: Vec<RuleForm>,
    pub(super) approval: Vec<RuleForm>,
    pub(super) limits: Vec<LimitForm>,
}

/// What reading hands from entry to entry.
pub(super) struct Reading<'p> {
    pub(super) problems: &'p mut Problems,
    pub(super) regexes: Regexes,
    pub(super) rules: usize,
    /// In patterns that are no mere prefix or suffix.
    stars: usize,
}

/// Reads the document; `None` where it is not even an object, or too little of it for the rest to mean anything.
pub(super) fn read(root: Cursor<'_>, problems: &mut Problems) -> Option<Document> {
    let object = root.object(DOCUMENT_KEYS, problems)?;
    read_version(&object, problems);
    let default = object
        .require("default", problems)
        .and_then(|default| default.choice(EFFECTS, problems));
    let mode = read_mode(&object, Mode::Enforce, problems);
    for ignored in ["$schema", "description"] {
        object.text(ignored, problems);
    }
    let mut reading = Reading {
        problems,
        regexes: Regexes::default(),
        rules: 0,
        stars: 0,
    };
    let hide = read_hide(&object, &mut reading);
    let all_tools = object
        .get("all_tools")
        .and_then(|all_tools| read_all_tools(&all_tools, mode, &mut reading));
    let tools = read_entries(&object, "tools", mode, &mut reading);
    let methods = read_entries(&object, "methods", mode, &mut reading);
    let entries = tools.len() + methods.len();
    for (count, what) in [(entries, "entries"), (reading.rules, "rules and limits")] {
        if count > MOST_RULES {
            let message = format!("the policy has {count} {what}; the most is {MOST_RULES}");
            root.report(
                reading.problems,
                Diagnostic::new(Code::TooManyRules, message),
            );
        }
    }
    if reading.stars > MOST_STARS {
        let message = format!(
            "the patterns with a `*` inside have {} of them together; the most is {MOST_STARS}",
            reading.stars
        );
        let help = "patterns such as `read_*` and `*_status` are not bounded";
        let diagnostic = Diagnostic::new(Code::TooManyRules, message).help(help);
        root.report(reading.problems, diagnostic);
    }
    Some(Document {
        mode,
        // Without a readable default the policy is refused; denying is what the rest is judged by.
        default: default.unwrap_or(Effect::Deny),
        hide,
        all_tools,
        tools,
        methods,
    })
}

fn read_version(object: &Object<'_>, problems: &mut Problems) {
    let Some(version) = object.require("version", problems) else {
        return;
    };
    if let Some(text) = version.text(problems) {
        if text != "1" {
            let message = format!("version {} is not one that this build reads", quote(text));
            let diagnostic =
                Diagnostic::new(Code::UnsupportedVersion, message).help("write `\"1\"`");
            version.report(problems, diagnostic);
        }
    }
}

/// Shadow anywhere above makes shadow below.
pub(super) fn read_mode(object: &Object<'_>, above: Mode, problems: &mut Problems) -> Mode {
    let own = object
        .get("mode")
        .and_then(|mode| mode.choice(MODES, problems))
        .unwrap_or_default();
    above.under(own)
}

fn read_hide(object: &Object<'_>, reading: &mut Reading<'_>) -> Vec<Name> {
    let Some(hide) = object.get("hide") else {
        return Vec::new();
    };
    let Some(list) = hide.list(reading.problems) else {
        return Vec::new();
    };
    if list.len() > MOST_RULES {
        let message = format!("`hide` has {} names; the most is {MOST_RULES}", list.len());
        hide.report(
            reading.problems,
            Diagnostic::new(Code::TooManyRules, message),
        );
        return Vec::new();
    }
    list.iter()
        .enumerate()
        .filter_map(|(index, node)| {
            let name = Cursor {
                node,
                at: hide.at.index(index),
            };
            let text = name.text(reading.problems)?;
            read_name(text, &name.at, name.place(), reading)
        })
        .collect()
}

fn read_name(text: &str, at: &At<'_>, place: Place, reading: &mut Reading<'_>) -> Option<Name> {
    if text.chars().count() > LONGEST_NAME {
        let message = format!("a name is at most {LONGEST_NAME} characters long");
        let diagnostic = Diagnostic::new(Code::NameTooLong, message);
        reading.problems.report(at, place, diagnostic);
        return None;
    }
    match Pattern::parse(text) {
        Ok(pattern) => {
            let stars = text.bytes().filter(|byte| *byte == b'*').count();
            let at_one_end = text.starts_with('*') || text.ends_with('*');
            if stars > 1 || !at_one_end {
                reading.stars += stars;
            }
            Some(Name {
                pattern,
                pointer: at.pointer(),
                place,
            })
        }
        Err(error) => {
            let diagnostic = Diagnostic::new(Code::EmptyText, error.to_string())
                .help("write a name, or a pattern with `*`");
            reading.problems.report(at, place, diagnostic);
            None
        }
    }
}

/// Every name; what `all_tools` stands for.
fn any_name(at: &At<'_>, place: Place) -> Option<Name> {
    Some(Name {
        pattern: Pattern::parse("*").ok()?,
        pointer: at.pointer(),
        place,
    })
}

fn read_entries<'a>(
    object: &Object<'a>,
    key: &'a str,
    mode: Mode,
    reading: &mut Reading<'_>,
) -> Vec<EntryForm> {
    let Some(entries) = object.get(key) else {
        return Vec::new();
    };
    let Some(members) = entries.map(reading.problems) else {
        return Vec::new();
    };
    let mut forms = Vec::new();
    for member in members {
        let cursor = Cursor {
            node: &member.value,
            at: entries.at.key(&member.key),
        };
        // An entry with an impossible name is read all the same, for the problems in it.
        let name = read_name(&member.key, &cursor.at, member.place, reading)
            .or_else(|| any_name(&cursor.at, member.place));
        if key == "methods" && &*member.key == "tools/call" {
            let message = "`tools/call` is not ruled by `methods`";
            let diagnostic = Diagnostic::new(Code::WrongMethod, message)
                .help("write the rules of tool calls under `tools` or `all_tools`");
            reading
                .problems
                .report(&cursor.at, member.place, diagnostic);
        }
        if let Some(form) = read_entry(&cursor, &member.key, mode, name, reading) {
            forms.push(form);
        }
    }
    forms
}

fn read_entry(
    cursor: &Cursor<'_>,
    text: &str,
    mode: Mode,
    name: Option<Name>,
    reading: &mut Reading<'_>,
) -> Option<EntryForm> {
    let object = cursor.object(ENTRY_KEYS, reading.problems)?;
    let effect = object
        .get("action")
        .and_then(|action| action.choice(ACTIONS, reading.problems))
        .unwrap_or_default();
    let reason = object.text("reason", reading.problems);
    let reason = reason.map(|reason| (reason, object.key_place("reason")));
    let mut form = read_body(&object, text, mode, name?, reading);
    form.effect = effect;
    form.reason = reason;
    Some(form)
}

fn read_all_tools(cursor: &Cursor<'_>, mode: Mode, reading: &mut Reading<'_>) -> Option<EntryForm> {
    let object = cursor.object(ALL_TOOLS_KEYS, reading.problems)?;
    let name = any_name(&cursor.at, cursor.place())?;
    Some(read_body(&object, "all_tools", mode, name, reading))
}

/// What every kind of entry has.
fn read_body(
    object: &Object<'_>,
    text: &str,
    above: Mode,
    name: Name,
    reading: &mut Reading<'_>,
) -> EntryForm {
    let mode = read_mode(object, above, reading.problems);
    object.text("description", reading.problems);
    let deny_if = read_rules(object, "deny_if", mode, reading);
    let require = read_rules(object, "require", mode, reading);
    let approval = read_rules(object, "require_approval", mode, reading);
    let mut limits = Vec::new();
    if let Some(list) = object.get("limits") {
        for (index, node) in list
            .list(reading.problems)
            .unwrap_or_default()
            .iter()
            .enumerate()
        {
            let at = list.at.index(index);
            reading.rules += 1;
            limits.extend(LimitForm::read(
                &Cursor { node, at },
                mode,
                reading.problems,
            ));
        }
    }
    if let Some(rate) = object.get("rate_limit") {
        reading.rules += 1;
        limits.extend(rate_limit(&rate, text, mode, reading.problems));
    }
    EntryForm {
        name,
        label: text.to_owned(),
        effect: EntryEffect::Allow,
        reason: None,
        mode,
        deny_if,
        require,
        approval,
        limits,
    }
}

fn read_rules<'a>(
    object: &Object<'a>,
    key: &'a str,
    mode: Mode,
    reading: &mut Reading<'_>,
) -> Vec<RuleForm> {
    let Some(rules) = object.get(key) else {
        return Vec::new();
    };
    let mut forms = Vec::new();
    let help = match (key, &rules.node.data) {
        ("require_approval", Data::Bool(_)) => {
            "write `\"action\": \"require_approval\"` where every call needs it"
        }
        _ => "write a list of rules: `[{\"conditions\": […]}]`",
    };
    let list = rules.list_or(help, reading.problems).unwrap_or_default();
    for (index, node) in list.iter().enumerate() {
        let at = rules.at.index(index);
        reading.rules += 1;
        forms.extend(RuleForm::read(&Cursor { node, at }, mode, reading));
    }
    forms
}
