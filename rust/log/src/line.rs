//! From what happened to the members of a line.
//!
//! INVARIANT: every line has the same members in the same order, the optional ones behind them; none is longer than
//! [`LINE_BYTES`], since each part has a bound and the last one, the values of arguments, what is left.

use std::fmt::Write as _;
use std::sync::Arc;

use gateway_core::caller::Caller;
use gateway_core::decision::Decision;
use gateway_core::ledger::{End, Entry, Kept, Noted};
use gateway_core::time::{Nanos, civil};
use sha2::{Digest, Sha256};

use crate::chain::{LINE_BYTES, SEAL_BYTES};
use crate::text;

const NAME_BYTES: usize = 128;
const TOOL_BYTES: usize = 256;
const ID_BYTES: usize = 256;
const KEYS_BYTES: usize = 896;
const RULE_BYTES: usize = 448;
const SHADOW_BYTES: usize = 448;
const COUNTER_BYTES: usize = 192;
const FAULT_BYTES: usize = 64;
const APPROVAL_BYTES: [usize; 2] = [32, 64];
/// Digits of a session's digest.
const SESSION_DIGITS: usize = 16;

/// A request without a message: one by GET or DELETE, or one that was refused before its message was decided.
#[derive(Clone, Debug)]
pub struct Visit {
    /// When it came.
    pub at: Nanos,
    /// Whose it is, where that was found out.
    pub grant: Option<String>,
    /// The server that was asked, where there is one.
    pub server: Option<String>,
    /// The session that it names.
    pub session: Option<String>,
    /// HTTP's method where that is the request; a message's is not known.
    pub method: Option<String>,
    /// Why it was refused; `allowed` if it was not.
    pub code: String,
}

/// What ends every line besides its chain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tail {
    /// Lines that were lost right before.
    pub(crate) gap: u64,
    /// The worker that writes, where there are several.
    pub(crate) worker: Option<u32>,
}

impl Tail {
    pub(crate) fn push(self, out: &mut String) {
        if self.gap > 0 {
            let _ = write!(out, ",\"gap\":{}", self.gap);
        }
        if let Some(worker) = self.worker {
            let _ = write!(out, ",\"worker\":{worker}");
        }
    }
}

/// One line to be: what was decided of one message.
pub(crate) struct Decided<'a> {
    entry: &'a Entry,
    decision: &'a Decision,
}

/// The decisions of an entry: one, or one for each message of an array.
pub(crate) fn decisions(entry: &Entry) -> impl Iterator<Item = &Decision> {
    let parts = entry.decision.parts.iter();
    let whole = parts.len() == 0;
    let own = whole.then_some(&*entry.decision);
    own.into_iter().chain(parts)
}

/// Their lines.
pub(crate) fn lines(entry: &Entry) -> impl Iterator<Item = Decided<'_>> {
    decisions(entry).map(move |decision| Decided { entry, decision })
}

/// How many lines an entry makes.
pub(crate) fn count(entry: &Entry) -> u64 {
    (entry.decision.parts.len() as u64).max(1)
}

fn push_all<const PARTS: usize>(out: &mut String, parts: [&str; PARTS]) {
    for part in parts {
        out.push_str(part);
    }
}

fn member(out: &mut String, name: &str, text: Option<&str>, most: usize) {
    push_all(out, [",\"", name, "\":"]);
    match text {
        Some(text) => text::string(out, text, most),
        None => out.push_str("null"),
    }
}

pub(crate) fn begin(out: &mut String, at: Nanos, seq: u64) {
    out.push_str("{\"ts\":\"");
    text::time(out, at.0);
    out.push_str("\",\"seq\":");
    text::number(out, seq);
}

/// Sessions are as good as passwords to some servers, so only a digest is told.
fn session(out: &mut String, session: Option<&str>) {
    let Some(session) = session else {
        return out.push_str(",\"session\":null");
    };
    out.push_str(",\"session\":\"");
    push_session(out, session);
    out.push('"');
}

fn push_session(out: &mut String, session: &str) {
    let digest = Sha256::digest(session.as_bytes());
    text::hex(out, digest.get(..SESSION_DIGITS / 2).unwrap_or_default());
}

/// What is told of a session's id.
pub(crate) fn session_digest(session: &str) -> String {
    let mut digits = String::new();
    push_session(&mut digits, session);
    digits
}

