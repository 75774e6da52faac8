//! From a decision to what the client is sent: the one table of statuses, codes and bodies.
//!
//! INVARIANT: an answer says what was refused, by which rule and when to try again, and nothing about other
//! tools or other grants; it carries the request's id byte for byte.

use std::fmt::Write as _;

use crate::decision::{Code, Decision, Kind};
use crate::message::Era;
use crate::ratelimit;

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
const UNAVAILABLE: u16 = 503;

/// The answer to a refused message. `protocol` answers tool calls with JSON-RPC errors as well.
#[must_use]
pub fn answer(decision: &Decision, protocol: bool) -> Answer {
    if decision.code == Code::Overloaded {
        // No policy has a say in it, so it is worded as what was admitted and cannot be served.
        let code = decision.code.slug();
        return fault(decision, code, &decision.message, UNAVAILABLE);
    }
    let mut headers = vec![("content-type", "application/json".to_owned())];
    if let (Code::LimitExceeded, Some(ms)) = (decision.code, decision.retry_after_ms()) {
        headers.push(("retry-after", ms.div_ceil(1000).max(1).to_string()));
    }
    headers.extend(ratelimit::fields(decision));
    if decision.kind == Kind::Batch {
        return batch(decision, protocol, headers);
    }
    let (status, rpc_code) = status_of(decision);
    let data = decision_data(decision);
    let as_result =
        status == 200 && decision.is_tool_call() && !protocol && rpc_code != METHOD_NOT_FOUND;
    let body = if as_result {
        tool_result(decision, ["[POLICY DENIED] ", &decision.message], &data)
    } else {
        rpc_error(decision, rpc_code, &decision.message, &data)
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
    if status == UNAVAILABLE {
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
        tool_result(decision, ["", message], &data)
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

/// `RateLimit` and `RateLimit-Policy` of a limited call (draft-ietf-httpapi-ratelimit-headers-10), by name; none for
/// a call without limits.
#[must_use]
pub fn limit_headers(decision: &Decision) -> Vec<(&'static str, String)> {
    ratelimit::fields(decision)
}

/// The decision as data: `{code, rule, message, counter, limit, window, remaining, retryAfterMs, approval, policy}`,
/// without the members that do not apply.
#[must_use]
pub fn decision_data(decision: &Decision) -> String {
    let mut out = String::with_capacity(2 * decision.message.len() + 256);
    out.push_str("{\"code\":\"");
    out.push_str(decision.code.slug());
    out.push('"');
    if let Some(rule) = &decision.rule {
        push_member(&mut out, ",\"rule\":", rule);
    }
    if !decision.message.is_empty() {
        push_member(&mut out, ",\"message\":", &decision.message);
    }
    if let Some(report) = decision.limits.first() {
        let quota = decision.policy.quota(report.quota);
        push_member(&mut out, ",\"counter\":", &quota.counter);
        let _ = write!(out, ",\"limit\":{}", report.limit(quota));
        if !quota.window_text.is_empty() {
            push_member(&mut out, ",\"window\":", &quota.window_text);
        }
        let _ = write!(out, ",\"remaining\":{}", report.remaining(quota));
    }
    if let Some(ms) = decision.retry_after_ms() {
        let _ = write!(out, ",\"retryAfterMs\":{ms}");
    }
    if let Some(approval) = &decision.approval {
        out.push_str(",\"approval\":");
        approval.push(&mut out);
    }
    out.push_str(",\"policy\":\"");
    out.push_str(decision.policy.digest());
    out.push_str("\"}");
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
                | Code::StateUnavailable
                | Code::LogUnavailable => LIMIT,
                Code::ApprovalRequired | Code::ApprovalDenied => APPROVAL,
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
fn tool_result(decision: &Decision, text: [&str; 2], data: &str) -> String {
    let mut out = String::with_capacity(data.len() + 2 * text[1].len() + 256);
    out.push_str("{\"jsonrpc\":\"2.0\",");
    push_id(&mut out, decision);
    out.push_str("\"result\":{");
    if decision.era == Era::Modern {
        out.push_str("\"resultType\":\"complete\",");
    }
    out.push_str("\"isError\":true,\"content\":[{\"type\":\"text\",\"text\":\"");
    for part in text {
        push_escaped(&mut out, part);
    }
    out.push_str("\"}],\"_meta\":{\"interlock/decision\":");
    out.push_str(data);
    out.push_str("}}}");
    out
}

fn rpc_error(decision: &Decision, code: i32, message: &str, data: &str) -> String {
    let mut out = String::with_capacity(data.len() + 2 * message.len() + 256);
    out.push_str("{\"jsonrpc\":\"2.0\",");
    push_id(&mut out, decision);
    let _ = write!(out, "\"error\":{{\"code\":{code}");
    push_member(&mut out, ",\"message\":", message);
    out.push_str(",\"data\":");
    out.push_str(data);
    out.push_str("}}");
    out
}

/// The `id` member with its comma. Unknown, it is null up to 2025-06-18 and absent from 2025-11-25 on.
fn push_id(out: &mut String, decision: &Decision) {
    match &decision.request_id {
        Some(id) => {
            out.push_str("\"id\":");
            out.push_str(&String::from_utf8_lossy(id));
            out.push(',');
        }
        None if decision.omit_unknown_id || decision.era == Era::Modern => {}
        None => out.push_str("\"id\":null,"),
    }
}

/// A member whose value is text; `key` has all that stands before its value.
pub(crate) fn push_member(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    out.push('"');
    push_escaped(out, value);
    out.push('"');
}

/// A JSON string, quotes included. Line separators are escaped too: some readers take them for line ends.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_member(&mut out, "", text);
    out
}

fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    loop {
        // Most texts are plain all the way.
        let (plain, special) = rest.split_at(plain_bytes(rest.as_bytes()));
        out.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some(c) if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            Some(c) => out.push(c),
            None => return,
        }
        rest = chars.as_str();
    }
}

/// How many bytes at the front stand for themselves in a JSON string, whole characters of ASCII.
fn plain_bytes(text: &[u8]) -> usize {
    const TOGETHER: usize = 16;
    // Neither this nor the fold ends early, so that the processor compares all of them at once.
    let special = |byte: &u8| {
        u8::from(byte.wrapping_sub(b' ') > b'~' - b' ')
            | u8::from(*byte == b'"')
            | u8::from(*byte == b'\\')
    };
    let mut rest = text;
    while let Some((chunk, behind)) = rest.split_first_chunk::<TOGETHER>() {
        if chunk.iter().fold(0, |any, byte| any | special(byte)) != 0 {
            break;
        }
        rest = behind;
    }
    let more = rest.iter().position(|byte| special(byte) != 0);
    text.len() - rest.len() + more.unwrap_or(rest.len())
}
