//! What is to be traced: a ledger in front of the decision log, or in its place, which keeps a bounded number of spans
//! until somebody comes for them.
//!
//! INVARIANT: whoever decides never waits for whoever exports, and no span holds on to a decision, since with it goes the
//! room of a line; what finds no room is left out and counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use gateway_core::decimal::Decimal;
use gateway_core::decision::{Decision, Kind};
use gateway_core::ledger::{End, Entry, Ledger};
use gateway_core::time::Nanos;
use gateway_core::trace::{Sampling, Span, Tracing};

use crate::line;
use crate::log::lock;

/// Longer texts of a client's choosing are cut.
const TEXT_BYTES: usize = 256;

/// How one message went.
#[derive(Debug)]
pub struct Record {
    /// Its ids, and its parent's.
    pub span: Span,
    /// When its decision began.
    pub started: Nanos,
    /// When its answer had ended, as far as that is known; the decision's end otherwise.
    pub ended: Nanos,
    /// Who asked.
    pub grant: String,
    /// Which server.
    pub server: String,
    /// Digits of the SHA-256 of the session's id.
    pub session: Option<String>,
    /// The message's method.
    pub method: String,
    /// The tool that was called.
    pub tool: Option<String>,
    /// The message's id as it was spelt.
    pub request_id: Option<String>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Why.
    pub code: &'static str,
    /// What decided, as a pointer into the policy.
    pub rule: Option<String>,
    /// The limit that refused or is the tightest, and what was left of it.
    pub limit: Option<(String, Decimal)>,
    /// How much shadow mode would have refused.
    pub shadow: usize,
    /// Digest of the policy that decided.
    pub policy: String,
    /// What became of it.
    pub end: End,
}

#[derive(Default)]
struct Queue {
    records: Vec<Record>,
    closed: bool,
}

struct Shared {
    log: Option<Arc<dyn Ledger>>,
    tracing: Tracing,
    queue: Mutex<Queue>,
    wake: Condvar,
    room: usize,
    made: AtomicU64,
}

/// Spans that wait to be exported.
#[derive(Clone)]
pub struct Spans(Arc<Shared>);

impl Spans {
    /// A queue with room for so many, in front of a decision log if there is one.
    #[must_use]
    pub fn new(log: Option<Arc<dyn Ledger>>, sampling: Sampling, room: usize) -> Self {
        Self(Arc::new(Shared {
            log,
            tracing: Tracing::new(sampling),
            queue: Mutex::default(),
            wake: Condvar::new(),
            room,
            made: AtomicU64::new(0),
        }))
    }

    /// The same, as the engine knows it.
    #[must_use]
    pub fn ledger(&self) -> Arc<dyn Ledger> {
        self.0.clone()
    }

    /// How many spans there were so far, those that found no room included.
    #[must_use]
    pub fn made(&self) -> u64 {
        // ORDERING: a statistic.
        self.0.made.load(Ordering::Relaxed)
    }

    /// What waits, once half of the room is used or this time has passed; `None` when it was closed and nothing waits.
    #[must_use]
    pub fn take(&self, patience: Duration) -> Option<Vec<Record>> {
        let half = self.0.room.div_ceil(2);
        let waits = |queue: &mut Queue| !queue.closed && queue.records.len() < half;
        let queue = lock(&self.0.queue);
        let waited = self.0.wake.wait_timeout_while(queue, patience, waits);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let records = std::mem::take(&mut queue.records);
        (!queue.closed || !records.is_empty()).then_some(records)
    }

    /// Keeps no more, and lets nobody wait.
    pub fn close(&self) {
        lock(&self.0.queue).closed = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn keep(&self, entry: &Entry) {
        for decision in line::decisions(entry) {
            let span = decision.noted.as_ref().and_then(|noted| noted.span);
            let asks = matches!(decision.kind, Kind::Request | Kind::Notification);
            if let Some(span) = span.filter(|span| asks && span.sampled) {
                // ORDERING: a statistic.
                self.made.fetch_add(1, Ordering::Relaxed);
                self.push(|| record(entry, decision, span));
            }
        }
    }

    fn push(&self, record: impl FnOnce() -> Record) {
        let mut queue = lock(&self.queue);
        let waiting = queue.records.len();
        if waiting < self.room && !queue.closed {
            queue.records.push(record());
            drop(queue);
            if waiting + 1 == self.room.div_ceil(2) {
                self.wake.notify_one();
            }
        }
    }
}

/// The beginning of a text.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

fn record(entry: &Entry, decision: &Decision, span: Span) -> Record {
    let report = decision.limits.first();
    let took_ns = entry.end.took_ns.unwrap_or(entry.decide_ns);
    let id = decision.request_id.as_deref();
    Record {
        span,
        started: entry.at,
        ended: Nanos(entry.at.0.saturating_add(took_ns)),
        grant: entry.caller.grant().to_owned(),
        server: entry.caller.server().to_owned(),
        session: entry.caller.session().map(line::session_digest),
        method: cut(decision.method.as_deref().unwrap_or_default()),
        tool: decision
            .is_tool_call()
            .then(|| cut(decision.target.as_deref().unwrap_or_default())),
        request_id: id.map(|id| cut(&String::from_utf8_lossy(id))),
        allowed: decision.allowed,
        code: decision.code.slug(),
        rule: decision.rule.as_deref().map(cut),
        limit: report.map(|report| {
            let quota = decision.policy.quota(report.quota);
            (quota.counter.clone(), report.remaining(quota))
        }),
        shadow: decision.shadow.len(),
        policy: decision.policy.digest().to_owned(),
        end: entry.end.clone(),
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spans")
    }
}

impl Ledger for Shared {
    fn reserve(&self, bytes: usize) -> bool {
        self.log.as_ref().is_none_or(|log| log.reserve(bytes))
    }

    fn release(&self, bytes: usize) {
        if let Some(log) = &self.log {
            log.release(bytes);
        }
    }

    fn is_required(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.is_required())
    }

    fn arguments(&self) -> &[String] {
        self.log.as_ref().map_or(&[], |log| log.arguments())
    }

    fn tracing(&self) -> Option<&Tracing> {
        Some(&self.tracing)
    }

    fn record(&self, entry: Entry) {
        self.keep(&entry);
        if let Some(log) = &self.log {
            log.record(entry);
        }
    }
}
