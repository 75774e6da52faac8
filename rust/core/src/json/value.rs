//! Values of a scanned document.

use std::fmt;
use std::iter;

use super::{Node, Text};
use crate::decimal::{Decimal, Inexact};

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, of any spelling.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value of a scanned document: a number into the index, and the bytes it was read from.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    source: &'a str,
    /// From the document's first to the end of what it lies in.
    nodes: &'a [Node],
    at: u32,
    /// The one of `nodes` that it is, so that it is looked up once.
    node: Node,
}

impl<'a> Value<'a> {
    pub(super) fn root(source: &'a str, nodes: &'a [Node]) -> Self {
        Self {
            source,
            nodes,
            at: 0,
            node: nodes.first().copied().unwrap_or_default(),
        }
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.source.as_bytes().get(self.start()) {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The bytes it was written as, quotes and brackets included.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        let bytes = self.source.as_bytes().get(self.start()..self.end());
        bytes.unwrap_or_default()
    }

    /// The text it was written as, quotes and brackets included.
    #[must_use]
    pub fn source(self) -> &'a str {
        self.source
            .get(self.start()..self.end())
            .unwrap_or_default()
    }

    /// Offset of its first byte in the source.
    #[must_use]
    pub fn start(self) -> usize {
        self.node.start as usize
    }

    /// Offset past its last byte in the source.
    #[must_use]
    pub fn end(self) -> usize {
        self.node.end as usize
    }

    /// Members of an object or elements of an array, counted one by one; 0 for anything else.
    #[must_use]
    pub fn len(self) -> usize {
        match self.kind() {
            Kind::Object => self.members().count(),
            Kind::Array => self.elements().count(),
            _ => 0,
        }
    }

    /// It has no members and no elements.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.node.next() == self.at as usize + 1
    }

    /// The members of an object in the order they were written; none for anything else.
    #[must_use]
    pub fn members(self) -> Members<'a> {
        Members(self.inside(Kind::Object))
    }

    /// The members of an object whose keys, as written, begin with a byte that passes `test`; the others are not
    /// looked at any further. An empty key begins with a quote.
    pub fn members_by(
        self,
        test: impl Fn(u8) -> bool,
    ) -> impl Iterator<Item = (Text<'a>, Value<'a>)> {
        let mut inside = self.inside(Kind::Object);
        iter::from_fn(move || {
            loop {
                let (key, value) = (inside.step()?, inside.step()?);
                let first = self.source.as_bytes().get(key.start() + 1).copied();
                if first.is_none_or(&test) {
                    return Some((key.content(), value));
                }
            }
        })
    }

    /// The elements of an array in order; none for anything else.
    #[must_use]
    pub fn elements(self) -> Elements<'a> {
        Elements(self.inside(Kind::Array))
    }

    /// The member of an object with this key.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.members()
            .find_map(|(name, value)| name.eq_str(key).then_some(value))
    }

    /// The element of an array with this number, from 0.
    #[must_use]
    pub fn at(self, position: usize) -> Option<Value<'a>> {
        self.elements().nth(position)
    }

    /// What a boolean says.
    #[must_use]
    pub fn boolean(self) -> Option<bool> {
        match self.raw() {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// The content of a string.
    #[must_use]
    pub fn text(self) -> Option<Text<'a>> {
        (self.kind() == Kind::String).then(|| self.content())
    }

    /// A number's exact value, or that it has none worth comparing; `None` if it is not a number.
    #[must_use]
    pub fn decimal(self) -> Option<Result<Decimal, Inexact>> {
        (self.kind() == Kind::Number).then(|| Decimal::parse(self.raw()))
    }

    /// What lies between the quotes of what is known to be a string.
    #[inline]
    fn content(self) -> Text<'a> {
        let node = self.node;
        let raw = self
            .source
            .get(self.start() + 1..self.end().saturating_sub(1));
        Text::new(raw.unwrap_or_default(), node.start, !node.is_escaped())
    }

    fn inside(self, kind: Kind) -> Inside<'a> {
        let end = if self.kind() == kind {
            self.node.next()
        } else {
            0
        };
        Inside {
            source: self.source,
            nodes: self.nodes.get(..end).unwrap_or_default(),
            next: self.at + 1,
        }
    }
}

impl fmt::Debug for Value<'_> {
    /// Kind and place only: arguments must not find their way into a log through a debug print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}..{}", self.kind(), self.start(), self.end())
    }
}

/// The nodes directly inside a container.
#[derive(Clone, Copy, Debug)]
struct Inside<'a> {
    source: &'a str,
    /// Up to the end of the container.
    nodes: &'a [Node],
    next: u32,
}

impl<'a> Inside<'a> {
    #[inline]
    fn step(&mut self) -> Option<Value<'a>> {
        let at = self.next;
        let node = *self.nodes.get(at as usize)?;
        self.next = node.next & !Node::ESCAPED;
        Some(Value {
            source: self.source,
            nodes: self.nodes,
            at,
            node,
        })
    }
}

/// The members of an object.
#[derive(Clone, Debug)]
pub struct Members<'a>(Inside<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.step()?;
        Some((key.content(), self.0.step()?))
    }
}

/// The elements of an array.
#[derive(Clone, Debug)]
pub struct Elements<'a>(Inside<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.step()
    }
}
