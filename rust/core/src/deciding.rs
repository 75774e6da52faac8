//! The steps of one decision: read, hold against the headers, evaluate the rules, reserve, describe.
//!
//! INVARIANT: a message is admitted only at the end of all steps; whatever stops before has charged nothing.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::approval::Approval;
use crate::caller::Caller;
use crate::charges::{Asking, Charges, Keys};
use crate::claims::{Claims, Disagreement, HEADER_MISMATCH};
use crate::counts::{self, Grid};
use crate::decision::{Code, Decision, Kind, ShadowDenial};
use crate::engine::Options;
use crate::evaluate::{Evaluation, Witness};
use crate::json::{self, FaultKind, Index, Value};
use crate::ledger::{Noted, Permit};
use crate::limit::{LimitTable, Reading, Release, Reservation, Verdict};
use crate::message::{self, Era, Message, Shape};
use crate::pins::Pins;
use crate::policy::{Entries, Entry, LimitUse, PolicySet, Quota};
use crate::refused::{Refused, enforced, refused, unavailable};
use crate::time::Nanos;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;

const OVERLOADED: &str = "too many requests are in progress; try again";
const NOT_RUN: &str = "not run: another message of its array was refused";

thread_local! {
    /// Buffers of the scanner, kept so that a decision allocates none of them.
    static INDEX: RefCell<Index> = RefCell::default();
}

/// Watches a rehearsal: rules as they are evaluated, then each limit and what it has left.
pub trait Rehearsal: Witness {
    /// A limit would be charged.
    fn limit(&mut self, place: &LimitUse, quota: &Quota, reading: &Reading);
    /// The same object as a witness of rules.
    fn as_witness(&mut self) -> &mut dyn Witness;
}

/// What else is known when a message is decided.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'d> {
    /// What people say of it, where it was held.
    pub approval: Option<&'d Arc<Approval>>,
    /// As many messages are in flight as may be: what wants an answer is refused as [`Code::Overloaded`] before any
    /// rule is evaluated. The rest, which helps running calls to end, is decided as always.
    pub full: bool,
}

/// One call of `decide`: what all its steps look at.
pub(crate) struct Deciding<'d> {
    pub(crate) table: &'d LimitTable,
    pub(crate) options: &'d Options,
    pub(crate) pins: Option<&'d Pins>,
    pub(crate) policy: &'d Arc<PolicySet>,
    pub(crate) keys: &'d Keys,
    pub(crate) caller: &'d Caller,
    pub(crate) claims: Option<&'d Claims<'d>>,
    pub(crate) now: Nanos,
    pub(crate) beside: Beside<'d>,
    pub(crate) witness: Option<&'d mut dyn Rehearsal>,
}

