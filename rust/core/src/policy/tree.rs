//! A document as a generic tree that remembers where each part was written.
//!
//! JSON and YAML end in the same tree, so that everything after it is written once and reports the same
//! problems for both. INVARIANT: a tree is at most [`DEPTH`] levels deep, so that walking it by recursion is
//! bounded, and no object in it has the same key twice.

use std::fmt::Write as _;

use super::diagnostic::{Code, Diagnostic, Problems};
use super::yaml;
use crate::json;

/// Largest document, bytes.
pub const BYTES: usize = 1 << 20;
/// Deepest nesting, levels.
pub const DEPTH: usize = 64;
/// Most keys and values of one document.
pub const KEYS: usize = 100_000;

/// A place in the text, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column, characters.
    pub column: u32,
}

impl Place {
    /// Where every document begins.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its first character.
    pub place: Place,
    /// What it is.
    pub data: Data,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A JSON number, as written.
    Number(Box<str>),
    /// A string. `plain` says that it stood in YAML without quotes.
    Text {
        /// Its content, decoded.
        text: Box<str>,
        /// Written without quotes.
        plain: bool,
    },
    /// An array.
    List(Vec<Node>),
    /// An object, in written order.
    Map(Vec<Member>),
    /// Something whose problem is reported already; in no tree that [`read`] gives.
    Unread,
}

/// One key of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The key, decoded.
    pub key: Box<str>,
    /// Where the key begins.
    pub place: Place,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The value of `key`, where this is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Data::Map(members) = &self.data else {
            return None;
        };
        members
            .iter()
            .find(|member| *member.key == *key)
            .map(|member| &member.value)
    }

    /// The elements, where this is an array; otherwise none.
    #[must_use]
    pub fn elements(&self) -> &[Self] {
        match &self.data {
            Data::List(elements) => elements,
            _ => &[],
        }
    }

    /// The content, where this is a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The kind of value in words for a message, with its article.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "null",
            Data::Bool(_) => "a boolean",
            Data::Number(_) => "a number",
            Data::Text { .. } => "a string",
            Data::List(_) => "a list",
            Data::Map(_) => "an object",
            Data::Unread => "something unreadable",
        }
    }
}

