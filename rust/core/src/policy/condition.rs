//! Conditions on the arguments of a call.
//!
//! INVARIANT: a condition is true or false only where every reader of the arguments would agree with that.
//! Where a server might see something else than what is written, because it turns `"5"` into 5, rounds a long
//! number or parses a string that holds JSON, the answer is [`Truth::Indeterminate`], and a rule that meets it
//! refuses, whichever way round it is phrased.

mod path;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;

use regex::{Regex, RegexBuilder};

use crate::decimal::Decimal;
use crate::json::{Kind, Text, Value};
pub use path::{ArgPath, Lookup, PathError};

/// Longest text, in bytes, that a regular expression is run on.
const REGEX_INPUT: usize = 64 << 10;

/// Bytes that a compiled regular expression may take.
const REGEX_SIZE: usize = 1 << 20;

/// How an argument is compared with the value in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Less than.
    Lt,
    /// Less than or equal.
    Lte,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Gte,
    /// One of a list.
    In,
    /// None of a list.
    NotIn,
    /// There (true) or not (false).
    Exists,
    /// A text in which a regular expression finds something.
    Regex,
    /// A text with this text in it, or an array with this element.
    Contains,
}

impl Op {
    /// All there are.
    pub const ALL: [Self; 11] = [
        Self::Eq,
        Self::Neq,
        Self::Lt,
        Self::Lte,
        Self::Gt,
        Self::Gte,
        Self::In,
        Self::NotIn,
        Self::Exists,
        Self::Regex,
        Self::Contains,
    ];

    /// The name it has in a policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Neq => "neq",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::In => "in",
            Self::NotIn => "not_in",
            Self::Exists => "exists",
            Self::Regex => "regex",
            Self::Contains => "contains",
        }
    }

    /// The operator of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a policy compares an argument with.
#[derive(Clone, Debug)]
pub enum Operand {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Decimal),
    /// A text.
    Text(String),
    /// Several, for [`Op::In`] and [`Op::NotIn`].
    List(Vec<Operand>),
    /// A regular expression, for [`Op::Regex`].
    Pattern(Regex),
}

impl Operand {
    /// Compiles a regular expression: linear in time, not anchored, at most 1 MiB when compiled.
    ///
    /// # Errors
    ///
    /// If it is not one, or too large.
    pub fn pattern(text: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(text)
            .size_limit(REGEX_SIZE)
            .build()
            .map(Self::Pattern)
    }

    /// Whether `op` can be asked of it at all. A condition whose operand does not suit is never true nor false.
    #[must_use]
    pub fn suits(&self, op: Op) -> bool {
        match op {
            Op::Eq | Op::Neq | Op::Contains => self.is_scalar(),
            Op::Lt | Op::Lte | Op::Gt | Op::Gte => matches!(self, Self::Number(_) | Self::Text(_)),
            Op::In | Op::NotIn => match self {
                Self::List(operands) => operands.iter().all(Self::is_scalar),
                _ => false,
            },
            Op::Exists => matches!(self, Self::Bool(_)),
            Op::Regex => matches!(self, Self::Pattern(_)),
        }
    }

    const fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_)
        )
    }
}

/// What a condition says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// That depends on the reader.
    Indeterminate,
}

impl Truth {
    /// True if either is, else indeterminate if either is.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, _) | (_, Self::True) => Self::True,
            (Self::False, Self::False) => Self::False,
            _ => Self::Indeterminate,
        }
    }

    fn any(truths: impl Iterator<Item = Self>) -> Self {
        let mut sum = Self::False;
        for truth in truths {
            sum = sum.or(truth);
            if sum == Self::True {
                break;
            }
        }
        sum
    }

    const fn negated(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Indeterminate => self,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// One condition of a rule.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Which argument.
    pub path: ArgPath,
    /// How it is compared.
    pub op: Op,
    /// With what; see [`Operand::suits`].
    pub operand: Operand,
}