impl Deciding<'_> {
    pub(crate) fn body(mut self, body: &[u8], decision: &mut Decision) {
        // Re-entered only if a destructor decides while we decide: then new buffers.
        INDEX.with(|cell| match cell.try_borrow_mut() {
            Ok(mut index) => self.scan(&mut index, body, decision),
            Err(_) => self.scan(&mut Index::default(), body, decision),
        });
    }

    /// Fills in the new `decision`. It is large, so it is made where it stays.
    fn scan(&mut self, index: &mut Index, body: &[u8], decision: &mut Decision) {
        decision.omit_unknown_id = self.claims.is_some_and(Claims::recent);
        if let Some(header) = self.claims.and_then(|claims| claims.repeated) {
            let (code, rpc_code) = if header.starts_with("mcp-") {
                (Code::HeaderMismatch, HEADER_MISMATCH)
            } else {
                (Code::MalformedRequest, INVALID_REQUEST)
            };
            decision.refuse(code, rpc_code, format!("the header `{header}` comes twice"));
            return;
        }
        match index.scan(body, &self.options.bounds) {
            Ok(value) if value.kind() == json::Kind::Array => self.batch(value, decision),
            Ok(value) => self.message(value, self.claims, decision),
            Err(fault) => {
                let (code, rpc_code) = match fault.kind {
                    FaultKind::DuplicateKey => (Code::DuplicateKey, INVALID_REQUEST),
                    FaultKind::TooDeep | FaultKind::TooManyKeys => (Code::TooDeep, INVALID_REQUEST),
                    FaultKind::TooLarge => (Code::BodyTooLarge, INVALID_REQUEST),
                    FaultKind::NumberOutOfRange => (Code::NumberOutOfRange, INVALID_REQUEST),
                    FaultKind::Malformed => (Code::MalformedRequest, PARSE_ERROR),
                };
                decision.refuse(code, rpc_code, fault.to_string());
            }
        }
    }

    /// An array is admitted whole or not at all: every message of it is decided, and if one is refused,
    /// what the others took is given back.
    fn batch(&mut self, array: Value<'_>, whole: &mut Decision) {
        // An approval is of one call.
        self.beside.approval = None;
        let refuse = |decision: &mut Decision, message: &str| {
            decision.refuse(Code::BatchNotAllowed, INVALID_REQUEST, message.to_owned());
        };
        if self.caller.revision() != Some(message::BATCH_REVISION) {
            let reason = "an array of messages is not allowed in this revision";
            return refuse(whole, reason);
        }
        if array.is_empty() {
            return refuse(whole, "an empty array is not a message");
        }
        if let Some(reason) = self.claims.and_then(Claims::contradicts_array) {
            return whole.refuse(Code::HeaderMismatch, HEADER_MISMATCH, reason.to_owned());
        }
        if self.claims.is_some_and(Claims::speaks_of_one) {
            return refuse(whole, "the headers name one message, the body has several");
        }
        if self.beside.full {
            whole.kind = Kind::Batch;
            whole.parts = array.elements().map(|each| self.unread(each)).collect();
            for part in &mut whole.parts {
                part.refuse(Code::Overloaded, 0, OVERLOADED.to_owned());
            }
            return whole.refuse(Code::Overloaded, 0, OVERLOADED.to_owned());
        }
        let mut parts: Vec<Decision> = Vec::with_capacity(array.len());
        for element in array.elements() {
            let mut part = Decision::new(self.policy.clone());
            self.message(element, None, &mut part);
            if part.allowed
                && (part.era == Era::Modern || part.method.as_deref().is_some_and(not_in_an_array))
            {
                self.give_back(&mut part);
                part = Decision::new(self.policy.clone());
                refuse(&mut part, "this message may not be part of an array");
            }
            let refused = !part.allowed;
            parts.push(part);
            if refused {
                break;
            }
        }
        whole.kind = Kind::Batch;
        match parts.last() {
            Some(last) if !last.allowed => {
                whole.refuse(last.code, last.rpc_code, last.message.clone());
                for part in &mut parts {
                    self.give_back(part);
                }
                let rest = array
                    .elements()
                    .skip(parts.len())
                    .map(|element| self.unread(element));
                parts.extend(rest.collect::<Vec<_>>());
            }
            _ => whole.allow(),
        }
        whole.parts = parts;
    }

    /// A message of a batch that is not looked at any more, because an earlier one was refused.
    fn unread(&self, element: Value<'_>) -> Decision {
        let mut decision = Decision::new(self.policy.clone());
        decision.refuse(Code::BatchNotAllowed, 0, NOT_RUN.to_owned());
        if let Ok(message) = message::read(element) {
            describe(&mut decision, &message);
        }
        decision
    }

    fn give_back(&self, part: &mut Decision) {
        if let Some(reservation) = part.reservation.take() {
            self.table
                .release(&reservation, Release::GiveBack, self.now);
        }
        if part.allowed {
            part.allowed = false;
            part.code = Code::BatchNotAllowed;
            part.limits.clear();
            part.message = NOT_RUN.into();
        }
    }

    fn message(&mut self, value: Value<'_>, claims: Option<&Claims<'_>>, decision: &mut Decision) {
        // A message is large, so it is looked at where it is.
        let read = message::read(value);
        let message = match &read {
            Ok(message) => message,
            Err(reject) => {
                let reason = reject.reason.to_owned();
                decision.refuse(Code::MalformedRequest, reject.rpc_code, reason);
                decision.era = reject.era;
                decision.request_id = reject.id.map(SmallVec::from_slice);
                return;
            }
        };
        describe(decision, message);
        if let Some(Err(disagreement)) = claims.map(|claims| claims.check(message)) {
            let Disagreement { rpc_code, reason } = disagreement;
            return decision.refuse(Code::HeaderMismatch, rpc_code, reason);
        }
        match self.decide(message, decision) {
            Ok(()) => decision.allow(),
            Err(refused) => {
                let (code, reason) = (refused.code, refused.message);
                let (code, reason) = match self.beside.approval {
                    Some(approval) if code == Code::ApprovalRequired => {
                        decision.approval = Some(approval.clone());
                        approval.refusal(&reason)
                    }
                    _ => (code, reason),
                };
                decision.refuse(code, 0, reason);
                decision.rule = refused.rule;
                decision.limits = refused.limits;
                decision.retry_after_ns = refused.retry_after_ns;
            }
        }
    }

    fn decide(
        &mut self,
        message: &Message<'_>,
        decision: &mut Decision,
    ) -> Result<(), Box<Refused>> {
        let policy: &PolicySet = self.policy;
        let all_shadow = self.options.shadow;
        let is_call = decision.is_tool_call();
        let root = if matches!(
            decision.method.as_deref(),
            Some("tools/call" | "prompts/get")
        ) {
            message.arguments
        } else {
            message.params
        };
        self.note(message, root, decision);
        // Rules may take a millisecond, which is what there is too little of then.
        if self.beside.full && message.shape == Shape::Request {
            return Err(unavailable(Code::Overloaded, OVERLOADED));
        }
        let approval = self.beside.approval;
        let lifting = approval.filter(|approval| approval.lifts(policy));
        let witness = self.witness.as_deref_mut().map(Rehearsal::as_witness);
        let mut evaluation = Evaluation {
            policy,
            all_shadow,
            approved: lifting.is_some(),
            lifted: false,
            shadow: Vec::new(),
            witness,
        };
        let mut entries = Entries::new();
        let passed = if is_call {
            let name = message
                .target
                .as_ref()
                .map(|text| text.to_cow())
                .unwrap_or_default();
            let ruled = evaluation.tool(&name, root, &mut entries);
            match &ruled {
                Err(refusal) if refusal.code != Code::ApprovalRequired => ruled,
                // Nobody is asked for what must not be called, whatever they say.
                _ => evaluation.pinned(&name, self.pins).and(ruled),
            }
        } else {
            evaluation.method(message, self.caller.revision(), root, &mut entries)
        };
        decision.approval = lifting.filter(|_| evaluation.lifted).cloned();
        decision.shadow = evaluation.shadow;
        passed?;
        decision.label = label(&entries, is_call, policy);
        let asking = Asking {
            policy,
            table: self.table,
            keys: self.keys,
            caller: self.caller,
            root,
            all_shadow,
        };
        let mut charges = Charges::default();
        asking.collect(&entries, &mut decision.shadow, &mut charges)?;
        self.take_room(decision)?;
        if charges.charges.is_empty() {
            return Ok(());
        }
        self.reserve(&charges, decision)
    }

    /// Keeps what the log says of the message.
    fn note(&self, message: &Message<'_>, arguments: Option<Value<'_>>, decision: &mut Decision) {
        if let Some(ledger) = &self.options.ledger {
            let parent = self.claims.and_then(|claims| claims.trace);
            let mut noted = Noted::of(message, arguments, ledger.arguments(), parent);
            noted.span = ledger.tracing().map(|tracing| tracing.span(noted.parent));
            decision.noted = Some(Box::new(noted));
        }
    }

    /// Takes room for the line of a message that no rule refuses.
    fn take_room(&self, decision: &mut Decision) -> Result<(), Box<Refused>> {
        let Some(ledger) = &self.options.ledger else {
            return Ok(());
        };
        decision.permit = match &self.witness {
            None => Permit::take(ledger, decision.weight()),
            Some(_) => return Ok(()),
        };
        if decision.permit.is_none() && ledger.is_required() {
            let reason = "what is decided cannot be logged at present; nothing is let through";
            return Err(unavailable(Code::LogUnavailable, reason));
        }
        Ok(())
    }

    fn reserve(
        &mut self,
        charges: &Charges<'_>,
        decision: &mut Decision,
    ) -> Result<(), Box<Refused>> {
        let table = self.table;
        let mut readings: SmallVec<[Reading; 4]> = SmallVec::new();
        let verdict = match self.witness.as_deref_mut() {
            None => table.reserve(&charges.charges, self.now, &mut readings),
            Some(witness) => {
                readings.extend(
                    charges
                        .charges
                        .iter()
                        .map(|charge| table.peek(charge, self.now).unwrap_or_default()),
                );
                tell(witness, charges, &readings);
                if readings.iter().any(|reading| reading.refused) {
                    Verdict::Refused
                } else {
                    Verdict::Admitted(Reservation::default())
                }
            }
        };
        for ((places, charge), reading) in
            charges.places.iter().zip(&charges.charges).zip(&readings)
        {
            if reading.shadow_refused {
                let rules = places.full_shadows(charge, reading);
                let code = Code::LimitExceeded;
                decision
                    .shadow
                    .extend(rules.map(|rule| ShadowDenial { rule, code }));
            }
        }
        match verdict {
            Verdict::Admitted(reservation) => {
                decision.reservation = Some(reservation);
                for (_, _, report) in enforced(charges, &readings) {
                    decision.limits.push(report);
                }
                decision.limits.sort_by_key(|report| report.remaining);
                Ok(())
            }
            Verdict::Refused => Err(Box::new(refused(charges, &readings))),
            Verdict::TableFull => Err(unavailable(
                Code::TableFull,
                "there is no room for another quota at present; try again later",
            )),
            Verdict::Contended => Err(unavailable(
                Code::Contended,
                "too many calls for one quota at the same moment; try again",
            )),
            Verdict::Unavailable => Err(unavailable(
                Code::StateUnavailable,
                "the limits cannot be counted at present; nothing is let through",
            )),
        }
    }
}

