//! Rules before limits: which entry of the policy refuses this message, and which quotas it would use.
//!
//! The order is the policy language's: hidden, default, denials, requirements, approval; limits come after,
//! in the engine, because a refused call costs nothing.
//!
//! INVARIANT: a rule that cannot be decided refuses, in `require` and in `deny_if` alike.

use std::fmt;

use crate::decision::{Code, ShadowDenial};
use crate::json::Value;
use crate::message::{self, Message, Shape};
use crate::pins::{PinMode, Pins};
use crate::policy::condition::Truth;
use crate::policy::{Effect, Entries, Entry, EntryEffect, Mode, PolicySet, Rule};

/// What stands for a rule where it is no rule of the policy that refuses, but the lock of definitions.
const LOCK: &str = "interlock.lock";

/// A refusal by a rule.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// RFC 6901 pointer into the policy.
    pub rule: String,
    /// For the agent.
    pub message: String,
}

/// Watches an evaluation, for `explain`. The hot path has none.
pub trait Witness {
    /// An entry applies.
    fn entry(&mut self, pointer: &str);
    /// A rule was evaluated.
    fn rule(&mut self, pointer: &str, truth: Truth);
}

/// The state of one evaluation: what it looks at, and what shadow mode has recorded so far.
pub struct Evaluation<'p, 'w> {
    /// The policy that decides.
    pub policy: &'p PolicySet,
    /// Every rule only records.
    pub all_shadow: bool,
    /// A person approved the message.
    pub approved: bool,
    /// Told whether that mattered.
    pub lifted: bool,
    /// Filled with what shadow mode recorded.
    pub shadow: Vec<ShadowDenial>,
    /// Told of each step, for people.
    pub witness: Option<&'w mut dyn Witness>,
}

