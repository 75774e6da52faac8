//! One whole message: who sends it, what is decided of it, where it goes.
//!
//! INVARIANT: only an allowed decision becomes bytes for a server, once; what is not decided here is handed
//! over without one.

use std::sync::Arc;

use super::again::{Again, Seen};
use super::asked::Asked;
use super::credentials::Fingerprint;
use super::forward;
use super::gate::{Gate, Route};
use super::request::{Head, NotPlain};
use super::{Forward, HandedOver, Received};
use crate::caller::Caller;
use crate::decision::Decision;
use crate::denial;
use crate::engine::Beside;
use crate::ledger::{End, Entry};
use crate::limit::QuotaKey;
use crate::ratelimit;
use crate::time::Nanos;

/// The sender of the last message, so that the next one need not be looked up anew.
#[derive(Debug)]
pub(super) struct Sender {
    tag: usize,
    caller: Arc<Caller>,
    revision: u64,
    session: Option<Place>,
}

/// Where the limit table remembers who owns a session, and what it says if this is the grant.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: QuotaKey,
    owner: u64,
}

impl Place {
    fn of(route: &Route, session: &[u8]) -> Self {
        let table = route.engine.table();
        Self {
            key: table.binding_key("session", &route.server, session),
            owner: table.owner_word(&route.grant),
        }
    }
}

/// Decides what is to be decided, and says what becomes of the message.
///
/// # Arguments
///
/// `seen` is what `again` repeats; `last` is the connection's memory of its last sender; `input` begins with the
/// head; `clock` says what time it is.
///
/// # Errors
///
/// [`NotPlain`]: never for a head that was admitted.
pub(super) fn serve<'s, 'a: 's>(
    gate: &Gate,
    (seen, again): (&'s Seen, &Again<'a>),
    last: &mut Option<Sender>,
    input: &[u8],
    body: &[u8],
    clock: &dyn Fn() -> Nanos,
) -> Result<Received, NotPlain> {
    let route = gate.route(seen.way.route).ok_or(NotPlain)?;
    let claims = seen.claims(again);
    let session = seen.session.as_deref();
    let now = clock();
    if seen.way.until.is_some_and(|until| until <= now) {
        return Ok(hand_over(&Head::read(input)?, body, None));
    }
    let Some(caller) = sender(route, last, session, now) else {
        return Ok(hand_over(&Head::read(input)?, body, None));
    };
    let beside = Beside {
        full: gate.is_full(),
        ..Beside::default()
    };
    let engine = &route.engine;
    let decision = engine.decide_beside(&caller, body, Some(&claims), now, beside);
    if decision.held {
        return Ok(hand_over(&Head::read(input)?, body, None));
    }
    let took = clock().since(now);
    route.engine.counts().observe(&decision, took);
    if !decision.allowed {
        let protocol = route.engine.options().protocol_denials;
        let answer = denial::answer(&decision, protocol);
        let end = End::default();
        route.engine.record(|| {
            Some(Entry {
                decision,
                caller,
                at: now,
                decide_ns: took,
                end,
            })
        });
        return Ok(Received::Answer(forward::answer(&answer, false)));
    }
    // A call that is held for a person may be what is cancelled.
    let cancels = route.engine.options().approvals
        && decision.method.as_deref() == Some("notifications/cancelled");
    if cancels || !gate.is_simple(&decision, body) {
        let decided = Some((route, seen.way.token, caller, decision));
        return Ok(hand_over(&Head::read(input)?, body, decided));
    }
    Ok(Received::Forward(Forward {
        tag: route.tag,
        bytes: seen.forward(again, body, decision.traceparent()),
        asked: Asked {
            id: decision.request_id.clone(),
            legacy: !claims.modern(),
            session: session.map(Into::into),
            told: ratelimit::lines(&decision),
        },
        decision,
        caller,
        engine: route.engine.clone(),
        token: seen.way.token,
    }))
}

/// Who sends a message of this session, if it names one; `None` if the grant has no such session.
fn sender(
    route: &Route,
    last: &mut Option<Sender>,
    session: Option<&[u8]>,
    now: Nanos,
) -> Option<Arc<Caller>> {
    let known = last.as_ref().filter(|last| {
        last.tag == route.tag && last.caller.session().map(str::as_bytes) == session
    });
    let place = match known {
        Some(known) => known.session,
        None => session.map(|session| Place::of(route, session)),
    };
    let revision = match place {
        Some(Place { key, owner }) => {
            let binding = route.engine.table().owner(key, now)?;
            if binding.owner != owner {
                return None;
            }
            binding.payload
        }
        None => 0,
    };
    if let Some(known) = known.filter(|known| known.revision == revision) {
        return Some(known.caller.clone());
    }
    let caller = Arc::new(Caller::new(
        route.grant.clone(),
        route.server.clone(),
        session.map(|session| String::from_utf8_lossy(session).into_owned()),
        revision_name(revision),
    ));
    *last = Some(Sender {
        tag: route.tag,
        caller: caller.clone(),
        revision,
        session: place,
    });
    Some(caller)
}

/// A revision from the number that a table holds (20250326 is `2025-03-26`); `None` for 0, which says that it
/// is not known.
fn revision_name(number: u64) -> Option<String> {
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    (number > 0).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// An allowed message: its route, the token that said whose it is, who that is, and the decision.
type Allowed<'r> = (&'r Route, Option<Fingerprint>, Arc<Caller>, Arc<Decision>);

/// Leaves the message to the application.
pub(super) fn hand_over(head: &Head<'_>, body: &[u8], decided: Option<Allowed<'_>>) -> Received {
    let fields = head.fields.iter();
    let headers = fields
        .map(|field| (field.spelt.to_ascii_lowercase(), field.value.to_vec()))
        .collect();
    let (route, token, caller, decision) = match decided {
        Some((route, token, caller, decision)) => {
            (Some(route), token, Some(caller), Some(decision))
        }
        None => (None, None, None, None),
    };
    Received::HandOver(Box::new(HandedOver {
        method: head.method.to_vec(),
        target: head.target.to_vec(),
        headers,
        body: body.to_vec(),
        decision,
        caller,
        tag: route.map(|route| route.tag),
        engine: route.map(|route| route.engine.clone()),
        token,
    }))
}
