//! The body of an answer on its way to the client, and the framing that it gets.
//!
//! INVARIANT: a document leaves whole and after it was held against the request, unless it is too long for that
//! and nothing is hidden; the head leaves with the first byte behind it, so that until then a fault is one that
//! the client can be told.

use std::borrow::Cow;

use super::Asked;
use super::answer::{State, Step, invalid};
use super::events::Events;
use super::forward::push_length;
use super::observe::{Judgement, judge};
use super::response::{Framing, Head, Kind};
use crate::engine::Engine;
use crate::listing;

/// Why an answer cannot go on: for people, lower case, no full stop.
pub(super) type Why = Cow<'static, str>;

/// A document up to this long is read before it leaves, so that one that breaks off, or answers another request,
/// becomes an error that the client can tell from an answer.
const SHORT_BYTES: usize = 64 << 10;

/// The longest document that is held to be filtered.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// A body and how it is passed on.
#[derive(Debug)]
pub(super) struct Body {
    status: u16,
    started: bool,
    /// The head for the client without framing and blank line, if it did not leave with the bytes it came with.
    lines: Vec<u8>,
    framing: Framing,
    length: Option<u64>,
    closes: bool,
    manner: Manner,
    /// Content of chunks; kept for its memory.
    decoded: Vec<u8>,
}

#[derive(Debug)]
enum Manner {
    /// Not at all.
    Drop,
    /// Held until it is complete, as long as it is short or has to be filtered.
    Whole(Vec<u8>),
    /// As it comes.
    Plain,
    /// As it comes, but in whole events where they are filtered.
    Events(Events),
}

impl Body {
    /// The body behind this head, whose lines for the client `out` ends with. That of an event stream leaves at once.
    pub(super) fn new(head: Head, out: &mut Vec<u8>) -> Self {
        let mut body = Self {
            status: head.status,
            started: false,
            lines: Vec::new(),
            framing: head.framing,
            length: head.length,
            closes: head.closes,
            manner: match head.kind {
                Kind::Json => Manner::Whole(Vec::new()),
                Kind::Events => Manner::Events(Events::default()),
                Kind::Nothing => Manner::Drop,
            },
            decoded: Vec::new(),
        };
        if head.kind == Kind::Events {
            body.start(None, out);
        }
        body
    }

    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// Whether the head has left.
    pub(super) const fn started(&self) -> bool {
        self.started
    }

    /// The stream, if it is one.
    pub(super) const fn events(&self) -> Option<&Events> {
        match &self.manner {
            Manner::Events(events) => Some(events),
            _ => None,
        }
    }

    /// Adds a line to the head, unless that has left.
    pub(super) fn add(&mut self, line: &[u8]) {
        if !self.started {
            self.lines.extend_from_slice(line);
        }
    }

    /// Passes nothing on any more, and lets nobody end what has begun.
    pub(super) fn give_up(&mut self) {
        self.manner = Manner::Drop;
    }

    /// Takes back the lines of the head, which `out` has from `before` on, unless they may leave.
    pub(super) fn keep_back(&mut self, before: usize, out: &mut Vec<u8>) {
        if !self.started {
            self.lines.extend(out.drain(before..));
        }
    }

    /// Passes on the next bytes of the server's.
    pub(super) fn feed(
        &mut self,
        engine: &Engine,
        asked: &Asked,
        data: &[u8],
        out: &mut Vec<u8>,
        step: &mut Step,
    ) -> State {
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.clear();
        let (content, end) = self.framing.take(data, &mut decoded);
        let done = matches!(end, Ok((_, true)));
        let passed = self.pass(engine, asked, content, done, out, step);
        self.decoded = decoded;
        match (passed, end) {
            (Err(why), _) => invalid(why),
            (Ok(()), Err(_)) => invalid("not HTTP: the chunks of the answer cannot be read".into()),
            (Ok(()), Ok((_, false))) => State::More,
            (Ok(()), Ok((used, true))) => State::Done {
                reusable: used == data.len() && !self.closes,
            },
        }
    }

    /// Passes on a piece of the content; `done` if it is the last one.
    fn pass(
        &mut self,
        engine: &Engine,
        asked: &Asked,
        content: &[u8],
        done: bool,
        out: &mut Vec<u8>,
        step: &mut Step,
    ) -> Result<(), Why> {
        match &mut self.manner {
            Manner::Drop => {
                if done {
                    self.start(Some(0), out);
                }
            }
            Manner::Plain => self.send(content, done, out),
            Manner::Events(events) => {
                let passed = events.pass(engine, asked.legacy, content, out, step);
                if done && passed.is_ok() {
                    out.extend_from_slice(LAST_CHUNK);
                }
                return passed;
            }
            Manner::Whole(held) => {
                let filters = engine.filters();
                let most = if filters {
                    MAX_DOCUMENT_BYTES
                } else {
                    SHORT_BYTES
                };
                if held.len() + content.len() > most {
                    if filters {
                        return Err("the answer is too long to be read".into());
                    }
                    let held = std::mem::take(held);
                    self.manner = Manner::Plain;
                    self.start(self.length, out);
                    self.send(&held, false, out);
                    self.send(content, done, out);
                } else if !done {
                    held.extend_from_slice(content);
                } else if held.is_empty() {
                    self.document(engine, asked, content, out, step)?;
                } else {
                    let mut document = std::mem::take(held);
                    document.extend_from_slice(content);
                    self.document(engine, asked, &document, out, step)?;
                }
            }
        }
        Ok(())
    }

    /// Passes on a whole document.
    fn document(
        &mut self,
        engine: &Engine,
        asked: &Asked,
        document: &[u8],
        out: &mut Vec<u8>,
        step: &mut Step,
    ) -> Result<(), Why> {
        let kept = match engine.hiding() {
            Some(hiding) => listing::filter(&hiding, document)
                .map_err(|fault| format!("an answer cannot be filtered: {fault}"))?,
            None => None,
        };
        match judge(document, asked) {
            Judgement::Sound { asks: false } => {}
            Judgement::Sound { asks: true } => step.see.push(document.to_vec()),
            Judgement::Unsure => step.check = Some(document.to_vec()),
        }
        let kept = kept.as_deref().unwrap_or(document);
        self.start(Some(kept.len() as u64), out);
        out.extend_from_slice(kept);
        Ok(())
    }

    /// Ends the head, with this length or for chunks.
    fn start(&mut self, length: Option<u64>, out: &mut Vec<u8>) {
        self.started = true;
        out.append(&mut self.lines);
        match length {
            Some(length) => push_length(out, length),
            None => out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n"),
        }
    }

    /// Appends content in the framing that the head has.
    fn send(&self, content: &[u8], done: bool, out: &mut Vec<u8>) {
        if self.length.is_some() {
            out.extend_from_slice(content);
            return;
        }
        chunk(content, out);
        if done {
            out.extend_from_slice(LAST_CHUNK);
        }
    }
}

/// Ends a body in chunks.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends one chunk; nothing if it would be empty, since an empty one is the last.
pub(super) fn chunk(content: &[u8], out: &mut Vec<u8>) {
    if content.is_empty() {
        return;
    }
    let digits = (usize::BITS - content.len().leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        let digit = (content.len() >> (4 * place)) & 0xf;
        out.extend(HEX.get(digit));
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
}

const HEX: &[u8; 16] = b"0123456789abcdef";
