//! The body of an event stream on its way to the client.
//!
//! INVARIANT: a piece leaves when it comes, byte for byte, until the policy hides something; from there on whole
//! events leave, without what is hidden. Of an event that was passing at that moment the rest leaves only if
//! there is nothing to hide in all of it. What cannot be read exactly does not leave.

use std::borrow::Cow;

use crate::engine::Engine;
use crate::listing::{self, Hiding};
use crate::sse::{Cut, Cutter, Event};

use super::answer::Step;
use super::body::{Why, chunk};
use super::observe::observe;

const TOO_LONG: Why = Cow::Borrowed("an event is too long to be read");
const HALF_HIDDEN: Why = Cow::Borrowed("an event of which the client has a part is now hidden");
const AMBIGUOUS: &str = "a line may end in more than one place";
const STRAY: &str = "a line that is no field may hold a list";

/// A stream, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Events {
    cutter: Cutter,
    /// Something was hidden at some time, so that only whole events leave. It stays, because a filter with
    /// nothing to hide changes nothing.
    filters: bool,
    /// Bytes of the pending event that the client has.
    begun: usize,
    /// Whether the answer to the request has passed.
    answered: bool,
}

impl Events {
    pub(super) const fn answered(&self) -> bool {
        self.answered
    }

    /// Whether what the client has so far ends where an event does.
    pub(super) const fn has_whole_events(&self) -> bool {
        self.begun == 0
    }

    /// Appends to `out`, in chunks, what of this piece leaves, and to the step what has to be seen before it does.
    /// What was appended before a fault still leaves.
    pub(super) fn pass(
        &mut self,
        engine: &Engine,
        legacy: bool,
        piece: &[u8],
        out: &mut Vec<u8>,
        step: &mut Step,
    ) -> Result<(), Why> {
        let hiding = engine.hiding();
        self.filters = self.filters || hiding.is_some();
        if self.filters {
            let mut kept = Vec::with_capacity(piece.len());
            let filtered = self.filter(hiding.as_ref(), legacy, piece, &mut kept, step);
            chunk(&kept, out);
            return filtered;
        }
        chunk(piece, out);
        let mut rest = piece;
        while let Some(cut) = self.cutter.next(&mut rest) {
            if let Cut::Event(event) = cut {
                let data = event.data().unwrap_or_default();
                self.answered |= look(data, legacy, step);
            }
        }
        self.begun = self.cutter.pending_bytes();
        Ok(())
    }

    fn filter(
        &mut self,
        hiding: Option<&Hiding>,
        legacy: bool,
        piece: &[u8],
        out: &mut Vec<u8>,
        step: &mut Step,
    ) -> Result<(), Why> {
        let mut rest = piece;
        while let Some(cut) = self.cutter.next(&mut rest) {
            let Cut::Event(event) = cut else {
                return Err(TOO_LONG);
            };
            let data = event.data().unwrap_or_default();
            match (filtered(hiding, event, &data)?, self.begun) {
                (None, begun) => {
                    out.extend_from_slice(event.raw().get(begun..).unwrap_or_default());
                }
                (Some(changed), 0) => out.extend_from_slice(&changed),
                (Some(_), _) => return Err(HALF_HIDDEN),
            }
            self.begun = 0;
            self.answered |= look(data, legacy, step);
        }
        if self.cutter.is_too_long() {
            return Err(TOO_LONG);
        }
        Ok(())
    }
}

/// Shows the step what asks the client something; answers whether this is the answer to the request.
fn look(data: Cow<'_, [u8]>, legacy: bool, step: &mut Step) -> bool {
    let observed = observe(&data, legacy);
    if observed.asks {
        step.see.push(data.into_owned());
    }
    observed.answers
}

/// The event without what is hidden; `None` where there is nothing to hide in it.
fn filtered(
    hiding: Option<&Hiding>,
    event: Event<'_>,
    data: &[u8],
) -> Result<Option<Vec<u8>>, Why> {
    let unreadable = |why: &dyn std::fmt::Display| format!("an event cannot be filtered: {why}");
    if event.is_ambiguous() {
        return Err(unreadable(&AMBIGUOUS).into());
    }
    let Some(hiding) = hiding else {
        return Ok(None);
    };
    // A reader that takes a stream for lines of JSON would find a list where this one reads nothing.
    if event.strays().any(listing::may_hold_tools) {
        return Err(unreadable(&STRAY).into());
    }
    if data.trim_ascii().is_empty() {
        return Ok(None);
    }
    let kept = listing::filter(hiding, data).map_err(|fault| unreadable(&fault))?;
    Ok(kept.map(|kept| event.with_data(&kept)))
}
