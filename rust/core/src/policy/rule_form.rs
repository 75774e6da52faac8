//! Rules and conditions as written: an argument path, an operator, and a value that suits it.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use super::Mode;
use super::condition::{ArgPath, Op, Operand};
use super::diagnostic::{Code, Diagnostic, Problems, did_you_mean, quote};
use super::document::{Reading, read_mode};
use super::shape::{Cursor, words};
use super::tree::{Data, Place};

/// Keys of a rule.
pub(super) const RULE_KEYS: &[&str] = &["conditions", "on_deny", "mode", "description"];
/// Keys of a condition.
pub(super) const CONDITION_KEYS: &[&str] = &["path", "op", "value"];

/// A rule as written.
pub(super) struct RuleForm {
    pub(super) pointer: String,
    pub(super) place: Place,
    pub(super) conditions: Vec<ConditionForm>,
    pub(super) on_deny: Option<String>,
    pub(super) mode: Mode,
}

/// A condition as written.
pub(super) struct ConditionForm {
    pub(super) pointer: String,
    pub(super) place: Place,
    pub(super) path: ArgPath,
    pub(super) op: Op,
    pub(super) operand: Operand,
}

impl RuleForm {
    pub(super) fn read(
        cursor: &Cursor<'_>,
        above: Mode,
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        let object = cursor.object(RULE_KEYS, reading.problems)?;
        let mode = read_mode(&object, above, reading.problems);
        let on_deny = object.text("on_deny", reading.problems);
        object.text("description", reading.problems);
        let mut conditions = Vec::new();
        if let Some(list) = object.get("conditions") {
            let help = "write a list of conditions: `[{\"path\": …, \"op\": …, \"value\": …}]`";
            let nodes = list.list_or(help, reading.problems)?;
            for (index, node) in nodes.iter().enumerate() {
                let at = list.at.index(index);
                conditions.extend(ConditionForm::read(&Cursor { node, at }, reading));
            }
        }
        Some(Self {
            pointer: object.pointer(),
            place: cursor.place(),
            conditions,
            on_deny,
            mode,
        })
    }
}

impl ConditionForm {
    fn read(cursor: &Cursor<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let problems = &mut *reading.problems;
        let object = cursor.object(CONDITION_KEYS, problems)?;
        let path = object
            .require("path", problems)
            .and_then(|path| read_path(&path, problems));
        let op = object
            .require("op", problems)
            .and_then(|op| read_op(&op, problems));
        let value = object.require("value", problems);
        let operand = operand(op?, &value?, reading)?;
        Some(Self {
            pointer: object.pointer(),
            place: cursor.place(),
            path: path?,
            op: op?,
            operand,
        })
    }
}

/// An argument path of any kind.
pub(super) fn read_path(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<ArgPath> {
    let text = cursor.text(problems)?;
    match ArgPath::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            let message = format!("{} is not an argument path: {}", quote(text), error.message);
            let help = "a path is written `args.name`, `args.list[0].name` or `args.list[*]`";
            cursor.report(problems, Diagnostic::new(Code::BadPath, message).help(help));
            None
        }
    }
}

