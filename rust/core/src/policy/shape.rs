//! Reading a tree by expectation: a string here, a list there, these keys and no others.
//!
//! INVARIANT: every function either returns what was asked for or reports why not, exactly once and at the
//! spot itself; callers go on with the rest, which is how all problems come out together.

use super::diagnostic::{Code, Diagnostic, Problems, did_you_mean, quote};
use super::tree::{At, Data, Member, Node, Place};
use super::yaml::is_json_number;
use crate::decimal::Decimal;

/// A node and the way to it.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) node: &'a Node,
    pub(super) at: At<'a>,
}

/// An object whose keys are all known.
pub(super) struct Object<'a> {
    pub(super) cursor: &'a Cursor<'a>,
    members: &'a [Member],
}

impl<'a> Cursor<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node, at: At::ROOT }
    }

    pub(super) fn place(&self) -> Place {
        self.node.place
    }

    pub(super) fn report(&self, problems: &mut Problems, diagnostic: Diagnostic) {
        problems.report(&self.at, self.node.place, diagnostic);
    }

    /// A string with something in it; `what` names it in the message.
    pub(super) fn name(&self, what: &str, problems: &mut Problems) -> Option<&'a str> {
        let text = self.text(problems)?;
        if text.is_empty() {
            self.report(
                problems,
                Diagnostic::new(Code::EmptyText, format!("{what} is empty")),
            );
            return None;
        }
        Some(text)
    }

    pub(super) fn text(&self, problems: &mut Problems) -> Option<&'a str> {
        if let Data::Text { text, .. } = &self.node.data {
            return Some(text);
        }
        let help = match &self.node.data {
            Data::Number(text) => Some(format!("put it in quotes: `\"{text}\"`")),
            Data::Bool(value) => Some(format!("put it in quotes: `\"{value}\"`")),
            _ => None,
        };
        self.wrong_type("a string", help, problems);
        None
    }

    pub(super) fn number(&self, problems: &mut Problems) -> Option<Decimal> {
        let Data::Number(text) = &self.node.data else {
            self.wrong_type("a number", self.number_help(), problems);
            return None;
        };
        self.exact(text, problems)
    }

    /// The number that `text` spells, where it is exact.
    pub(super) fn exact(&self, text: &str, problems: &mut Problems) -> Option<Decimal> {
        if let Ok(number) = Decimal::parse(text.as_bytes()) {
            return Some(number);
        }
        let message = format!(
            "{} has more digits than can be compared exactly",
            quote(text)
        );
        let help = "use at most 15 significant digits";
        self.report(
            problems,
            Diagnostic::new(Code::InexactNumber, message).help(help),
        );
        None
    }

    /// A whole number of at least `least`.
    pub(super) fn whole(&self, least: u64, problems: &mut Problems) -> Option<u64> {
        let number = self.number(problems)?;
        match number.to_units(0) {
            Ok(whole) if whole >= least => Some(whole),
            _ => {
                let message = format!("{number} is not a whole number of at least {least}");
                self.report(problems, Diagnostic::new(Code::BadNumber, message));
                None
            }
        }
    }

    /// What to write where a number is wanted and text was found.
    fn number_help(&self) -> Option<String> {
        let Data::Text { text, plain } = &self.node.data else {
            return None;
        };
        if is_json_number(text.as_bytes()) {
            return Some(format!("remove the quotes: `{text}`"));
        }
        let looks_numeric = text.bytes().any(|byte| byte.is_ascii_digit()) || text.starts_with('.');
        (*plain && looks_numeric)
            .then(|| "write numbers as JSON does, such as `1000` or `0.5`".to_owned())
    }

    pub(super) fn list(&self, problems: &mut Problems) -> Option<&'a [Node]> {
        self.list_or("put it in a list: `[…]`", problems)
    }

    /// A list; `help` is for what is none.
    pub(super) fn list_or(&self, help: &str, problems: &mut Problems) -> Option<&'a [Node]> {
        if let Data::List(list) = &self.node.data {
            return Some(list);
        }
        let help = match self.node.data {
            Data::Null => "write `[]`, or leave the key out",
            _ => help,
        };
        self.wrong_type("a list", Some(help.to_owned()), problems);
        None
    }

    pub(super) fn map(&self, problems: &mut Problems) -> Option<&'a [Member]> {
        if let Data::Map(members) = &self.node.data {
            return Some(members);
        }
        let help = matches!(self.node.data, Data::Null).then(|| "write `{}`".to_owned());
        self.wrong_type("an object", help, problems);
        None
    }

    /// An object; each key that is not among `known` is reported.
    pub(super) fn object<'b>(
        &'b self,
        known: &[&str],
        problems: &mut Problems,
    ) -> Option<Object<'b>> {
        let members = self.map(problems)?;
        for member in members {
            if !known.contains(&&*member.key) {
                let at = self.at.key(&member.key);
                if problems.full() {
                    // Counted, without the search for a likeness.
                    problems.add(Diagnostic::new(Code::UnknownKey, ""));
                    continue;
                }
                let help = match did_you_mean(&member.key, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("the keys here are {}", words(known, "and")),
                };
                let message = format!("unknown key {}", quote(&member.key));
                let diagnostic = Diagnostic::new(Code::UnknownKey, message).help(help);
                problems.report(&at, member.place, diagnostic);
            }
        }
        Some(Object {
            cursor: self,
            members,
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        options: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let text = self.text(problems)?;
        if let Some((_, value)) = options.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = options.iter().map(|(word, _)| *word).collect();
        let message = format!("{} is not one of {}", quote(text), words(&known, "or"));
        let help = did_you_mean(text, known).map(|meant| format!("did you mean `{meant}`?"));
        self.report(
            problems,
            Diagnostic::new(Code::UnknownValue, message).maybe_help(help),
        );
        None
    }

    pub(super) fn wrong_type(&self, wanted: &str, help: Option<String>, problems: &mut Problems) {
        let found = match &self.node.data {
            Data::Unread => return,
            Data::Text { text, .. } if text.len() <= 64 => format!("the string {}", quote(text)),
            Data::Number(text) if text.len() <= 64 => format!("the number {}", quote(text)),
            Data::Bool(value) => format!("`{value}`"),
            Data::Null => "`null`".to_owned(),
            _ => self.node.kind().to_owned(),
        };
        let message = format!("expected {wanted}, found {found}");
        self.report(
            problems,
            Diagnostic::new(Code::WrongType, message).maybe_help(help),
        );
    }
}

