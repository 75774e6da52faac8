//! What is wrong with a policy, where, and what to write instead.
//!
//! INVARIANT: a [`Diagnostic`] carries a code from [`Code::ALL`], a JSON pointer into the document and a
//! 1-based place, so that a person, an editor and a test can all find the same spot.

use std::fmt::Write as _;

use super::tree::{At, Place};

/// Whether a problem keeps the policy from loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy loads; `check` tells its author.
    Warning,
}

/// One problem, as data; the command line gives it its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// A slug from [`Code::ALL`].
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// One line, lower case, no final stop, the author's text in backticks.
    pub message: String,
    /// What to do about it, where that can be said.
    pub help: Option<String>,
    /// RFC 6901 pointer to the key or value; empty for the whole document.
    pub pointer: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

macro_rules! codes {
    ($($name:ident $slug:literal $severity:ident $meaning:literal;)+) => {
        /// Every kind of problem a policy can have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $meaning] $name,)+
        }

        impl Code {
            /// All of them, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name that users see and may rely on.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)+ }
            }

            /// Whether it keeps a policy from loading.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }

            /// One sentence for the reference.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }
        }
    };
}

codes! {
    Encoding "encoding" Error "The document is not UTF-8, or begins with a byte order mark.";
    Syntax "syntax" Error "The document is not valid JSON or YAML.";
    TooLarge "too-large" Error "The document is larger than 1 MiB.";
    TooDeep "too-deep" Error "The document is nested deeper than 64 levels.";
    TooManyKeys "too-many-keys" Error "The document has more than 100,000 keys and values.";
    YamlFeature "yaml-feature" Error "The document uses a part of YAML that is not taken here: an anchor, alias, tag, merge key, complex key or second document.";
    DuplicateKey "duplicate-key" Error "An object has the same key twice.";
    UnknownKey "unknown-key" Error "An object has a key that means nothing there.";
    MissingKey "missing-key" Error "A required key is absent.";
    WrongType "wrong-type" Error "A value has another type than its key takes.";
    UnsupportedVersion "unsupported-version" Error "The document is written in a version of the policy language that this build does not read.";
    UnknownValue "unknown-value" Error "A value is not one of the words its key takes.";
    EmptyText "empty-text" Error "A name, a pattern or a counter is empty.";
    NameTooLong "name-too-long" Error "A name or a pattern has more than 256 characters.";
    WrongMethod "wrong-method" Error "An entry of `methods` names a request that is ruled elsewhere.";
    BadPath "bad-path" Error "An argument path cannot be read, or cannot be used where it stands.";
    WrongOperand "wrong-operand" Error "A condition's value does not suit its operator.";
    BadRegex "bad-regex" Error "A regular expression cannot be compiled within its bounds.";
    BadNumber "bad-number" Error "A number is out of the range its key takes.";
    InexactNumber "inexact-number" Error "A number has more digits than can be compared exactly.";
    BadWindow "bad-window" Error "A window cannot be read or is out of range.";
    BadRate "bad-rate" Error "A short-form rate cannot be read.";
    BadBurst "bad-burst" Error "A token bucket's burst is less than 1 or more than its max.";
    ConflictingKeys "conflicting-keys" Error "Two keys that exclude each other stand together.";
    QuotaConflict "quota-conflict" Error "One quota is given different algorithms, costs or scales.";
    LimitTooLarge "limit-too-large" Error "A max is larger than a count can hold at its scale.";
    TooManyRules "too-many-rules" Error "The policy has more entries, rules or patterns than can be compiled in bounded time.";
    TooManyProblems "too-many-problems" Error "More problems were found than are listed.";
    SessionScope "session-scope" Warning "A limit counts per session, and an agent can open a new session.";
    DifferentMax "different-max" Warning "One quota is given a different max in several places.";
    AdmitsNothing "admits-nothing" Warning "A limit can never admit a call.";
    RoundedMax "rounded-max" Warning "A max has more decimals than its quota counts and is rounded down.";
    AbsentArgument "absent-argument" Warning "A rule bounds an argument, and a call without the argument passes.";
    HiddenEntry "hidden-entry" Warning "An entry rules a tool that `hide` refuses anyway.";
    ShadowedEntry "shadowed-entry" Warning "An entry can never allow a call, since another entry denies all it names.";
    UnreachableRules "unreachable-rules" Warning "An entry denies every call, so that its rules and limits decide nothing.";
    UnusedReason "unused-reason" Warning "A reason is given for an action that never shows one.";
    NoEffect "no-effect" Warning "A rule or condition holds always or never.";
    UnanchoredRegex "unanchored-regex" Warning "A regular expression that a call must match may match a part of the value only.";
    UnknownMethod "unknown-method" Warning "No revision of the protocol has the method.";
    SuspiciousName "suspicious-name" Warning "A name begins or ends with a blank, or contains a control character.";
}

