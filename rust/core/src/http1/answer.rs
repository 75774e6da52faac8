//! One server's answer on its way to the client, as it comes: bytes of the server in, bytes for the client out.
//!
//! INVARIANT: an answer that cannot be passed on whole never ends as if it were, whatever the server sends; a
//! document leaves only after it was held against the request; and until a head is found to be plain nothing is
//! taken, so that the relay behind this one can begin at the first byte. What is held is bounded: a head, a
//! document or an event.

use std::borrow::Cow;

use memchr::memmem;

use super::Asked;
use super::events::{Events, Why};
use super::forward;
use super::observe::{Judgement, judge};
use super::response::{self, Found, Framing, Head, Kind, MAX_HEAD_BYTES};
use crate::denial;
use crate::engine::Engine;
use crate::listing;

/// A document up to this long is read before it leaves, so that one that breaks off, or answers another request,
/// becomes an error that the client can tell from an answer.
const SHORT_BYTES: usize = 64 << 10;

/// The longest document that is held to be filtered.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// Informational answers that are passed over before the final one.
const MAX_INFORMATIONAL: u8 = 8;

/// How far an answer has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// There is more to come.
    #[default]
    More,
    /// It is complete, and so is what the client was sent.
    Done {
        /// Whether the server's connection may serve another request, as far as its bytes tell.
        reusable: bool,
    },
    /// It is not of the plain kind. Nothing of it was used: [`Answering::take_raw`] gives it back.
    Odd,
    /// It cannot be passed on. What was appended to `out` before still leaves.
    Fault {
        /// Whose fault.
        reason: Reason,
        /// For people: lower case, no full stop.
        message: Cow<'static, str>,
    },
}

/// Why an answer cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The server said what cannot be.
    Invalid,
    /// The server broke off.
    Reset,
}

/// What one piece of an answer led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// How far the answer has come.
    pub state: State,
    /// Messages that ask the client something, JSON, to be remembered before `out` leaves.
    pub see: Vec<Vec<u8>>,
    /// A document that was not found sound here: it has to be judged as the answer to the request, and seen,
    /// before `out` leaves.
    pub check: Option<Vec<u8>>,
}

/// An answer that is being passed on.
#[derive(Debug)]
pub struct Answering {
    asked: Asked,
    /// All bytes that came, while the head is not complete.
    raw: Vec<u8>,
    /// Offset in `raw` of the head that is looked for, and how many heads were before it.
    head_at: usize,
    informational: u8,
    body: Option<Box<Body>>,
    closes: bool,
    started: bool,
    ended: Option<State>,
}

impl Answering {
    /// The answer to this request, of which nothing has come.
    #[must_use]
    pub const fn new(asked: Asked) -> Self {
        Self {
            asked,
            raw: Vec::new(),
            head_at: 0,
            informational: 0,
            body: None,
            closes: false,
            started: false,
            ended: None,
        }
    }

    /// Takes the next bytes of the server's, and appends to `out` what leaves for the client: complete HTTP/1.1,
    /// head and framing included. Once the answer has ended, bytes change nothing but whether the connection
    /// may be used again.
    pub fn feed(&mut self, engine: &Engine, data: &[u8], out: &mut Vec<u8>) -> Step {
        let mut step = Step::default();
        if let Some(ended) = &mut self.ended {
            if let (State::Done { reusable }, false) = (&mut *ended, data.is_empty()) {
                *reusable = false;
            } else if *ended == State::Odd {
                self.raw.extend_from_slice(data);
            }
            step.state = ended.clone();
            return step;
        }
        let before = out.len();
        step.state = match &mut self.body {
            Some(body) => body.feed(engine, &self.asked, data, out, &mut step),
            None => self.head(engine, data, out, &mut step),
        };
        self.started |= out.len() > before;
        if step.state != State::More {
            self.ended = Some(step.state.clone());
        }
        step
    }

    /// The server closed the connection.
    pub fn end(&mut self) -> Step {
        let state = match self.ended.take() {
            Some(State::Done { .. }) => State::Done { reusable: false },
            Some(ended) => ended,
            None if self.body.is_none() && self.raw.is_empty() => {
                reset("the server closed the connection")
            }
            None => reset("the server broke off its answer"),
        };
        self.ended = Some(state.clone());
        Step {
            state,
            ..Step::default()
        }
    }

    /// Lets the answer, if its head has not left, be its connection's last.
    pub const fn close(&mut self) {
        self.closes = true;
    }

    /// An answer of the gateway's own in the place of the server's, whole.
    #[must_use]
    pub fn refusal(&self, answer: &denial::Answer) -> Vec<u8> {
        forward::answer(answer, self.closes)
    }

    /// What ends an event stream that broke with an answer to the request, if it can be ended with one.
    #[must_use]
    pub fn last_event(&self, answer: &denial::Answer) -> Option<Vec<u8>> {
        if !self.may_close_with_event() {
            return None;
        }
        let mut out = Vec::new();
        chunk(format!("data: {}\n\n", answer.body).as_bytes(), &mut out);
        out.extend_from_slice(LAST_CHUNK);
        Some(out)
    }

