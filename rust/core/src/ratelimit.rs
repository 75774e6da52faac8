//! `RateLimit` and `RateLimit-Policy` of a limited call (draft-ietf-httpapi-ratelimit-headers-10): `q` quota and
//! `w` window in seconds, `r` remaining and `t` seconds until reset.
//!
//! INVARIANT: what follows from a quota alone is worded once, when its policy is compiled. Every byte is printable
//! ASCII. Limits over fractions are rounded down, since the fields are integers.

#[cfg(all(test, not(loom)))]
mod tests;

use crate::decision::{Decision, LimitReport};
use crate::limit::{Algorithm, Window};

const QUOTAS: &str = "ratelimit-policy";
const ROOM: &str = "ratelimit";

/// Bytes of an item as it mostly is, and of the line around them.
const ITEM_BYTES: usize = 64;

/// What the fields say of a quota whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct Wording {
    /// The counter as an RFC 9651 string, quotes included: other characters than its own become `_`.
    name: Box<[u8]>,
    /// `;w=` and the window, rounded up; `None` for what has no window.
    window: Option<Box<[u8]>>,
    /// Units in a whole.
    whole: u64,
}

impl Wording {
    /// Words a quota of this counter whose unit is `10^-scale`.
    pub(crate) fn of(counter: &str, algorithm: Algorithm, scale: u8) -> Self {
        let plain = |c: char| match c {
            '"' | '\\' => '_',
            ' '..='~' => c,
            _ => '_',
        };
        let name: String = counter.chars().map(plain).collect();
        Self {
            name: format!("\"{name}\"").into_bytes().into(),
            window: window_s(algorithm).map(|s| format!(";w={s}").into_bytes().into()),
            whole: 10_u64.saturating_pow(u32::from(scale)),
        }
    }
}

fn window_s(algorithm: Algorithm) -> Option<u64> {
    match algorithm {
        Algorithm::Fixed(Window::Span(ns))
        | Algorithm::Sliding(ns)
        | Algorithm::Bucket { window_ns: ns, .. } => Some(ns.div_ceil(1_000_000_000)),
        Algorithm::Fixed(Window::Month) => Some(31 * 86_400),
        Algorithm::Concurrency => None,
    }
}

/// The fields of a decision by name; none for a call without limits.
pub(crate) fn fields(decision: &Decision) -> Vec<(&'static str, String)> {
    if decision.limits.is_empty() {
        return Vec::new();
    }
    let (mut quotas, mut room) = (Vec::new(), Vec::new());
    push_quotas(&mut quotas, decision);
    push_room(&mut room, decision);
    // They are ASCII throughout.
    let text = |value| String::from_utf8(value).unwrap_or_default();
    vec![(QUOTAS, text(quotas)), (ROOM, text(room))]
}

/// The same fields as lines of a head, each with its CRLF.
pub(crate) fn lines(decision: &Decision) -> Vec<u8> {
    if decision.limits.is_empty() {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(2 * ITEM_BYTES * (1 + decision.limits.len()));
    out.extend_from_slice(QUOTAS.as_bytes());
    out.extend_from_slice(b": ");
    push_quotas(&mut out, decision);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(ROOM.as_bytes());
    out.extend_from_slice(b": ");
    push_room(&mut out, decision);
    out.extend_from_slice(b"\r\n");
    out
}

fn push_quotas(out: &mut Vec<u8>, decision: &Decision) {
    push_items(out, decision, |out, report, wording| {
        out.extend_from_slice(b";q=");
        push_number(out, report.max / wording.whole);
        out.extend_from_slice(wording.window.as_deref().unwrap_or_default());
    });
}

fn push_room(out: &mut Vec<u8>, decision: &Decision) {
    push_items(out, decision, |out, report, wording| {
        out.extend_from_slice(b";r=");
        push_number(out, report.remaining / wording.whole);
        if wording.window.is_some() {
            out.extend_from_slice(b";t=");
            push_number(out, report.reset_ns.div_ceil(1_000_000_000));
        }
    });
}

/// The limits as a list, each with its parameters.
fn push_items(
    out: &mut Vec<u8>,
    decision: &Decision,
    parameters: impl Fn(&mut Vec<u8>, &LimitReport, &Wording),
) {
    for (at, report) in decision.limits.iter().enumerate() {
        let wording = &decision.policy.quota(report.quota).wording;
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(&wording.name);
        parameters(out, report, wording);
    }
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
