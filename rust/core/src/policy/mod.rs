//! The policy: what its author wrote, compiled once into rules that are looked up by name.
//!
//! A document goes through a generic tree with places ([`tree`]), then its typed written form, then here.
//! INVARIANT: a [`PolicySet`] is immutable and whole. A document with any error makes none, so a rule that
//! could not be read is never a rule that is missing.

mod compile;
pub mod condition;
mod diagnostic;
mod document;
mod limit_form;
mod lint;
mod names;
mod quotas;
mod rule_form;
mod shape;
pub mod tree;
mod window;
mod yaml;

#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use self::condition::{ArgPath, Condition};
pub use self::diagnostic::{Code, Diagnostic, Severity, did_you_mean, quote};
use self::names::{Folded, Names};
use crate::limit::Counting;
use crate::ratelimit::Wording;

/// Allow or deny, where nothing names the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The call passes.
    Allow,
    /// The call is refused.
    Deny,
}

/// Whether a rule refuses or only says that it would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What it decides is done.
    #[default]
    Enforce,
    /// What it decides is counted and recorded, and never refuses.
    Shadow,
}

impl Mode {
    /// The mode of a part that says `own` inside a whole that says `self`: shadow above is shadow below.
    #[must_use]
    pub const fn under(self, own: Self) -> Self {
        match (self, own) {
            (Self::Enforce, Self::Enforce) => Self::Enforce,
            _ => Self::Shadow,
        }
    }
}

/// What an entry does with a call before its rules are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryEffect {
    /// The call goes on to the rules.
    #[default]
    Allow,
    /// The call is refused.
    Deny,
    /// The call needs a person's approval.
    RequireApproval,
}

/// Who shares a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Each grant has its own, on each server.
    #[default]
    Grant,
    /// Each session has its own.
    Session,
    /// All grants share one, on each server.
    Server,
    /// All grants on all servers share one.
    Global,
}

/// Entries that apply to one message: at most a handful.
pub type Entries<'p> = SmallVec<[&'p Entry; 8]>;

/// A quota of one policy; an index into [`PolicySet::quotas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaId(pub u32);

/// What one name or pattern of `tools` or `methods` says, or `all_tools`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// RFC 6901, `/tools/x`.
    pub pointer: String,
    /// What it does with a call as a whole.
    pub effect: EntryEffect,
    /// What the agent is told about that.
    pub reason: Option<String>,
    /// The document's mode included.
    pub mode: Mode,
    /// Any that holds refuses.
    pub deny_if: Vec<Rule>,
    /// Each must hold.
    pub require: Vec<Rule>,
    /// Any that holds asks for a person's approval.
    pub approval: Vec<Rule>,
    /// All are tested, all or none are charged.
    pub limits: Vec<LimitUse>,
    /// Index into [`PolicySet::labels`].
    pub label: u32,
}

impl Entry {
    /// Nothing in it refuses a call but its limits.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.effect == EntryEffect::Allow
            && self.deny_if.is_empty()
            && self.require.is_empty()
            && self.approval.is_empty()
    }
}

/// Conditions that hold together; none of them always holds.
#[derive(Clone, Debug)]
pub struct Rule {
    /// RFC 6901, `/tools/x/deny_if/0`.
    pub pointer: String,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// What the agent is told.
    pub on_deny: Option<String>,
    /// The modes above included.
    pub mode: Mode,
}

/// One place that tests a quota.
#[derive(Clone, Debug)]
pub struct LimitUse {
    /// RFC 6901, `/tools/x/limits/0`.
    pub pointer: String,
    /// Which count is tested; places that share it are charged once.
    pub quota: QuotaId,
    /// Units of the quota's scale.
    pub max: u64,
    /// What the agent is told.
    pub on_deny: Option<String>,
    /// The modes above included.
    pub mode: Mode,
}

/// One count: everything of a limit but the number that it may reach.
#[derive(Clone, Debug)]
pub struct Quota {
    /// As the author named it.
    pub counter: String,
    /// Who shares it.
    pub scope: Scope,
    /// A separate count per value of this argument.
    pub key: Option<ArgPath>,
    /// How it counts.
    pub counting: Counting,
    /// The window as first written: `minute`, `90s`; empty for concurrency.
    pub window_text: String,
    /// What a call costs.
    pub cost: Cost,
    /// A unit is `10^-scale`.
    pub scale: u8,
    /// The first half of a SHA-256 over what gives the count its meaning, each part with its length before it.
    /// The max, the texts and the position are no part of it, so that an edit of those keeps what was counted.
    pub identity: [u8; 16],
    /// Its own [`QuotaId`], for listings of the table; part of no decision.
    pub label: u32,
    /// What the client is told of it whoever asks.
    pub(crate) wording: Wording,
}

