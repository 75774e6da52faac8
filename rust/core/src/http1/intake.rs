//! One connection's way in: bytes as they come, messages as they are whole.
//!
//! INVARIANT: however the bytes are cut, the same becomes of them; each byte is looked at a bounded number of
//! times; and what was not made into a message is still there to be given back.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Received;
use super::again::{Again, Seen};
use super::chunked::Chunked;
use super::gate::{Gate, Peer};
use super::request::{Framing, Head, NotPlain, Search};
use super::serve::{Sender, hand_over, serve};
use crate::time::Nanos;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A request: nothing of one is there.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body {
        /// Bytes of it that are there.
        received: usize,
    },
}

/// What is known of the message that `kept` begins with.
#[derive(Debug)]
enum Known {
    /// How far the search for the end of its head went.
    Head(Search),
    /// Its head has so many bytes, and all of it so many.
    Length { head: usize, whole: usize },
    /// So many bytes of its head and its body were read.
    Chunked {
        read: usize,
        coding: Chunked,
        body: Vec<u8>,
    },
    /// It is not plain, and no more of it will make it so.
    Odd,
}

impl Default for Known {
    fn default() -> Self {
        Self::Head(Search::default())
    }
}

/// One connection's way in. Its calls may name several gates, if a tag is the same route in all of them.
#[derive(Debug, Default)]
pub struct Intake {
    kept: Vec<u8>,
    /// Where in `kept` the message begins that is not served yet.
    start: usize,
    known: Known,
    peer: Peer,
    /// The last head that was admitted.
    seen: Option<Seen>,
    last: Option<Sender>,
}

/// What a head is.
enum Reading<'a> {
    /// The one that the connection has seen, again.
    Again(Again<'a>),
    /// One that is not decided here.
    Other(Box<Head<'a>>),
}

/// Capacity that is kept for the next message.
const SPARE_BYTES: usize = 16 << 10;

/// Bytes of a chunked body for each byte of the bound on its content: the shortest chunks need six, and no more
/// can be had by zeros in front of a size.
const CODING_FACTOR: usize = 8;

const FAILED: &[u8] = b"HTTP/1.1 500 \r\ncontent-type: application/json\r\nconnection: close\r\n\
    content-length: 136\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,\
    \"message\":\"the gateway failed to serve the request\",\"data\":{\"code\":\"internal-error\"}}}";

impl Intake {
    /// Takes what came, which may be nothing: then a message that is kept already may be served. Says what
    /// becomes of the first message that is not served yet; what is behind it is kept.
    ///
    /// # Arguments
    ///
    /// `clock` is asked before and after a decision, and not at all where none is made.
    pub fn receive(&mut self, gate: &Gate, data: &[u8], clock: &dyn Fn() -> Nanos) -> Received {
        let taken = catch_unwind(AssertUnwindSafe(|| self.take(gate, data, clock)));
        taken.unwrap_or_else(|_| {
            let peer = mem::take(&mut self.peer);
            *self = Self {
                peer,
                ..Self::default()
            };
            Received::Failed(FAILED.to_vec())
        })
    }

    /// Says who the connection is known to be, from the next message on.
    pub fn set_peer(&mut self, peer: Peer) {
        if self.peer != peer {
            self.peer = peer;
            self.seen = None;
        }
    }

    /// Whether nothing is kept: no part of a message, and none behind the last.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.kept.len()
    }

    /// What is waited for. Of messages that are kept because others are served first, this says nothing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.known {
            _ if self.is_empty() => Phase::Idle,
            Known::Head(_) | Known::Odd => Phase::Head,
            Known::Length { head, .. } => Phase::Body {
                received: (self.kept.len() - self.start).saturating_sub(*head),
            },
            Known::Chunked { body, .. } => Phase::Body {
                received: body.len(),
            },
        }
    }

    /// All bytes that were not made into a message, as they came. Nothing is kept after this.
    #[must_use]
    pub fn take_raw(&mut self) -> Vec<u8> {
        let Self {
            mut kept, start, ..
        } = mem::take(self);
        kept.drain(..start);
        kept
    }

    fn take(&mut self, gate: &Gate, data: &[u8], clock: &dyn Fn() -> Nanos) -> Received {
        // What comes whole is read where it lies.
        let in_place = self.is_empty();
        if !in_place {
            self.keep(data);
        }
        let kept = mem::take(&mut self.kept);
        let bytes = if in_place {
            data
        } else {
            kept.get(self.start..).unwrap_or_default()
        };
        let served = self.serve_first(gate, bytes, clock);
        self.kept = kept;
        let (received, used) = match served {
            Ok(Some((received, used))) => {
                self.known = Known::default();
                (received, used)
            }
            Ok(None) => (Received::More, 0),
            Err(NotPlain) => {
                self.known = Known::Odd;
                (Received::TakeOver, 0)
            }
        };
        if in_place {
            self.keep(data.get(used..).unwrap_or_default());
        } else {
            self.start += used;
            self.keep(&[]);
        }
        received
    }

    /// Serves the message that `bytes` begins with, once it is all there; also returns its length.
    fn serve_first(
        &mut self,
        gate: &Gate,
        bytes: &[u8],
        clock: &dyn Fn() -> Nanos,
    ) -> Result<Option<(Received, usize)>, NotPlain> {
        let mut first_read = None;
        if let Known::Head(search) = &mut self.known {
            // Mostly all of it is there, and then its end need not be looked for.
            if search.is_new() {
                first_read = read(gate, &self.peer, &mut self.seen, bytes, clock).ok();
            }
            let reading = match &mut first_read {
                Some(reading) => reading,
                none if search.finds_end(bytes, gate.max_head_bytes)? => {
                    none.insert(read(gate, &self.peer, &mut self.seen, bytes, clock)?)
                }
                _ => return Ok(None),
            };
            self.known = framed(gate, reading)?;
        }
        let coded;
        let (body, used) = match &mut self.known {
            Known::Length { head, whole } => match bytes.get(*head..*whole) {
                Some(body) => (body, *whole),
                None => return Ok(None),
            },
            Known::Chunked { read, coding, body } => {
                let new = bytes.get(*read..).unwrap_or_default();
                let (used, done) = coding.feed(new, body).map_err(|_| NotPlain)?;
                *read += used;
                let announced = (body.len() as u64).saturating_add(coding.left());
                if announced > gate.max_body_bytes as u64 || *read > coded_bytes(gate) {
                    return Err(NotPlain);
                }
                if !done {
                    return Ok(None);
                }
                coded = mem::take(body);
                (coded.as_slice(), *read)
            }
            Known::Head(_) | Known::Odd => return Err(NotPlain),
        };
        let reading = match first_read {
            Some(reading) => reading,
            None => read(gate, &self.peer, &mut self.seen, bytes, clock)?,
        };
        let received = match (reading, &self.seen) {
            (Reading::Again(again), Some(seen)) => {
                serve(gate, (seen, &again), &mut self.last, bytes, body, clock)?
            }
            (Reading::Again(_), None) => return Err(NotPlain),
            (Reading::Other(head), _) => hand_over(&head, body, None),
        };
        self.seen.take_if(|seen| !seen.is_short());
        Ok(Some((received, used)))
    }

    /// Keeps `data` behind what is kept, and lets go of what was served.
    fn keep(&mut self, data: &[u8]) {
        if self.is_empty() {
            self.kept.clear();
            self.kept.shrink_to(SPARE_BYTES);
            self.start = 0;
        }
        if !data.is_empty() {
            self.kept.drain(..self.start);
            self.start = 0;
            self.kept.extend_from_slice(data);
        }
    }
}

