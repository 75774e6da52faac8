//! From a decision to what the client is sent: the one table of statuses, codes and bodies.
//!
//! INVARIANT: an answer says what was refused, by which rule and when to try again, and nothing about other
//! tools or other grants; it carries the request's id byte for byte.

use std::fmt::Write as _;

use crate::decision::{Code, Decision, Kind};
use crate::limit::{Algorithm, Window};
use crate::message::Era;
use crate::policy::Quota;

/// An answer in HTTP's terms; on stdio only the body is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header fields with lower-case names, `content-type` included, framing not.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: String,
}

const POLICY: i32 = -31010;
const LIMIT: i32 = -31011;
const APPROVAL: i32 = -31012;
const METHOD_NOT_FOUND: i32 = -32601;
const INTERNAL: i32 = -32603;

/// The answer to a refused message. `protocol` answers tool calls with JSON-RPC errors as well.
#[must_use]
pub fn answer(decision: &Decision, protocol: bool) -> Answer {
    let mut headers = vec![("content-type", "application/json".to_owned())];
    if let (Code::LimitExceeded, Some(ms)) = (decision.code, decision.retry_after_ms()) {
        headers.push(("retry-after", ms.div_ceil(1000).max(1).to_string()));
    }
    headers.extend(limit_headers(decision));
    if decision.kind == Kind::Batch {
        return batch(decision, protocol, headers);
    }
    let (status, rpc_code) = status_of(decision);
    let body =
        if status == 200 && decision.is_tool_call() && !protocol && rpc_code != METHOD_NOT_FOUND {
            tool_result(
                decision,
                &format!("[POLICY DENIED] {}", decision.message),
                &decision_data(decision),
            )
        } else {
            rpc_error(
                decision,
                rpc_code,
                &decision.message,
                &decision_data(decision),
            )
        };
    Answer {
        status,
        headers,
        body,
    }
}

/// The answer when an admitted message could not be served: `code` is a slug, `status` what a client that
/// gave no id, or that opens a connection, is told (502, 503, 504).
#[must_use]
pub fn fault(decision: &Decision, code: &str, message: &str, status: u16) -> Answer {
    let mut headers = vec![("content-type", "application/json".to_owned())];
    if status == 503 {
        headers.push(("retry-after", "1".to_owned()));
    }
    let data = format!(
        "{{\"code\":{},\"message\":{}}}",
        escape(code),
        escape(message)
    );
    let opening = matches!(
        decision.method.as_deref(),
        Some("initialize" | "server/discover")
    );
    let answerable = decision.kind == Kind::Request && decision.request_id.is_some();
    if decision.kind == Kind::Batch {
        let bodies: Vec<String> = decision
            .parts
            .iter()
            .filter(|part| part.kind == Kind::Request)
            .map(|part| fault(part, code, message, status).body)
            .collect();
        if !bodies.is_empty() {
            return Answer {
                status: 200,
                headers,
                body: format!("[{}]", bodies.join(",")),
            };
        }
    }
    let body = if decision.is_tool_call() && answerable {
        tool_result(decision, message, &data)
    } else {
        rpc_error(decision, INTERNAL, message, &data)
    };
    let status = if answerable && !opening { 200 } else { status };
    Answer {
        status,
        headers,
        body,
    }
}

/// `RateLimit` and `RateLimit-Policy` of a limited call (draft-ietf-httpapi-ratelimit-headers-10): `q` quota
/// and `w` window in seconds, `r` remaining and `t` seconds until reset. Limits over fractions are rounded
/// down, since the fields are integers.
#[must_use]
pub fn limit_headers(decision: &Decision) -> Vec<(&'static str, String)> {
    if decision.limits.is_empty() {
        return Vec::new();
    }
    let (mut now, mut policy) = (String::new(), String::new());
    for report in &decision.limits {
        let quota = decision.policy.quota(report.quota);
        let name = field_name(&quota.counter);
        let whole = 10_u64.saturating_pow(u32::from(quota.scale));
        let comma = if now.is_empty() { "" } else { ", " };
        let _ = write!(policy, "{comma}\"{name}\";q={}", report.max / whole);
        if let Some(window_s) = window_s(quota) {
            let _ = write!(policy, ";w={window_s}");
        }
        let _ = write!(now, "{comma}\"{name}\";r={}", report.remaining / whole);
        if window_s(quota).is_some() {
            let _ = write!(now, ";t={}", report.reset_ns.div_ceil(1_000_000_000));
        }
    }
    vec![("ratelimit-policy", policy), ("ratelimit", now)]
}

fn window_s(quota: &Quota) -> Option<u64> {
    match quota.algorithm {
        Algorithm::Fixed(Window::Span(ns))
        | Algorithm::Sliding(ns)
        | Algorithm::Bucket { window_ns: ns, .. } => Some(ns.div_ceil(1_000_000_000)),
        Algorithm::Fixed(Window::Month) => Some(31 * 86_400),
        Algorithm::Concurrency => None,
    }
}