impl<'a> Object<'a> {
    pub(super) fn get(&self, key: &'a str) -> Option<Cursor<'a>> {
        let member = self.members.iter().find(|member| *member.key == *key)?;
        Some(Cursor {
            node: &member.value,
            at: self.cursor.at.key(key),
        })
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, key: &'a str, problems: &mut Problems) -> Option<Cursor<'a>> {
        let found = self.get(key);
        if found.is_none() {
            let message = format!("`{key}` is missing");
            self.cursor
                .report(problems, Diagnostic::new(Code::MissingKey, message));
        }
        found
    }

    /// The text of a key that may be absent.
    pub(super) fn text(&self, key: &'a str, problems: &mut Problems) -> Option<String> {
        self.get(key)?.text(problems).map(str::to_owned)
    }

    /// The place of a key itself, or of the object where the key is absent.
    pub(super) fn key_place(&self, key: &str) -> Place {
        self.members
            .iter()
            .find(|member| *member.key == *key)
            .map_or(self.cursor.place(), |member| member.place)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.members.iter().any(|member| *member.key == *key)
    }

    pub(super) fn pointer(&self) -> String {
        self.cursor.at.pointer()
    }

    /// Reports at the key, not at its value.
    pub(super) fn report_key(&self, key: &str, problems: &mut Problems, diagnostic: Diagnostic) {
        problems.report(&self.cursor.at.key(key), self.key_place(key), diagnostic);
    }
}

/// `` `a`, `b` or `c` ``, with the last word before the last.
pub(super) fn words(words: &[&str], conjunction: &str) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            if index + 1 == words.len() {
                text.push(' ');
                text.push_str(conjunction);
                text.push(' ');
            } else {
                text.push_str(", ");
            }
        }
        text.push('`');
        text.push_str(word);
        text.push('`');
    }
    text
}