impl<'p> Evaluation<'p, '_> {
    /// Decides a tool call by its rules. The entries that match are added to `entries`, for the limits.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`] in the order of the language.
    pub fn tool(
        &mut self,
        name: &str,
        root: Option<Value<'_>>,
        entries: &mut Entries<'p>,
    ) -> Result<(), Refusal> {
        let policy = self.policy;
        let document = policy.mode();
        if let Some(all) = policy.all_tools() {
            entries.push(all);
        }
        let general = entries.len();
        // A name that an entry spells out is what its author meant, however it looks.
        let literal = policy.tool_entries(name, entries);
        if !literal && !plain_name(name) && !policy.names_literally(name) {
            self.refuse(document, Code::ToolNameInvalid, "/tools", || {
                "the tool name has characters outside `A-Za-z0-9_.-` or more than 128 of them, and \
                 no rule names it literally"
                    .into()
            })?;
        }
        if let Some(rule) = policy.hidden(name) {
            self.refuse(document, Code::Hidden, rule, || {
                format!("there is no tool `{}`", shown(name))
            })?;
        }
        if entries.len() == general && policy.default_effect() == Effect::Deny {
            self.refuse(document, Code::DefaultDeny, "/default", || {
                format!("no rule allows the tool `{}`", shown(name))
            })?;
        }
        if !literal && policy.folded_conflict(name) {
            self.refuse(document, Code::ToolNameInvalid, "/tools", || {
                format!(
                    "`{}` differs only by upper and lower case from a tool that a rule names",
                    shown(name)
                )
            })?;
        }
        self.entries(
            entries,
            What {
                kind: "tool",
                name,
                denied: Code::ToolDenied,
            },
            root,
        )
    }

    /// Decides a message other than a tool call, as [`Evaluation::tool`] does one.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`] in the order of the language.
    pub fn method(
        &mut self,
        message: &Message<'_>,
        revision: Option<&str>,
        root: Option<Value<'_>>,
        entries: &mut Entries<'p>,
    ) -> Result<(), Refusal> {
        let policy = self.policy;
        let Some(method) = message.method.as_ref().map(|text| text.to_cow()) else {
            // A response to the server's own request: the server asked for it.
            return Ok(());
        };
        policy.method_entries(&method, entries);
        if entries.is_empty()
            && policy.default_effect() == Effect::Deny
            && !passes_by_default(&method, message.shape)
        {
            let known = message::known(&method, message.era, revision);
            let code = if known {
                Code::MethodDenied
            } else {
                Code::MethodUnknown
            };
            self.refuse(policy.mode(), code, "/default", || {
                let method = shown(&method);
                if known {
                    format!("no rule allows the method `{method}`")
                } else {
                    format!("there is no method `{method}`")
                }
            })?;
        }
        if message::resembles_known(&method) {
            return Err(Refusal {
                code: Code::MethodUnknown,
                rule: String::new(),
                message: format!(
                    "`{}` differs from a method of the protocol only by case or separators",
                    shown(&method)
                ),
            });
        }
        self.entries(
            entries,
            What {
                kind: "method",
                name: &method,
                denied: Code::MethodDenied,
            },
            root,
        )
    }

    fn entries(
        &mut self,
        entries: &[&Entry],
        what: What<'_>,
        root: Option<Value<'_>>,
    ) -> Result<(), Refusal> {
        if let Some(witness) = self.witness.as_deref_mut() {
            for entry in entries {
                witness.entry(&entry.pointer);
            }
        }
        if entries.iter().all(|entry| entry.is_open()) {
            return Ok(());
        }
        for entry in entries {
            if entry.effect == EntryEffect::Deny {
                let pointer = format!("{}/action", entry.pointer);
                self.refuse(entry.mode, what.denied, &pointer, || {
                    entry
                        .reason
                        .clone()
                        .unwrap_or_else(|| format!("{what} is denied"))
                })?;
            }
        }
        for verb in [Verb::DenyIf, Verb::Require, Verb::Approve] {
            for entry in entries {
                for rule in verb.rules(entry) {
                    self.rule(rule, verb, what, root)?;
                }
                if verb == Verb::Approve && entry.effect == EntryEffect::RequireApproval {
                    let pointer = format!("{}/action", entry.pointer);
                    self.refuse(entry.mode, Code::ApprovalRequired, &pointer, || {
                        entry
                            .reason
                            .clone()
                            .unwrap_or_else(|| format!("{what} needs a person's approval"))
                    })?;
                }
            }
        }
        Ok(())
    }

    fn rule(
        &mut self,
        rule: &Rule,
        verb: Verb,
        what: What<'_>,
        root: Option<Value<'_>>,
    ) -> Result<(), Refusal> {
        let truth = holds(rule, root);
        if let Some(witness) = self.witness.as_deref_mut() {
            witness.rule(&rule.pointer, truth);
        }
        let (code, fallback) = match (verb, truth) {
            (Verb::DenyIf | Verb::Approve, Truth::False) | (Verb::Require, Truth::True) => {
                return Ok(());
            }
            (_, Truth::Indeterminate) => (
                Code::Indeterminate,
                "a rule could not be decided on these arguments",
            ),
            (Verb::DenyIf, Truth::True) => (what.denied, "a rule denies these arguments"),
            (Verb::Require, Truth::False) => (Code::RequirementUnmet, "a requirement is not met"),
            (Verb::Approve, Truth::True) => (
                Code::ApprovalRequired,
                "these arguments need a person's approval",
            ),
        };
        self.refuse(rule.mode, code, &rule.pointer, || match &rule.on_deny {
            Some(text) => text.clone(),
            None => format!("{what}: {fallback}"),
        })
    }

    /// Refuses a tool that is not as its definition is pinned.
    ///
    /// # Errors
    ///
    /// That [`Refusal`].
    pub fn pinned(&mut self, name: &str, pins: Option<&Pins>) -> Result<(), Refusal> {
        let Some(pins) = pins.filter(|pins| !pins.admits(name)) else {
            return Ok(());
        };
        let mode = match pins.mode() {
            PinMode::Enforce => Mode::Enforce,
            PinMode::Warn => Mode::Shadow,
        };
        self.refuse(mode, Code::ToolChanged, LOCK, || {
            format!(
                "the definition of the tool `{}` is not one that a person has reviewed; it cannot be called until \
                 someone has",
                shown(name)
            )
        })
    }

    /// Refuses, or records what would have been refused.
    fn refuse(
        &mut self,
        mode: Mode,
        code: Code,
        rule: &str,
        message: impl FnOnce() -> String,
    ) -> Result<(), Refusal> {
        if self.all_shadow || mode == Mode::Shadow {
            self.shadow.push(ShadowDenial {
                rule: rule.to_owned(),
                code,
            });
            return Ok(());
        }
        if self.approved && code == Code::ApprovalRequired {
            self.lifted = true;
            return Ok(());
        }
        Err(Refusal {
            code,
            rule: rule.to_owned(),
            message: message(),
        })
    }
}

/// What a refusal speaks of; put into words only when there is one.
#[derive(Clone, Copy)]
struct What<'a> {
    kind: &'static str,
    name: &'a str,
    /// The code of a rule that denies it.
    denied: Code,
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}`", self.kind, shown(self.name))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    DenyIf,
    Require,
    Approve,
}

impl Verb {
    fn rules(self, entry: &Entry) -> &[Rule] {
        match self {
            Self::DenyIf => &entry.deny_if,
            Self::Require => &entry.require,
            Self::Approve => &entry.approval,
        }
    }
}

/// All conditions must hold: one that is false settles it, also beside one that cannot be decided.
fn holds(rule: &Rule, root: Option<Value<'_>>) -> Truth {
    let mut truth = Truth::True;
    for condition in &rule.conditions {
        match condition.eval(root) {
            Truth::True => {}
            Truth::False => return Truth::False,
            Truth::Indeterminate => truth = Truth::Indeterminate,
        }
    }
    truth
}

/// Whether the method needs no entry. A notification's name on a request does not make it one: what a server
/// would do with it is not known.
fn passes_by_default(method: &str, shape: Shape) -> bool {
    let notifies = method.starts_with("notifications/");
    notifies == (shape == Shape::Notification) && message::passes_by_default(method)
}

/// "Tool Names" of MCP 2025-11-25: what every server may be expected to compare byte by byte.
fn plain_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// A name as it may be repeated to the agent: no control characters, not without end.
pub(crate) fn shown(name: &str) -> String {
    const MOST: usize = 128;
    // Nearly all names there are.
    if name.len() <= MOST && name.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return name.to_owned();
    }
    let mut text: String = name
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect();
    if name.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}
