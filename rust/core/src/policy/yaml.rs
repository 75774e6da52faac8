//! YAML to the tree, from the events of `saphyr-parser`.
//!
//! Only what JSON can say as well: a plain scalar is a number, a boolean or null exactly where JSON would read
//! one (and `~` or nothing is null); everything else is a string. So `no`, `0x10` and `1_000` never turn into
//! something the author did not write, and where a number is wanted the reader of the tree says so.

use std::collections::HashSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::diagnostic::{Code, Diagnostic, Problems, quote};
use super::tree::{DEPTH, Data, KEYS, Member, Node, Place, end_of, push_key};
use crate::json;

/// Reads one YAML document; `None` where no tree came of it (the reason is among the problems).
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    let mut builder = Builder::default();
    let mut documents = 0;
    let mut parser = Parser::new_from_str(text);
    // What is missing at the end is said to be on the line after the last, though there be none.
    let end = end_of(text);
    let place = |marker: &Marker| place(marker).min(end);
    while let Some(next) = parser.next_event() {
        let (event, span) = match next {
            Ok(next) => next,
            Err(error) => {
                let diagnostic = Diagnostic::new(Code::Syntax, error.info().to_lowercase());
                problems.add(diagnostic.at("", place(error.marker())));
                return None;
            }
        };
        let place = place(&span.start);
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                let message = "only one document is read, and here begins another";
                problems.add(Diagnostic::new(Code::YamlFeature, message).at("", place));
                return None;
            }
        }
        if let Err(fatal) = builder.event(event, place, problems) {
            problems.add(fatal);
            return None;
        }
    }
    if builder.root.is_none() {
        problems.add(Diagnostic::new(Code::Syntax, "the document is empty"));
    }
    builder.root
}

fn place(marker: &Marker) -> Place {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place {
        line: number(marker.line().max(1)),
        column: number(marker.col() + 1),
    }
}

/// A list or an object that has begun and not ended.
enum Open {
    List(Place, Vec<Node>),
    Map {
        place: Place,
        members: Vec<Member>,
        seen: HashSet<Box<str>>,
        /// The key whose value comes next, and whether it stood there before.
        key: Option<(Box<str>, Place, bool)>,
    },
}

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    root: Option<Node>,
    count: usize,
}

impl Builder {
    /// Takes one event; what cannot be taken ends the reading.
    fn event(
        &mut self,
        event: Event<'_>,
        place: Place,
        problems: &mut Problems,
    ) -> Result<(), Diagnostic> {
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => (0, false),
        };
        if anchor != 0 || tag {
            let what = if tag { "a tag" } else { "an anchor" };
            self.refuse_feature(what, place, problems);
        }
        match event {
            Event::Alias(_) => {
                self.refuse_feature("an alias", place, problems);
                self.scalar(Data::Unread, "*", place, problems)
            }
            Event::Scalar(text, style, ..) => {
                let data = scalar_data(&text, style);
                self.scalar(data, &text, place, problems)
            }
            Event::SequenceStart(..) => self.open(Open::List(place, Vec::new()), place),
            Event::MappingStart(..) => {
                let map = Open::Map {
                    place,
                    members: Vec::new(),
                    seen: HashSet::new(),
                    key: None,
                };
                self.open(map, place)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                match self.stack.pop() {
                    Some(Open::List(place, list)) => self.value(Node {
                        place,
                        data: Data::List(list),
                    }),
                    Some(Open::Map { place, members, .. }) => self.value(Node {
                        place,
                        data: Data::Map(members),
                    }),
                    None => {}
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn refuse_feature(&self, what: &str, place: Place, problems: &mut Problems) {
        let message = format!("{what} is not taken here");
        let diagnostic = Diagnostic::new(Code::YamlFeature, message).help("write the value out");
        problems.add(diagnostic.at(self.pointer(), place));
    }

    fn counted(&mut self, place: Place) -> Result<(), Diagnostic> {
        self.count += 1;
        if self.count > KEYS {
            let message = format!("the document has more than {KEYS} keys and values");
            return Err(Diagnostic::new(Code::TooManyKeys, message).at("", place));
        }
        Ok(())
    }

    fn open(&mut self, open: Open, place: Place) -> Result<(), Diagnostic> {
        self.counted(place)?;
        if matches!(self.stack.last(), Some(Open::Map { key: None, .. })) {
            let message = "a key must be text, not a list or an object";
            return Err(Diagnostic::new(Code::YamlFeature, message).at(self.pointer(), place));
        }
        if self.stack.len() >= DEPTH {
            let message = format!("the document is nested deeper than {DEPTH} levels");
            return Err(Diagnostic::new(Code::TooDeep, message).at("", place));
        }
        self.stack.push(open);
        Ok(())
    }

    fn scalar(
        &mut self,
        data: Data,
        text: &str,
        place: Place,
        problems: &mut Problems,
    ) -> Result<(), Diagnostic> {
        self.counted(place)?;
        if let Some(Open::Map { seen, key, .. }) = self.stack.last_mut() {
            if key.is_none() {
                let again = !seen.insert(text.into());
                *key = Some((text.into(), place, again));
                if again {
                    let message = format!("key {} is written twice", quote(text));
                    problems.add(
                        Diagnostic::new(Code::DuplicateKey, message).at(self.pointer(), place),
                    );
                }
                return Ok(());
            }
        }
        self.value(Node { place, data });
        Ok(())
    }

    fn value(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, list)) => list.push(node),
            Some(Open::Map { members, key, .. }) => {
                // The first of two values stays, as the invariant of the tree asks.
                if let Some((key, place, false)) = key.take() {
                    members.push(Member {
                        key,
                        place,
                        value: node,
                    });
                }
            }
        }
    }

    /// Where the next value belongs.
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for open in &self.stack {
            match open {
                Open::List(_, list) => push_key(&mut pointer, &list.len().to_string()),
                Open::Map {
                    key: Some((key, ..)),
                    ..
                } => push_key(&mut pointer, key),
                Open::Map { .. } => {}
            }
        }
        pointer
    }
}

fn scalar_data(text: &str, style: ScalarStyle) -> Data {
    let plain = style == ScalarStyle::Plain;
    match text {
        "" | "~" | "null" if plain => Data::Null,
        "true" if plain => Data::Bool(true),
        "false" if plain => Data::Bool(false),
        _ if plain && is_json_number(text.as_bytes()) => Data::Number(text.into()),
        _ => Data::Text {
            text: text.into(),
            plain,
        },
    }
}

/// Whether JSON would read a number here.
pub(super) fn is_json_number(text: &[u8]) -> bool {
    json::shape(text, 0).is_ok_and(|shape| shape.end == text.len())
}
