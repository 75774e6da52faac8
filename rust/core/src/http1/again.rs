//! A head that says what the one before it on its connection said, and what was found out about that one.
//!
//! INVARIANT: a head is taken for the one before only if each of its bytes is the same, but for lines of the few
//! names whose values differ from message to message; those are read anew. Reading a line depends on no other line,
//! so whoever reads the one head reads the other; and of such a line nothing but its value is looked at by anyone.
//! The server gets the bytes that were decided, under a head of which every field is the route's own or on the list of
//! what travels, and one Content-Length.
//! What may change between two messages (a session, a policy, the time) is not remembered here, but for the moment at
//! which a credential ends; a gate that knows other credentials is another gate.

use std::ops::Range;

use smallvec::SmallVec;

use super::field::{Field, Name, length};
use super::forward;
use super::gate::{Admitted, Gate};
use super::request::{Framing, Head};
use crate::claims::Claims;
use crate::decision::Spelling;

/// Names whose values differ from message to message of one client.
const VARYING: u32 =
    Name::ContentLength.bit() | Name::Method.bit() | Name::Subject.bit() | Name::TraceParent.bit();

/// Longer heads are forgotten when their message was served.
const KEPT_BYTES: usize = 2 << 10;

/// A head that the gate admits, and what was found out about it.
#[derive(Debug)]
pub(super) struct Seen {
    gate: u64,
    /// The way it is admitted to.
    pub(super) way: Admitted,
    /// The session it names, if it is of a revision that has them.
    pub(super) session: Option<Box<[u8]>>,
    version: Option<Spelling>,
    is_chunked: bool,
    /// All of it, and where in it the lines of varying names are.
    head: Vec<u8>,
    varying: SmallVec<[Varying; 2]>,
    /// Where the last of them ends.
    rest: usize,
    /// The head for the server without those lines, and without its length and the empty line.
    lines: Vec<u8>,
}

#[derive(Debug)]
struct Varying {
    name: Name,
    /// What is before it in the head, and behind the one before it.
    before: Range<usize>,
    /// Where in the head for the server it is, if it passes.
    place: Option<usize>,
}

/// Such a head once more, borrowing the bytes it was read from.
#[derive(Debug)]
pub(super) struct Again<'a> {
    /// Bytes of the head, its empty line included.
    pub(super) length: usize,
    pub(super) framing: Framing,
    /// Those of varying names, in their order.
    fields: SmallVec<[Field<'a>; 3]>,
}

impl Seen {
    /// Remembers the head that `input` begins with, which the gate admits this way.
    pub(super) fn of(gate: &Gate, way: Admitted, input: &[u8], head: &Head<'_>) -> Option<Self> {
        let route = gate.route(way.route)?;
        let version = head.value(Name::Version);
        let modern = modern(version);
        // A stateless revision has no sessions, whatever its clients say.
        let session = head.value(Name::Session).filter(|_| !modern);
        let mut seen = Self {
            gate: gate.id(),
            way,
            session: session.map(Into::into),
            version: version.map(SmallVec::from_slice),
            is_chunked: head.framing == Framing::Chunked,
            head: input.get(..head.length)?.to_vec(),
            varying: SmallVec::new(),
            rest: 0,
            lines: Vec::with_capacity(route.head.len() + head.length),
        };
        seen.lines.extend_from_slice(&route.head);
        let mut at = head.fields_at;
        for field in &head.fields {
            let passes = route.passes(field, session.is_some());
            if field.name.is_any(VARYING) {
                seen.varying.push(Varying {
                    name: field.name,
                    before: seen.rest..at,
                    place: passes.then_some(seen.lines.len()),
                });
                seen.rest = at + field.bytes;
            } else if passes {
                field.push_line(&mut seen.lines);
            }
            at += field.bytes;
        }
        Some(seen)
    }

    /// The head that `input` begins with, if it is this one again. The same gate has to ask.
    pub(super) fn again<'a>(&self, gate: &Gate, input: &'a [u8]) -> Option<Again<'a>> {
        if self.gate != gate.id() {
            return None;
        }
        let mut again = Again {
            length: 0,
            framing: Framing::Chunked,
            fields: SmallVec::new(),
        };
        let mut rest = input;
        for varying in &self.varying {
            rest = rest.strip_prefix(self.head.get(varying.before.clone())?)?;
            let (field, behind) = Field::read(rest)?;
            if field.name != varying.name {
                return None;
            }
            again.fields.push(field);
            rest = behind;
        }
        rest = rest.strip_prefix(self.head.get(self.rest..)?)?;
        again.length = input.len() - rest.len();
        if !self.is_chunked {
            again.framing = Framing::Length(length(again.value(Name::ContentLength)?)?);
        }
        Some(again)
    }

    /// What this head and that one's values claim about the message.
    pub(super) fn claims<'s, 'a: 's>(&'s self, again: &Again<'a>) -> Claims<'s> {
        Claims {
            version: self.version.as_deref(),
            method: again.value(Name::Method),
            name: again.value(Name::Subject),
            trace: again.value(Name::TraceParent),
            repeated: None,
        }
    }

    /// The request for the server.
    ///
    /// # Arguments
    ///
    /// `traceparent` takes the place of the client's, if it is given.
    pub(super) fn forward(
        &self,
        again: &Again<'_>,
        body: &[u8],
        traceparent: Option<[u8; 55]>,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.lines.len() + again.length + body.len() + 120);
        let mut from = 0;
        for (varying, field) in self.varying.iter().zip(&again.fields) {
            let is_ours = traceparent.is_some() && field.name == Name::TraceParent;
            if let Some(place) = varying.place.filter(|_| !is_ours) {
                out.extend_from_slice(self.lines.get(from..place).unwrap_or_default());
                field.push_line(&mut out);
                from = place;
            }
        }
        out.extend_from_slice(self.lines.get(from..).unwrap_or_default());
        if let Some(value) = traceparent {
            forward::push_line(&mut out, b"traceparent", &value);
        }
        forward::end(&mut out, body);
        out
    }

    /// Whether it is short enough to be kept for the next message.
    pub(super) fn is_short(&self) -> bool {
        self.head.len() <= KEPT_BYTES
    }
}

impl<'a> Again<'a> {
    fn value(&self, name: Name) -> Option<&'a [u8]> {
        let mut fields = self.fields.iter();
        fields
            .find(|field| field.name == name)
            .map(|field| field.value)
    }
}

fn modern(version: Option<&[u8]>) -> bool {
    let claims = Claims {
        version,
        ..Claims::default()
    };
    claims.modern()
}