/// Reads the head that `input` begins with; one that is admitted is seen from then on.
fn read<'a>(
    gate: &Gate,
    peer: &Peer,
    seen: &mut Option<Seen>,
    input: &'a [u8],
    clock: &dyn Fn() -> Nanos,
) -> Result<Reading<'a>, NotPlain> {
    if let Some(again) = seen.as_ref().and_then(|seen| seen.again(gate, input)) {
        return Ok(Reading::Again(again));
    }
    let head = Head::read(input)?;
    if let Some(way) = gate.admits(&head, peer, clock) {
        *seen = Seen::of(gate, way, input, &head);
        if let Some(again) = seen.as_ref().and_then(|seen| seen.again(gate, input)) {
            return Ok(Reading::Again(again));
        }
    }
    Ok(Reading::Other(Box::new(head)))
}

/// Where a message ends, as far as its head says, if that is within the bounds.
fn framed(gate: &Gate, reading: &Reading<'_>) -> Result<Known, NotPlain> {
    // Only POST has a body that means something; readers differ on others'.
    let (head, framing, is_post) = match reading {
        Reading::Again(again) => (again.length, again.framing, true),
        Reading::Other(head) => (head.length, head.framing, head.method == b"POST"),
    };
    let most = if is_post { gate.max_body_bytes } else { 0 };
    if head > gate.max_head_bytes {
        return Err(NotPlain);
    }
    match framing {
        Framing::Length(length) => {
            let length = usize::try_from(length)
                .ok()
                .filter(|length| *length <= most);
            let whole = length.and_then(|length| head.checked_add(length));
            Ok(Known::Length {
                head,
                whole: whole.ok_or(NotPlain)?,
            })
        }
        Framing::Chunked if most > 0 => Ok(Known::Chunked {
            read: head,
            coding: Chunked::default(),
            body: Vec::new(),
        }),
        Framing::Chunked => Err(NotPlain),
    }
}

/// Most bytes of a message whose body is chunked.
fn coded_bytes(gate: &Gate) -> usize {
    let body = gate.max_body_bytes.saturating_mul(CODING_FACTOR);
    body.saturating_add(gate.max_head_bytes)
}