impl Diagnostic {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: code.slug(),
            severity: code.severity(),
            message: message.into(),
            help: None,
            pointer: String::new(),
            line: 1,
            column: 1,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    pub(super) fn at(mut self, pointer: impl Into<String>, place: Place) -> Self {
        self.pointer = pointer.into();
        self.line = place.line;
        self.column = place.column;
        self
    }
}

/// Problems as they are found, in any order, bounded in number.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Diagnostic>,
    unlisted: usize,
    errors: usize,
}

impl Problems {
    /// More than this many help nobody, and a hostile document could make a hundred thousand.
    const MOST: usize = 200;

    pub(super) fn add(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.full() {
            self.unlisted += 1;
        } else {
            self.found.push(diagnostic);
        }
    }

    pub(super) fn report(&mut self, at: &At<'_>, place: Place, diagnostic: Diagnostic) {
        if self.full() {
            // The pointer would be built for nothing.
            self.add(diagnostic);
        } else {
            self.add(diagnostic.at(at.pointer(), place));
        }
    }

    pub(super) fn full(&self) -> bool {
        self.found.len() >= Self::MOST
    }

    pub(super) fn any_errors(&self) -> bool {
        self.errors > 0
    }

    /// In the order of the document.
    pub(super) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|found| (found.line, found.column));
        if self.unlisted > 0 {
            let place = self.found.last().map_or(Place::START, |last| Place {
                line: last.line,
                column: last.column,
            });
            let message = format!("{} more problems are not listed", self.unlisted);
            let mut more = Diagnostic::new(Code::TooManyProblems, message).at("", place);
            if !self.any_errors() {
                more.severity = Severity::Warning;
            }
            self.found.push(more);
        }
        self.found
    }

    /// In the order of the document, without the warnings: what they say may follow from an error.
    pub(super) fn into_errors(self) -> Vec<Diagnostic> {
        let mut found = self.into_sorted();
        found.retain(|diagnostic| diagnostic.severity == Severity::Error);
        found
    }
}

/// The author's text as a message shows it: in backticks, on one line, not too long.
#[must_use]
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut quoted = String::with_capacity(text.len().min(LONGEST) + 2);
    quoted.push('`');
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST {
            quoted.push('…');
            break;
        }
        if character.is_control() {
            let _ = write!(quoted, "{}", character.escape_unicode());
        } else {
            quoted.push(character);
        }
    }
    quoted.push('`');
    quoted
}

/// The option that `text` was probably meant to be.
pub fn did_you_mean<'o>(text: &str, options: impl IntoIterator<Item = &'o str>) -> Option<&'o str> {
    if text.len() > 64 {
        return None;
    }
    let written = text.to_lowercase();
    let near = |option: &str| strsim::osa_distance(&written, &option.to_lowercase());
    options
        .into_iter()
        .map(|option| (near(option), option))
        .filter(|(distance, option)| *distance <= 1.max(option.chars().count() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, option)| option)
}