/// What a call costs.
#[derive(Clone, Debug)]
pub enum Cost {
    /// The same for every call, units.
    Units(u64),
    /// What this argument says.
    Arg(ArgPath),
}

/// A compiled policy.
#[derive(Debug)]
pub struct PolicySet {
    name: String,
    digest: String,
    warnings: Vec<Diagnostic>,
    default: Effect,
    mode: Mode,
    entries: Vec<Entry>,
    /// Index into `entries`.
    all_tools: Option<usize>,
    quotas: Vec<Quota>,
    labels: Vec<String>,
    tools: Names,
    methods: Names,
    hide: Names,
    hide_pointers: Vec<String>,
    folded: Folded,
}

impl PolicySet {
    /// Reads and compiles a document. The ending of `name` (`.json`, `.yaml`, `.yml`) says how it is written;
    /// with any other name, a document that begins with `{` is JSON.
    ///
    /// # Errors
    /// Every problem of the document in its order, warnings apart: those are for a policy that loads.
    pub fn parse(source: &[u8], name: &str) -> Result<Self, Vec<Diagnostic>> {
        compile::parse(source, name)
    }

    /// As given to [`Self::parse`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the source, 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What its author should know.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// What becomes of a tool that no entry of `tools` names.
    #[must_use]
    pub const fn default_effect(&self) -> Effect {
        self.default
    }

    /// The document's own mode, under which `default` and `hide` act.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The first element of `hide` that names `tool`, as a pointer.
    #[must_use]
    pub fn hidden(&self, tool: &str) -> Option<&str> {
        if !self.hides_anything() {
            return None;
        }
        let first = *self.hide.find(tool, &mut SmallVec::new()).first()?;
        self.hide_pointers.get(first as usize).map(String::as_str)
    }

    /// Whether any tool is hidden, so that lists have to be looked through.
    #[must_use]
    pub fn hides_anything(&self) -> bool {
        !self.hide_pointers.is_empty()
    }

    /// Adds to `out` the entries of `tools` that name `tool`, in the order of the document, each once. Tells
    /// whether one of them is for this very name.
    pub fn tool_entries<'p>(&'p self, tool: &str, out: &mut Entries<'p>) -> bool {
        self.find_entries(&self.tools, tool, out)
    }

    /// Adds to `out` the entries of `methods` that name `method`, in the order of the document, each once.
    pub fn method_entries<'p>(&'p self, method: &str, out: &mut Entries<'p>) {
        self.find_entries(&self.methods, method, out);
    }

    fn find_entries<'p>(&'p self, names: &Names, name: &str, out: &mut Entries<'p>) -> bool {
        let mut room = SmallVec::new();
        let (ids, literal) = names.find_or_match(name, &mut room);
        for id in ids {
            if let Some(entry) = self.entries.get(*id as usize) {
                out.push(entry);
            }
        }
        literal
    }

    /// The entry that goes for every tool call, `default` notwithstanding.
    #[must_use]
    pub fn all_tools(&self) -> Option<&Entry> {
        self.entries.get(self.all_tools?)
    }

    /// Every entry, in the order of the document.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The quota of an id of this policy.
    ///
    /// # Panics
    /// With an id of another policy.
    #[must_use]
    pub fn quota(&self, id: QuotaId) -> &Quota {
        &self.quotas[id.0 as usize]
    }

    /// All quotas, by id.
    #[must_use]
    pub fn quotas(&self) -> &[Quota] {
        &self.quotas
    }

    /// Whether `tools` or `hide` has this very name, not a pattern that matches it.
    #[must_use]
    pub fn names_literally(&self, tool: &str) -> bool {
        self.tools.has_literal(tool) || self.hide.has_literal(tool)
    }

    /// Whether `tool` differs only in the case of ASCII letters from something that `tools` or `hide` names and
    /// it does not match itself: a server that ignores case would take it for that. Never so for a name that
    /// is written in the policy.
    #[must_use]
    pub fn folded_conflict(&self, tool: &str) -> bool {
        self.folded.conflict(tool, &self.tools, &self.hide)
    }

    /// The names of all entries, each once: the words that metrics may use for a tool or a method.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }
}

/// JSON Schema (draft 2020-12) of the document, for editors and CI.
#[must_use]
pub const fn policy_schema() -> &'static str {
    include_str!("policy.schema.json")
}