/// An argument path that names one value: not all arguments, and not each element of a list.
pub(super) fn read_single_path(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<ArgPath> {
    let path = read_path(cursor, problems)?;
    let why = if path.has_wildcard() {
        "can name several values, and here one is wanted"
    } else if path.as_str() == "args" {
        "names all arguments, and here one is wanted"
    } else {
        return Some(path);
    };
    let message = format!("{} {why}", quote(path.as_str()));
    let help = "name one argument, such as `args.amount`";
    cursor.report(problems, Diagnostic::new(Code::BadPath, message).help(help));
    None
}

fn read_op(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<Op> {
    let text = cursor.text(problems)?;
    if let Some(op) = Op::from_name(text) {
        return Some(op);
    }
    let names: Vec<&str> = Op::ALL.iter().map(|op| op.name()).collect();
    let symbol = match text {
        "=" | "==" | "===" | "equals" | "is" => Some("eq"),
        "!=" | "<>" | "ne" | "not_eq" => Some("neq"),
        "<" => Some("lt"),
        "<=" | "le" => Some("lte"),
        ">" => Some("gt"),
        ">=" | "ge" => Some("gte"),
        "nin" | "not in" | "notin" => Some("not_in"),
        "matches" | "match" | "=~" | "regexp" | "pattern" => Some("regex"),
        "has" | "includes" => Some("contains"),
        _ => did_you_mean(text, names.iter().copied()),
    };
    let message = format!("{} is not one of {}", quote(text), words(&names, "or"));
    let help = symbol.map(|meant| format!("did you mean `{meant}`?"));
    cursor.report(
        problems,
        Diagnostic::new(Code::UnknownValue, message).maybe_help(help),
    );
    None
}

/// The value of a condition, where it suits the operator.
fn operand(op: Op, value: &Cursor<'_>, reading: &mut Reading<'_>) -> Option<Operand> {
    let problems = &mut *reading.problems;
    let wanted = match (op, &value.node.data) {
        (Op::Exists, Data::Bool(exists)) => return Some(Operand::Bool(*exists)),
        (Op::Exists, _) => "`true` or `false`",
        (Op::Regex, Data::Text { text, .. }) => return reading.regex(text, value),
        (Op::Regex, _) => "a regular expression in a string",
        (Op::In | Op::NotIn, Data::List(list)) => {
            let mut operands = Vec::with_capacity(list.len());
            for (index, node) in list.iter().enumerate() {
                let at = value.at.index(index);
                operands.push(scalar(op, &Cursor { node, at }, problems));
            }
            return operands
                .into_iter()
                .collect::<Option<_>>()
                .map(Operand::List);
        }
        (Op::In | Op::NotIn, _) => "a list",
        (Op::Lt | Op::Lte | Op::Gt | Op::Gte, Data::Number(_) | Data::Text { .. })
        | (
            Op::Eq | Op::Neq | Op::Contains,
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text { .. },
        ) => return scalar(op, value, problems),
        (Op::Lt | Op::Lte | Op::Gt | Op::Gte, _) => "a number or a string",
        (Op::Eq | Op::Neq | Op::Contains, _) => "a string, a number, a boolean or null",
    };
    refuse_operand(op, wanted, value, problems);
    None
}

/// A value that is no list and no object.
fn scalar(op: Op, value: &Cursor<'_>, problems: &mut Problems) -> Option<Operand> {
    match &value.node.data {
        Data::Null => Some(Operand::Null),
        Data::Bool(value) => Some(Operand::Bool(*value)),
        Data::Number(_) => value.number(problems).map(Operand::Number),
        Data::Text { text, .. } => Some(Operand::Text(text.to_string())),
        Data::List(_) | Data::Map(_) | Data::Unread => {
            refuse_operand(op, "a string, a number, a boolean or null", value, problems);
            None
        }
    }
}

fn refuse_operand(op: Op, wanted: &str, value: &Cursor<'_>, problems: &mut Problems) {
    if matches!(value.node.data, Data::Unread) {
        return;
    }
    let found = value.node.kind();
    let message = format!("`{}` compares with {wanted}, not with {found}", op.name());
    let help = match (op, &value.node.data) {
        (Op::Eq, Data::List(_)) => Some("did you mean `in`?"),
        (Op::Neq, Data::List(_)) => Some("did you mean `not_in`?"),
        (Op::In | Op::NotIn, Data::List(_) | Data::Map(_)) => None,
        (Op::In | Op::NotIn, _) => Some("put it in a list: `[…]`"),
        (Op::Exists, Data::Text { .. }) => Some("write `true` or `false`, without quotes"),
        _ => None,
    };
    let diagnostic = Diagnostic::new(Code::WrongOperand, message);
    value.report(problems, diagnostic.maybe_help(help.map(str::to_owned)));
}

/// The regular expressions of one policy, each compiled once, within a bound for all.
#[derive(Default)]
pub(super) struct Regexes {
    compiled: HashMap<String, Regex>,
    bytes: usize,
}

impl Regexes {
    /// The bounds on one expression: each is tried with the least and with twice as much until it holds, which
    /// says about how large it is and takes no more than twice as long.
    const LEAST: usize = 8 << 10;
    const MOST: usize = 1 << 20;
    /// All expressions of a policy together, by those sizes.
    const TOGETHER: usize = 32 << 20;

    /// The error is absent where the bound for all was passed before, and that was said.
    fn compile(&mut self, text: &str) -> Result<Regex, Option<Diagnostic>> {
        if let Some(regex) = self.compiled.get(text) {
            return Ok(regex.clone());
        }
        if self.bytes > Self::TOGETHER {
            return Err(None);
        }
        let mut size = Self::LEAST;
        let compiled = loop {
            match RegexBuilder::new(text).size_limit(size).build() {
                Err(regex::Error::CompiledTooBig(_)) if size < Self::MOST => size *= 2,
                compiled => break compiled,
            }
        };
        // One that is too large counts, too: finding out took its time.
        self.bytes += size;
        let message = match compiled {
            Ok(_) if self.bytes > Self::TOGETHER => {
                "the regular expressions of the policy are too large together".to_owned()
            }
            Ok(regex) => {
                self.compiled.insert(text.to_owned(), regex.clone());
                return Ok(regex);
            }
            Err(regex::Error::CompiledTooBig(_)) => {
                format!("{} takes more than 1 MiB when compiled", quote(text))
            }
            // The last line names the cause; those before draw the expression.
            Err(error) => {
                let error = error.to_string();
                let cause = error.lines().last().unwrap_or_default();
                let cause = cause.strip_prefix("error: ").unwrap_or(cause);
                format!("{} is not a regular expression: {cause}", quote(text))
            }
        };
        Err(Some(Diagnostic::new(Code::BadRegex, message)))
    }
}

impl Reading<'_> {
    fn regex(&mut self, text: &str, value: &Cursor<'_>) -> Option<Operand> {
        match self.regexes.compile(text) {
            Ok(regex) => Some(Operand::Pattern(regex)),
            Err(diagnostic) => {
                if let Some(diagnostic) = diagnostic {
                    value.report(self.problems, diagnostic);
                }
                None
            }
        }
    }
}