impl Condition {
    /// What it says of a call with these arguments; `None` is a call without any.
    ///
    /// - An argument that is not there makes it false; `neq`, `not_in` and `exists: false` true.
    /// - Where the path has `[*]`, one element for which it holds makes it true (for `neq` and `not_in`, too:
    ///   one element that differs), else one that is indeterminate makes it indeterminate. An array without
    ///   elements is one whose element is not there.
    /// - Values of different types, numbers that are not exact, an array or an object for any operator but
    ///   `exists` and `contains`, and a text over 64 KiB for `regex` are indeterminate.
    /// - A member that is `null` exists; nothing exists inside it. Where the path leads into any other value
    ///   that has no such members or elements, it is indeterminate.
    #[must_use]
    pub fn eval(&self, root: Option<Value<'_>>) -> Truth {
        let mut sum = Truth::False;
        // Breaking off only saves time: what decides is in `sum` already.
        let _ = self.path.visit(root, &mut |found| {
            sum = sum.or(self.test(found));
            match sum {
                Truth::True => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        sum
    }

    /// What it says of one thing that the path leads to.
    fn test(&self, found: Lookup<'_>) -> Truth {
        let operand = &self.operand;
        let value = match found {
            Lookup::Found(value) => value,
            Lookup::Opaque => return Truth::Indeterminate,
            Lookup::Absent => {
                let not_there = matches!(operand, Operand::Bool(false)) && self.op == Op::Exists;
                return (not_there || matches!(self.op, Op::Neq | Op::NotIn)).into();
            }
        };
        match self.op {
            Op::Eq => equal(value, operand),
            Op::Neq => equal(value, operand).negated(),
            Op::Lt => ordered(value, operand, Ordering::is_lt),
            Op::Lte => ordered(value, operand, Ordering::is_le),
            Op::Gt => ordered(value, operand, Ordering::is_gt),
            Op::Gte => ordered(value, operand, Ordering::is_ge),
            Op::In => listed(value, operand),
            Op::NotIn => listed(value, operand).negated(),
            Op::Exists => match operand {
                Operand::Bool(wanted) => (*wanted).into(),
                _ => Truth::Indeterminate,
            },
            Op::Regex => finds(value, operand),
            Op::Contains => contains(value, operand),
        }
    }
}

fn equal(value: Value<'_>, operand: &Operand) -> Truth {
    match (value.kind(), operand) {
        (Kind::Null, Operand::Null) => Truth::True,
        (Kind::Bool, Operand::Bool(other)) => (value.boolean() == Some(*other)).into(),
        (Kind::Number, Operand::Number(_)) => ordered(value, operand, Ordering::is_eq),
        (Kind::String, Operand::Text(other)) => value
            .text()
            .map_or(Truth::Indeterminate, |text| text.eq_str(other).into()),
        _ => Truth::Indeterminate,
    }
}

fn ordered(value: Value<'_>, operand: &Operand, holds: impl Fn(Ordering) -> bool) -> Truth {
    let ordering = match operand {
        Operand::Number(other) => value
            .decimal()
            .and_then(Result::ok)
            .map(|number| number.cmp(other)),
        Operand::Text(other) => value.text().map(|text| text.cmp_str(other)),
        _ => None,
    };
    ordering.map_or(Truth::Indeterminate, |ordering| holds(ordering).into())
}

fn listed(value: Value<'_>, operand: &Operand) -> Truth {
    match operand {
        Operand::List(others) => Truth::any(others.iter().map(|other| equal(value, other))),
        _ => Truth::Indeterminate,
    }
}

fn finds(value: Value<'_>, operand: &Operand) -> Truth {
    let (Operand::Pattern(regex), Some(text)) = (operand, value.text()) else {
        return Truth::Indeterminate;
    };
    // No escape takes more than six bytes for one: what is longer than this need not be decoded to be long.
    if text.raw().len() > 6 * REGEX_INPUT {
        return Truth::Indeterminate;
    }
    let text = text.to_cow();
    if text.len() > REGEX_INPUT {
        return Truth::Indeterminate;
    }
    regex.is_match(&text).into()
}

fn contains(value: Value<'_>, operand: &Operand) -> Truth {
    let text_in = |text: Text<'_>, part: &str| Truth::from(text.to_cow().contains(part));
    match (value.kind(), operand) {
        (Kind::Array, operand) => {
            Truth::any(value.elements().map(|element| equal(element, operand)))
        }
        (Kind::String, Operand::Text(part)) => value
            .text()
            .map_or(Truth::Indeterminate, |text| text_in(text, part)),
        _ => Truth::Indeterminate,
    }
}