/// The way from the root to a node, as a chain on the stack: most are never written out.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl At<'_> {
    /// The whole document.
    pub(super) const ROOT: Self = Self {
        parent: None,
        step: Step::Key(""),
    };

    pub(super) fn key<'b>(&'b self, key: &'b str) -> At<'b> {
        At {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    pub(super) fn index(&self, index: usize) -> At<'_> {
        At {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    /// RFC 6901.
    pub(super) fn pointer(&self) -> String {
        let Some(parent) = self.parent else {
            return String::new();
        };
        let mut pointer = parent.pointer();
        match self.step {
            Step::Key(key) => push_key(&mut pointer, key),
            Step::Index(index) => {
                let _ = write!(pointer, "/{index}");
            }
        }
        pointer
    }
}

/// Appends a key to a JSON pointer (RFC 6901).
pub fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    for character in key.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// RFC 8259.
    Json,
    /// YAML 1.2 without anchors, aliases, tags and second documents.
    Yaml,
}

impl Syntax {
    /// By the ending of the name, or else by whether the first character that is no blank is `{`.
    #[must_use]
    pub fn of(name: &str, source: &[u8]) -> Self {
        let name = name.to_ascii_lowercase();
        let ends_with = |ending: &str| name.ends_with(ending);
        if ends_with(".json") {
            Self::Json
        } else if ends_with(".yaml") || ends_with(".yml") {
            Self::Yaml
        } else if source.trim_ascii_start().first() == Some(&b'{') {
            Self::Json
        } else {
            Self::Yaml
        }
    }
}

/// Reads a document within the bounds of this module.
///
/// # Errors
/// Every problem of syntax that was found before reading could not go on.
pub fn read(source: &[u8], syntax: Syntax) -> Result<Node, Vec<Diagnostic>> {
    let mut problems = Problems::default();
    let node = read_into(source, syntax, &mut problems);
    match node {
        Some(node) if !problems.any_errors() => Ok(node),
        _ => Err(problems.into_sorted()),
    }
}

/// As [`read`], with what can be read although there are problems, so that all of it can be judged.
#[must_use]
pub fn read_all(source: &[u8], syntax: Syntax) -> (Option<Node>, Vec<Diagnostic>) {
    let mut problems = Problems::default();
    let node = read_into(source, syntax, &mut problems);
    (node, problems.into_sorted())
}

/// As [`read`], but a tree may come with problems (keys written twice), so that the rest can be judged too.
pub(super) fn read_into(source: &[u8], syntax: Syntax, problems: &mut Problems) -> Option<Node> {
    if source.len() > BYTES {
        let message = format!(
            "the document has {} bytes; the most is {BYTES}",
            source.len()
        );
        problems.add(Diagnostic::new(Code::TooLarge, message));
        return None;
    }
    let text = match std::str::from_utf8(source) {
        Ok(text) => text,
        Err(error) => {
            let place = Finder::new(source).place(error.valid_up_to());
            let diagnostic = Diagnostic::new(Code::Encoding, "the document is not valid UTF-8");
            problems.add(diagnostic.at("", place));
            return None;
        }
    };
    if text.starts_with('\u{feff}') {
        let message = "the document begins with a byte order mark";
        problems.add(Diagnostic::new(Code::Encoding, message).help("save it as UTF-8 without one"));
        return None;
    }
    match syntax {
        Syntax::Json => read_json(text, problems),
        Syntax::Yaml => yaml::read(text, problems),
    }
}

fn read_json(text: &str, problems: &mut Problems) -> Option<Node> {
    let bounds = json::Bounds {
        max_bytes: BYTES,
        max_depth: DEPTH,
        max_keys: KEYS,
    };
    let mut index = json::Index::default();
    match index.scan(text.as_bytes(), &bounds) {
        Ok(value) => Some(grow(value, &mut Finder::new(text.as_bytes()))),
        Err(fault) => {
            // The scanner stops at the first duplicate. JSON is YAML for all but a few oddities, and the YAML
            // reader goes on, so it serves to find what else is wrong; the document is refused either way.
            if fault.kind == json::FaultKind::DuplicateKey {
                let mut more = Problems::default();
                let node = yaml::read(text, &mut more);
                if node.is_some() && more.any_errors() {
                    more.into_sorted()
                        .into_iter()
                        .for_each(|found| problems.add(found));
                    return node;
                }
            }
            let place = Finder::new(text.as_bytes()).place(fault.offset);
            let code = match fault.kind {
                json::FaultKind::DuplicateKey => Code::DuplicateKey,
                json::FaultKind::TooDeep => Code::TooDeep,
                json::FaultKind::TooLarge => Code::TooLarge,
                json::FaultKind::TooManyKeys => Code::TooManyKeys,
                json::FaultKind::NumberOutOfRange => Code::InexactNumber,
                json::FaultKind::Malformed => Code::Syntax,
            };
            problems.add(Diagnostic::new(code, fault.reason).at("", place));
            None
        }
    }
}

/// Just past the last character.
pub(super) fn end_of(text: &str) -> Place {
    Finder::new(text.as_bytes()).place(text.len())
}

/// Depth was bounded by the scan.
fn grow<'a>(value: json::Value<'a>, finder: &mut Finder<'a>) -> Node {
    let place = finder.place(value.start());
    let data = match value.kind() {
        json::Kind::Null => Data::Null,
        json::Kind::Bool => Data::Bool(value.boolean().unwrap_or_default()),
        json::Kind::Number => Data::Number(String::from_utf8_lossy(value.raw()).into()),
        json::Kind::String => Data::Text {
            text: value
                .text()
                .map(|text| text.to_cow().into())
                .unwrap_or_default(),
            plain: false,
        },
        json::Kind::Array => Data::List(
            value
                .elements()
                .map(|element| grow(element, finder))
                .collect(),
        ),
        json::Kind::Object => Data::Map(
            value
                .members()
                .map(|(key, value)| Member {
                    place: finder.place(key.start()),
                    key: key.to_cow().into(),
                    value: grow(value, finder),
                })
                .collect(),
        ),
    };
    Node { place, data }
}

/// Turns byte offsets that only ever rise into places, in one pass over the text.
struct Finder<'a> {
    source: &'a [u8],
    offset: usize,
    place: Place,
}

impl<'a> Finder<'a> {
    fn new(source: &'a [u8]) -> Self {
        Self {
            source,
            offset: 0,
            place: Place::START,
        }
    }

    fn place(&mut self, offset: usize) -> Place {
        let passed = self.source.get(self.offset..offset).unwrap_or_default();
        for byte in passed {
            if *byte == b'\n' {
                self.place.line += 1;
                self.place.column = 1;
            } else if byte & 0xC0 != 0x80 {
                // Every byte of UTF-8 but a continuation begins a character.
                self.place.column += 1;
            }
        }
        self.offset = self.offset.max(offset);
        self.place
    }
}