    /// Whether the client was given the head of the answer.
    #[must_use]
    pub const fn started(&self) -> bool {
        self.started
    }

    /// The server's status; 0 until it came.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.body.as_ref().map_or(0, |body| body.status)
    }

    /// Whether the answer to the request has passed on an event stream.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.events().is_some_and(Events::answered)
    }

    /// Whether an event stream that broke can be ended with a proper answer: the client has its head, whole
    /// events and no answer yet. The event and the last chunk have to be framed by the caller.
    #[must_use]
    pub fn may_close_with_event(&self) -> bool {
        let done = matches!(self.ended, Some(State::Done { .. }));
        let answerable = |events: &Events| events.has_whole_events() && !events.answered();
        self.started && !done && self.events().is_some_and(answerable)
    }

    /// All bytes that came, if the answer is odd; empty otherwise, or if they were taken before.
    pub fn take_raw(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.raw)
    }

    fn events(&self) -> Option<&Events> {
        match &self.body.as_ref()?.manner {
            Manner::Events(events) => Some(events),
            _ => None,
        }
    }

    /// Looks for the head, and goes on with the body once it is there.
    fn head(&mut self, engine: &Engine, data: &[u8], out: &mut Vec<u8>, step: &mut Step) -> State {
        let gathered;
        let bytes = if self.raw.is_empty() {
            data
        } else {
            // Only a blank line can have completed a head: so each byte is looked at once, however few come.
            let from = self.raw.len().saturating_sub(3).max(self.head_at);
            self.raw.extend_from_slice(data);
            if !holds_blank_line(self.raw.get(from..).unwrap_or_default()) {
                return self.partial();
            }
            gathered = std::mem::take(&mut self.raw);
            &gathered
        };
        loop {
            let rest = bytes.get(self.head_at..).unwrap_or_default();
            let bounded = |head: usize| self.head_at + head <= MAX_HEAD_BYTES;
            match response::read(rest, &self.asked) {
                Found::Head(head) if bounded(head.bytes) => {
                    let content = rest.get(head.bytes..).unwrap_or_default();
                    let mut head = *head;
                    if self.closes {
                        head.lines.extend_from_slice(forward::CLOSES);
                    }
                    let body = self.body.insert(Box::new(Body::new(head, out)));
                    return body.feed(engine, &self.asked, content, out, step);
                }
                Found::Informational(head)
                    if bounded(head) && self.informational < MAX_INFORMATIONAL =>
                {
                    self.informational += 1;
                    self.head_at += head;
                }
                Found::Partial => {
                    self.raw = bytes.to_vec();
                    return self.partial();
                }
                _ => {
                    self.raw = bytes.to_vec();
                    return State::Odd;
                }
            }
        }
    }

    fn partial(&self) -> State {
        if self.raw.len() > MAX_HEAD_BYTES {
            State::Odd
        } else {
            State::More
        }
    }
}

/// A body and how it is passed on.
#[derive(Debug)]
struct Body {
    status: u16,
    /// The head for the client until it leaves, without framing and blank line.
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
    /// The head of an event stream leaves at once.
    fn new(head: Head, out: &mut Vec<u8>) -> Self {
        let mut body = Self {
            status: head.status,
            lines: head.lines,
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

    fn feed(
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
        let kept = if engine.filters() {
            listing::filter(&engine.policy(), document)
                .map_err(|fault| format!("an answer cannot be filtered: {fault}"))?
        } else {
            None
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

    /// Appends the head, with this length or for chunks.
    fn start(&mut self, length: Option<u64>, out: &mut Vec<u8>) {
        out.append(&mut self.lines);
        match length {
            Some(length) => {
                out.extend_from_slice(b"content-length: ");
                out.extend_from_slice(length.to_string().as_bytes());
            }
            None => out.extend_from_slice(b"transfer-encoding: chunked"),
        }
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// Appends content in the framing that the head has.
    fn send(&mut self, content: &[u8], done: bool, out: &mut Vec<u8>) {
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

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends one chunk; nothing if it would be empty, since an empty one is the last.
pub(super) fn chunk(content: &[u8], out: &mut Vec<u8>) {
    if !content.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", content.len()).as_bytes());
        out.extend_from_slice(content);
        out.extend_from_slice(b"\r\n");
    }
}

fn holds_blank_line(bytes: &[u8]) -> bool {
    [b"\n\r\n".as_slice(), b"\n\n"]
        .iter()
        .any(|end| memmem::find(bytes, end).is_some())
}

fn invalid(message: Why) -> State {
    State::Fault {
        reason: Reason::Invalid,
        message,
    }
}

fn reset(message: &'static str) -> State {
    State::Fault {
        reason: Reason::Reset,
        message: message.into(),
    }
}