/// A counter's name as an RFC 9651 string: printable ASCII without quote and backslash.
fn field_name(counter: &str) -> String {
    counter
        .chars()
        .map(|c| {
            if matches!(c, ' '..='~') && c != '"' && c != '\\' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

/// The decision as data: `{code, rule, message, counter, limit, window, remaining, retryAfterMs, policy}`,
/// without the members that do not apply.
#[must_use]
pub fn decision_data(decision: &Decision) -> String {
    let mut out = format!("{{\"code\":\"{}\"", decision.code);
    if let Some(rule) = &decision.rule {
        let _ = write!(out, ",\"rule\":{}", escape(rule));
    }
    if !decision.message.is_empty() {
        let _ = write!(out, ",\"message\":{}", escape(&decision.message));
    }
    if let Some(report) = decision.limits.first() {
        let quota = decision.policy.quota(report.quota);
        let _ = write!(
            out,
            ",\"counter\":{},\"limit\":{}",
            escape(&quota.counter),
            report.limit(quota)
        );
        if !quota.window_text.is_empty() {
            let _ = write!(out, ",\"window\":{}", escape(&quota.window_text));
        }
        let _ = write!(out, ",\"remaining\":{}", report.remaining(quota));
    }
    if let Some(ms) = decision.retry_after_ms() {
        let _ = write!(out, ",\"retryAfterMs\":{ms}");
    }
    let _ = write!(out, ",\"policy\":\"{}\"}}", decision.policy.digest());
    out
}

/// HTTP status and JSON-RPC code of a refusal.
fn status_of(decision: &Decision) -> (u16, i32) {
    let request = decision.kind == Kind::Request;
    match decision.code {
        Code::BodyTooLarge => (413, decision.rpc_code),
        Code::MethodUnknown if !request => (400, METHOD_NOT_FOUND),
        Code::MethodUnknown if decision.era == Era::Modern => (404, METHOD_NOT_FOUND),
        Code::MethodUnknown => (200, METHOD_NOT_FOUND),
        Code::InternalError if request => (200, INTERNAL),
        Code::InternalError => (500, INTERNAL),
        // What has no id cannot be answered, so HTTP itself has to say it.
        _ if decision.rpc_code != 0 => (400, decision.rpc_code),
        code => {
            let status = if request { 200 } else { 400 };
            let rpc = match code {
                Code::LimitExceeded
                | Code::TableFull
                | Code::Contended
                | Code::StateUnavailable => LIMIT,
                Code::ApprovalRequired => APPROVAL,
                _ => POLICY,
            };
            (status, rpc)
        }
    }
}

/// Answers each request of a refused array; the array as a whole was not run.
fn batch(decision: &Decision, protocol: bool, headers: Vec<(&'static str, String)>) -> Answer {
    let requests = decision
        .parts
        .iter()
        .filter(|part| part.kind == Kind::Request);
    let bodies: Vec<String> = requests.map(|part| answer(part, protocol).body).collect();
    if bodies.is_empty() {
        let body = rpc_error(
            decision,
            -32600,
            &decision.message,
            &decision_data(decision),
        );
        return Answer {
            status: 400,
            headers,
            body,
        };
    }
    Answer {
        status: 200,
        headers,
        body: format!("[{}]", bodies.join(",")),
    }
}

/// A tool result that a model can read (MCP "Error Handling" of tools), never with `structuredContent`,
/// which one SDK validates even in errors.
fn tool_result(decision: &Decision, text: &str, data: &str) -> String {
    let result_type = if decision.era == Era::Modern {
        "\"resultType\":\"complete\","
    } else {
        ""
    };
    format!(
        "{{\"jsonrpc\":\"2.0\",{}\"result\":{{{result_type}\"isError\":true,\"content\":[{{\"type\":\"text\",\
         \"text\":{}}}],\"_meta\":{{\"interlock/decision\":{data}}}}}}}",
        id_member(decision),
        escape(text),
    )
}

fn rpc_error(decision: &Decision, code: i32, message: &str, data: &str) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",{}\"error\":{{\"code\":{code},\"message\":{},\"data\":{data}}}}}",
        id_member(decision),
        escape(message),
    )
}

/// The `id` member with its comma. Unknown, it is null up to 2025-06-18 and absent from 2025-11-25 on.
fn id_member(decision: &Decision) -> String {
    match &decision.request_id {
        Some(id) => format!("\"id\":{},", String::from_utf8_lossy(id)),
        None if decision.omit_unknown_id || decision.era == Era::Modern => String::new(),
        None => "\"id\":null,".to_owned(),
    }
}

/// A JSON string, quotes included. Line separators are escaped too: some readers take them for line ends.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