impl Decided<'_> {
    /// Appends the line without its chain.
    pub(crate) fn push(&self, out: &mut String, seq: u64, tail: Tail, wanted: &[String]) {
        let start = out.len();
        let Self { entry, decision } = self;
        begin(out, entry.at, seq);
        out.push_str(",\"request_id\":");
        self.request_id(out);
        who(out, &entry.caller);
        member(out, "method", decision.method.as_deref(), NAME_BYTES);
        member(out, "tool", self.tool(), TOOL_BYTES);
        out.push_str(",\"arg_keys\":");
        keys(out, decision.noted.as_deref());
        let effect = if decision.allowed { "allow" } else { "deny" };
        let code = decision.code.slug();
        push_all(
            out,
            [",\"effect\":\"", effect, "\",\"code\":\"", code, "\""],
        );
        member(out, "rule", decision.rule.as_deref(), RULE_BYTES);
        self.limit(out);
        self.shadow(out);
        let policy = decision.policy.digest();
        push_all(out, [",\"policy\":\"", policy, "\",\"decide_us\":"]);
        text::thousandths(out, entry.decide_ns);
        end(out, &entry.end);
        self.approval(out);
        self.trace(out);
        self.values(out, start, wanted);
        tail.push(out);
    }

    /// A short line for somebody who watches.
    pub(crate) fn push_readable(&self, out: &mut String) {
        let Self { entry, decision } = self;
        let what = self.tool().or(decision.method.as_deref());
        readable(out, entry.at, decision.allowed, what.unwrap_or("-"));
        if !decision.allowed {
            let _ = write!(out, "  {}", decision.code);
        }
        if let Some(rule) = &decision.rule {
            plain(out, "  ", rule);
        }
        if let Some(fault) = &entry.end.fault {
            plain(out, "  ", fault);
        }
        if let Some(took) = entry.end.took_ns {
            out.push_str("  ");
            text::thousandths(out, took / 1000);
            out.push_str(" ms");
        }
        plain(out, "  ", entry.caller.grant());
        plain(out, "@", entry.caller.server());
        out.push('\n');
    }

    fn tool(&self) -> Option<&str> {
        let target = self.decision.target.as_deref();
        target.filter(|_| self.decision.method.as_deref() == Some("tools/call"))
    }

    fn request_id(&self, out: &mut String) {
        let id = self.decision.request_id.as_deref();
        let Some(id) = id.and_then(|id| std::str::from_utf8(id).ok()) else {
            return out.push_str("null");
        };
        let start = out.len();
        text::value(out, id);
        if out.len() - start > ID_BYTES {
            out.truncate(start);
            text::string(out, id, ID_BYTES);
        }
    }

    fn limit(&self, out: &mut String) {
        let policy = &self.decision.policy;
        let report = self.decision.limits.first();
        let report = report.map(|report| (report, policy.quota(report.quota)));
        let counter = report.map(|(_, quota)| quota.counter.as_str());
        member(out, "counter", counter, COUNTER_BYTES);
        out.push_str(",\"remaining\":");
        match report {
            Some((report, quota)) => drop(write!(out, "{}", report.remaining(quota))),
            None => out.push_str("null"),
        }
    }

    /// What shadow mode recorded; of very many, how many more.
    fn shadow(&self, out: &mut String) {
        out.push_str(",\"shadow\":[");
        let start = out.len();
        for (number, denial) in self.decision.shadow.iter().enumerate() {
            let before = out.len();
            out.push_str(if number == 0 {
                "{\"rule\":"
            } else {
                ",{\"rule\":"
            });
            text::string(out, &denial.rule, RULE_BYTES / 2);
            let _ = write!(out, ",\"code\":\"{}\"}}", denial.code);
            if out.len() - start > SHADOW_BYTES {
                out.truncate(before);
                let comma = if number == 0 { "" } else { "," };
                let more = self.decision.shadow.len() - number;
                let _ = write!(out, "{comma}{{\"more\":{more}}}");
                break;
            }
        }
        out.push(']');
    }

    fn approval(&self, out: &mut String) {
        let Some(approval) = &self.decision.approval else {
            return;
        };
        let _ = write!(
            out,
            ",\"approval\":{{\"state\":\"{}\"",
            approval.standing.name()
        );
        let [id, by] = APPROVAL_BYTES;
        for (name, value, most) in [("id", &approval.id, id), ("by", &approval.by, by)] {
            if value.is_some() {
                member(out, name, value.as_deref(), most);
            }
        }
        out.push('}');
    }

    fn trace(&self, out: &mut String) {
        let ids = self.decision.noted.as_ref().and_then(|noted| noted.ids());
        let Some((trace, span)) = ids else {
            return;
        };
        for (name, digits) in [("trace_id", &trace[..]), ("span_id", &span[..])] {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            let _ = write!(out, ",\"{name}\":\"{digits}\"");
        }
    }

    /// The values that the owner asked for, as far as they fit.
    fn values(&self, out: &mut String, start: usize, wanted: &[String]) {
        const TAIL_BYTES: usize = ",\"args\":{},\"gap\":,\"worker\":".len() + 20 + 10;
        let Some(noted) = self
            .decision
            .noted
            .as_ref()
            .filter(|noted| !noted.values.is_empty())
        else {
            return;
        };
        let room = LINE_BYTES - SEAL_BYTES - TAIL_BYTES;
        out.push_str(",\"args\":{");
        let first = out.len();
        for (number, kept) in &noted.values {
            let before = out.len();
            if before > first {
                out.push(',');
            }
            text::string(
                out,
                wanted.get(*number).map_or("", String::as_str),
                NAME_BYTES,
            );
            out.push(':');
            let value = out.len();
            match kept {
                Kept::Value(spelt) => text::value(out, spelt),
                Kept::Length(bytes) => drop(write!(out, "\"({bytes} bytes)\"")),
            }
            if let (Kept::Value(spelt), true) = (kept, out.len() - start > room) {
                out.truncate(value);
                let _ = write!(out, "\"({} bytes)\"", spelt.len());
            }
            if out.len() - start > room {
                out.truncate(before);
            }
        }
        out.push('}');
    }
}

