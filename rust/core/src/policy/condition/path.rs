//! Paths to arguments: `args.a.b[0][*].c`.

use std::fmt;
use std::ops::ControlFlow;

use crate::caseless::{may_read_as, text_reads_as};
use crate::json::{Kind, Value};

/// A path from the arguments of a call to the values inside them.
///
/// It begins with `args`, which stands for all arguments together, and goes on with `.name` for a member of an
/// object, `[0]` for an element of an array and `[*]` for each of its elements. A name is any text without
/// `.`, `[` and `]`; members with other names are out of reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArgPath {
    text: Box<str>,
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Member(Box<str>),
    Element(usize),
    Each,
}

/// Why a text is no path, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathError {
    /// Bytes from the start of the text to what does not fit.
    pub offset: usize,
    /// For people: lower case, no full stop.
    pub message: &'static str,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for PathError {}

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<'a> {
    /// Nothing.
    Absent,
    /// A value.
    Found(Value<'a>),
    /// Servers may differ on it. The path asks for the inside of a value that has none, such as a member of a text,
    /// and some servers parse a text that holds JSON; or for a member of an object that has one whose name
    /// differs from it by case only, and some servers ignore case.
    Opaque,
}

impl ArgPath {
    /// Reads a path.
    ///
    /// # Errors
    ///
    /// The first place that does not fit the grammar.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let at = |rest: &str, message| PathError {
            offset: text.len() - rest.len(),
            message,
        };
        let mut rest = text
            .strip_prefix("args")
            .ok_or_else(|| at(text, "a path begins with `args`"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let step;
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[', ']']).unwrap_or(after.len());
                let (name, next) = after.split_at_checked(end).unwrap_or((after, ""));
                match name {
                    "" => return Err(at(after, "a name is missing after `.`")),
                    "*" => return Err(at(after, "each element is written `[*]`")),
                    _ => step = Step::Member(name.into()),
                }
                rest = next;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (index, next) = after
                    .split_once(']')
                    .ok_or_else(|| at(rest, "`[` has no `]`"))?;
                step = Step::bracketed(index)
                    .ok_or_else(|| at(after, "brackets hold a whole number or `*`"))?;
                rest = next;
            } else if steps.is_empty() {
                return Err(at(rest, "`.` or `[` is missing after `args`"));
            } else {
                return Err(at(rest, "`.` or `[` is missing"));
            }
            steps.push(step);
        }
        Ok(Self {
            text: text.into(),
            steps: steps.into(),
        })
    }

    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// It may lead to more than one value.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.steps.contains(&Step::Each)
    }

    /// The name right after `args`, if there is one: the argument that the path depends on.
    #[must_use]
    pub fn argument(&self) -> Option<&str> {
        match self.steps.first() {
            Some(Step::Member(name)) => Some(name),
            _ => None,
        }
    }

    /// The one value it leads to from these arguments; the first one if it has a wildcard.
    #[must_use]
    pub fn resolve<'a>(&self, root: Option<Value<'a>>) -> Lookup<'a> {
        let mut first = Lookup::Absent;
        let _ = self.visit(root, &mut |found| {
            first = found;
            match found {
                Lookup::Absent => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        });
        first
    }

    /// Calls `visit` for what each branch of the path leads to, until it breaks off. There is always a branch:
    /// an array without elements has one that leads to nothing.
    ///
    /// # Errors
    ///
    /// Breaks off where `visit` does.
    pub(super) fn visit<'a>(
        &self,
        root: Option<Value<'a>>,
        visit: &mut impl FnMut(Lookup<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match root {
            Some(root) => walk(&self.steps, root, visit),
            None => visit(Lookup::Absent),
        }
    }
}

impl fmt::Display for ArgPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Step {
    fn bracketed(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Each);
        }
        let has_leading_zero = text.len() > 1 && text.starts_with('0');
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && !has_leading_zero)
            .then(|| text.parse().ok().map(Self::Element))
            .flatten()
    }
}

/// Recurses at a wildcard only, and so no deeper than the document is nested.
fn walk<'a>(
    steps: &[Step],
    root: Value<'a>,
    visit: &mut impl FnMut(Lookup<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut value = root;
    let mut steps = steps.iter();
    while let Some(step) = steps.next() {
        let next = match (step, value.kind()) {
            (Step::Member(name), Kind::Object) => match member(value, name) {
                Ok(found) => found,
                Err(Disguised) => return visit(Lookup::Opaque),
            },
            (Step::Element(position), Kind::Array) => value.at(*position),
            (Step::Each, Kind::Array) if value.is_empty() => None,
            (Step::Each, Kind::Array) => {
                let rest = steps.as_slice();
                return value
                    .elements()
                    .try_for_each(|element| walk(rest, element, visit));
            }
            (_, Kind::Null) => None,
            _ => return visit(Lookup::Opaque),
        };
        match next {
            Some(next) => value = next,
            None => return visit(Lookup::Absent),
        }
    }
    visit(Lookup::Found(value))
}

/// There is a member that is the one asked for to readers that ignore case.
struct Disguised;

/// The member of this name, if no other one could be taken for it, whether or not it is there itself.
fn member<'a>(object: Value<'a>, name: &str) -> Result<Option<Value<'a>>, Disguised> {
    let mut found = None;
    for (key, value) in object.members_by(|first| may_read_as(first, name)) {
        if key.eq_str(name) {
            found = Some(value);
        } else if text_reads_as(key, name) {
            return Err(Disguised);
        }
    }
    Ok(found)
}