fn tell(witness: &mut dyn Rehearsal, charges: &Charges<'_>, readings: &[Reading]) {
    for (places, reading) in charges.places.iter().zip(readings) {
        if let Some(place) = places.place() {
            witness.limit(place, places.quota, reading);
        }
    }
}

/// What opens a session, and what the revision with arrays does not have and others look after by its id.
fn not_in_an_array(method: &str) -> bool {
    method == "initialize" || method.starts_with("tasks/")
}

/// Copies what the message says of itself into its decision.
fn describe(decision: &mut Decision, message: &Message<'_>) {
    decision.kind = match message.shape {
        Shape::Request => Kind::Request,
        Shape::Notification => Kind::Notification,
        Shape::Response => Kind::Response,
    };
    decision.era = message.era;
    decision.request_id = message.id.map(SmallVec::from_slice);
    decision.method = message.method.as_ref().map(|text| {
        let method = text.to_cow();
        match message::canonical(&method) {
            Some(known) => Cow::Borrowed(known),
            None => Cow::Owned(method.into_owned()),
        }
    });
    decision.target = message
        .target
        .as_ref()
        .map(|text| text.to_cow().into_owned());
    decision.progress_token = message.progress_token.map(SmallVec::from_slice);
    decision.label = if decision.is_tool_call() {
        counts::OTHER
    } else {
        counts::NO_TOOL
    };
}

/// The row to count in: the entry that names the tool, not `all_tools`.
fn label(entries: &[&Entry], is_call: bool, policy: &PolicySet) -> u32 {
    let all_tools = policy.all_tools().map(|entry| entry.label);
    let own = entries
        .iter()
        .map(|entry| entry.label)
        .find(|label| Some(*label) != all_tools);
    match (is_call, own) {
        (true, Some(label)) => Grid::row(label),
        (true, None) => counts::OTHER,
        (false, _) => counts::NO_TOOL,
    }
}