impl Visit {
    /// Appends the line without its chain.
    pub(crate) fn push(&self, out: &mut String, seq: u64, tail: Tail) {
        begin(out, self.at, seq);
        out.push_str(",\"request_id\":null");
        member(out, "grant", self.grant.as_deref(), NAME_BYTES);
        member(out, "server", self.server.as_deref(), NAME_BYTES);
        session(out, self.session.as_deref());
        member(out, "method", self.method.as_deref(), NAME_BYTES);
        let effect = if self.allows() { "allow" } else { "deny" };
        let _ = write!(
            out,
            ",\"tool\":null,\"arg_keys\":null,\"effect\":\"{effect}\""
        );
        member(out, "code", Some(&self.code), FAULT_BYTES);
        out.push_str(
            ",\"rule\":null,\"counter\":null,\"remaining\":null,\"shadow\":[],\"policy\":null",
        );
        out.push_str(",\"decide_us\":null");
        end(out, &End::default());
        tail.push(out);
    }

    /// A short line for somebody who watches.
    pub(crate) fn push_readable(&self, out: &mut String) {
        readable(
            out,
            self.at,
            self.allows(),
            self.method.as_deref().unwrap_or("-"),
        );
        if !self.allows() {
            plain(out, "  ", &self.code);
        }
        plain(out, "  ", self.grant.as_deref().unwrap_or("-"));
        plain(out, "@", self.server.as_deref().unwrap_or("-"));
        out.push('\n');
    }

    /// Whether it was let through.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.code == "allowed"
    }

    /// About how much memory it takes until it is written.
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = [&self.grant, &self.server, &self.session, &self.method];
        let texts: usize = texts
            .iter()
            .map(|text| text.as_ref().map_or(0, String::len))
            .sum();
        size_of::<Self>() + texts + self.code.len()
    }
}

fn who(out: &mut String, caller: &Arc<Caller>) {
    member(out, "grant", Some(caller.grant()), NAME_BYTES);
    member(out, "server", Some(caller.server()), NAME_BYTES);
    session(out, caller.session());
}

/// Names of arguments, sorted; of very many, how many more.
fn keys(out: &mut String, noted: Option<&Noted>) {
    let Some(noted) = noted else {
        return out.push_str("null");
    };
    let mut names: Vec<&str> = noted.keys().collect();
    names.sort_unstable();
    out.push('[');
    let start = out.len();
    let mut more = noted.more_keys as usize;
    for (number, name) in names.iter().enumerate() {
        let before = out.len();
        if number > 0 {
            out.push(',');
        }
        text::string(out, name, NAME_BYTES);
        if out.len() - start > KEYS_BYTES {
            out.truncate(before);
            more += names.len() - number;
            break;
        }
    }
    if more > 0 {
        let comma = if out.len() > start { "," } else { "" };
        let _ = write!(out, "{comma}\"\\u2026+{more}\"");
    }
    out.push(']');
}

fn end(out: &mut String, end: &End) {
    out.push_str(",\"upstream_status\":");
    match end.status {
        Some(status) => text::number(out, status),
        None => out.push_str("null"),
    }
    out.push_str(",\"duration_ms\":");
    match end.took_ns {
        Some(ns) => text::thousandths(out, ns / 1000),
        None => out.push_str("null"),
    }
    if let Some(fault) = &end.fault {
        member(out, "fault", Some(fault), FAULT_BYTES);
    }
}

fn readable(out: &mut String, at: Nanos, allowed: bool, what: &str) {
    let [_, _, _, hour, minute, second] = civil(at.0 / Nanos::SECOND);
    let effect = if allowed { "allow" } else { "deny " };
    let _ = write!(out, "{hour:02}:{minute:02}:{second:02}  {effect}");
    plain(out, "  ", what);
}

/// Appends text that was quoted, without its quotes: whatever it has, it stays on its line.
fn plain(out: &mut String, before: &str, text: &str) {
    out.push_str(before);
    let start = out.len();
    text::string(out, text, TOOL_BYTES);
    out.pop();
    out.remove(start);
}
