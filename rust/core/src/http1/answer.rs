//! One server's answer on its way to the client, as it comes: bytes of the server in, bytes for the client out.
//!
//! INVARIANT: an answer that cannot be passed on whole never ends as if it were, whatever the server sends; a
//! document leaves only after it was held against the request; and until a head is found to be plain nothing is
//! taken, so that the relay behind this one can begin at the first byte. What is held is bounded: a head, a
//! document or an event.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use memchr::memmem;

use super::Asked;
use super::body::{Body, LAST_CHUNK, Why, chunk};
use super::events::Events;
use super::forward;
use super::response::{self, Found, MAX_HEAD_BYTES};
use crate::denial;
use crate::engine::Engine;

/// Informational answers that are passed over before the final one.
const MAX_INFORMATIONAL: u8 = 8;

/// What an answer gains on its way beside the limits: spellings, framing, `connection: close`.
const SPARE_BYTES: usize = 64;

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

impl Step {
    fn of(state: State) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }
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
    body: Option<Body>,
    closes: bool,
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
            ended: None,
        }
    }

    /// What was asked.
    #[must_use]
    pub const fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Takes the next bytes of the server's, and appends to `out` what leaves for the client: complete HTTP/1.1,
    /// head and framing included. Once the answer has ended, bytes change nothing but whether the connection
    /// may be used again.
    pub fn feed(&mut self, engine: &Engine, data: &[u8], out: &mut Vec<u8>) -> Step {
        if let Some(ended) = &mut self.ended {
            if let (State::Done { reusable }, false) = (&mut *ended, data.is_empty()) {
                *reusable = false;
            } else if *ended == State::Odd {
                self.raw.extend_from_slice(data);
            }
            return Step::of(ended.clone());
        }
        let step = self.guarded(out, |answering, out| answering.take(engine, data, out));
        if step.state != State::More {
            self.ended = Some(step.state.clone());
        }
        step
    }

    /// Lets `take` append to `out`. Of a panic nothing leaves, and the answer cannot be ended.
    pub(super) fn guarded(
        &mut self,
        out: &mut Vec<u8>,
        take: impl FnOnce(&mut Self, &mut Vec<u8>) -> Step,
    ) -> Step {
        let before = out.len();
        let taken = catch_unwind(AssertUnwindSafe(|| take(self, out)));
        taken.unwrap_or_else(|_| {
            out.truncate(before);
            if let Some(body) = &mut self.body {
                body.give_up();
            }
            Step::of(invalid("the gateway failed to read the answer".into()))
        })
    }

    fn take(&mut self, engine: &Engine, data: &[u8], out: &mut Vec<u8>) -> Step {
        let mut step = Step::default();
        let before = out.len();
        step.state = match &mut self.body {
            Some(body) => body.feed(engine, &self.asked, data, out, &mut step),
            None => self.head(engine, data, out, &mut step),
        };
        match &mut self.body {
            Some(body) => body.keep_back(before, out),
            None => out.truncate(before),
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
        Step::of(state)
    }

    /// Lets the answer, if its head has not left, be its connection's last.
    pub fn close(&mut self) {
        if let (false, Some(body)) = (self.closes, &mut self.body) {
            body.add(forward::CLOSES);
        }
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
    pub fn started(&self) -> bool {
        self.body.as_ref().is_some_and(Body::started)
    }

    /// The server's status; 0 until it came.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.body.as_ref().map_or(0, Body::status)
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
        !done && self.events().is_some_and(answerable)
    }

    /// All bytes that came, if the answer is odd. Those that come later are not for this reader.
    pub fn take_raw(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.raw)
    }

    fn events(&self) -> Option<&Events> {
        self.body.as_ref()?.events()
    }

    /// Looks for the head, and goes on with the body once it is there.
    fn head(&mut self, engine: &Engine, data: &[u8], out: &mut Vec<u8>, step: &mut Step) -> State {
        let gathered;
        let bytes = if self.raw.is_empty() {
            data
        } else {
            // Only a blank line can have completed a head: so each byte is looked at once, however few come.
            let from = self.raw.len().saturating_sub(3);
            self.raw.extend_from_slice(data);
            if !holds_blank_line(self.raw.get(from..).unwrap_or_default()) {
                return self.partial();
            }
            gathered = std::mem::take(&mut self.raw);
            &gathered
        };
        out.reserve(bytes.len() + self.asked.told.len() + SPARE_BYTES);
        loop {
            let rest = bytes.get(self.head_at..).unwrap_or_default();
            let bounded = |head: usize| self.head_at + head <= MAX_HEAD_BYTES;
            match response::read(rest, &self.asked, out) {
                Found::Head(head) if bounded(head.bytes) => {
                    let content = rest.get(head.bytes..).unwrap_or_default();
                    if self.closes {
                        out.extend_from_slice(forward::CLOSES);
                    }
                    let body = self.body.insert(Body::new(head, out));
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

fn holds_blank_line(bytes: &[u8]) -> bool {
    [b"\n\r\n".as_slice(), b"\n\n"]
        .iter()
        .any(|end| memmem::find(bytes, end).is_some())
}

pub(super) fn invalid(message: Why) -> State {
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
