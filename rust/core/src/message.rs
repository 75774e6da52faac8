//! What a JSON-RPC message of the Model Context Protocol says.
//!
//! INVARIANT: [`read`] answers for every scanned value, and a [`Message`] exists only for one that servers
//! cannot take for another message: it has no member that a reader that ignores case would take for one of the
//! protocol's, it is a request, a notification or a response and nothing besides, and what is decided on (id,
//! method, tool, arguments) has the type that the protocol gives it.
//!
//! Nothing is copied: all parts of a message borrow the bytes it was read from.

mod methods;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::caseless::reads_as;
use crate::json::{Kind, Text, Value};
pub use methods::{canonical, known, passes_by_default, resembles_known};

/// The member of `_meta` that makes a message one of the stateless protocol.
pub const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// The member of `_meta` that such a message has to have as well.
pub const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// The only revision in which a client may send an array (MCP 2025-03-26, "Batching").
pub(crate) const BATCH_REVISION: &str = "2025-03-26";

/// JSON-RPC's code for what is no message.
pub const INVALID_REQUEST: i32 = -32600;

/// JSON-RPC's code for a message whose parameters are not what the method takes.
pub const INVALID_PARAMS: i32 = -32602;

/// Longest id of the string kind, in bytes between its quotes.
const ID_BYTES: usize = 256;

/// Whether the message carries its protocol revision with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Era {
    /// Revisions with a handshake, up to 2025-11-25.
    #[default]
    Legacy,
    /// Revisions without one, from 2026-07-28 on.
    Modern,
}

/// What sort of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// It has a method and an id.
    Request,
    /// It has a method and no id.
    Notification,
    /// It has an id, and a result or an error.
    Response,
}

/// A message, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What sort of message it is.
    pub shape: Shape,
    /// Which protocol it belongs to; [`Era::Legacy`] for a response, which does not say.
    pub era: Era,
    /// The id as it was written, quotes included.
    pub id: Option<&'a [u8]>,
    /// The method; absent in a response.
    pub method: Option<Text<'a>>,
    /// The parameters, an object.
    pub params: Option<Value<'a>>,
    /// `params._meta`, an object.
    pub meta: Option<Value<'a>>,
    /// `params._meta.progressToken` as it was written.
    pub progress_token: Option<&'a [u8]>,
    /// The revision it says it follows, if it is of the modern era.
    pub version: Option<Text<'a>>,
    /// What it is about, if the method is about something and that is a string: the name of a tool or prompt,
    /// the address of a resource, the id of a task. Always there for `tools/call`.
    pub target: Option<Text<'a>>,
    /// `params.arguments`; an object for `tools/call`, anything for other methods.
    pub arguments: Option<Value<'a>>,
}

/// A value that is no message, and what could be read of it nonetheless.
#[derive(Clone, Copy, Debug)]
pub struct Reject<'a> {
    /// The decision's code.
    pub code: &'static str,
    /// For people: lower case, no full stop, nothing of the message in it.
    pub reason: &'static str,
    /// The id to answer to, if there is a proper one.
    pub id: Option<&'a [u8]>,
    /// JSON-RPC's code.
    pub rpc_code: i32,
    /// Which protocol it seems to belong to.
    pub era: Era,
    /// The method, if there is a proper one.
    pub method: Option<Text<'a>>,
}

impl fmt::Display for Reject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for Reject<'_> {}

/// Why a value is no message: JSON-RPC's code and a sentence.
type Problem = (i32, &'static str);

/// Reads one message.
///
/// # Errors
///
/// If `value` is not exactly one message; an array of messages is none.
pub fn read(value: Value<'_>) -> Result<Message<'_>, Reject<'_>> {
    let envelope = Envelope::gather(value);
    let params = envelope.params.map(Params::gather).unwrap_or_default();
    let meta = params.meta.map(Meta::gather).unwrap_or_default();
    let id = envelope.id.and_then(proper_id);
    let method = envelope.method.and_then(proper_method);
    let era = match meta.version {
        Some(_) => Era::Modern,
        None => Era::Legacy,
    };
    let message = envelope.check(value, id, method).and_then(|shape| {
        let target = match method {
            Some(method) => params.check(method, shape, &meta)?,
            None => None,
        };
        Ok(Message {
            shape,
            era,
            id,
            method,
            params: envelope.params,
            meta: params.meta,
            progress_token: meta.progress_token.map(Value::raw),
            version: meta.version.and_then(Value::text),
            target,
            arguments: params.arguments,
        })
    });
    message.map_err(|(rpc_code, reason)| Reject {
        code: "malformed-request",
        reason,
        id,
        rpc_code,
        era,
        method,
    })
}

/// The members of the outermost object.
#[derive(Default)]
struct Envelope<'a> {
    jsonrpc: Option<Value<'a>>,
    id: Option<Value<'a>>,
    method: Option<Value<'a>>,
    params: Option<Value<'a>>,
    has_result: bool,
    has_error: bool,
    has_other: bool,
}

impl<'a> Envelope<'a> {
    fn gather(value: Value<'a>) -> Self {
        let mut found = Self::default();
        for (key, value) in value.members() {
            match &*key.to_cow() {
                "jsonrpc" => found.jsonrpc = Some(value),
                "id" => found.id = Some(value),
                "method" => found.method = Some(value),
                "params" => found.params = Some(value),
                "result" => found.has_result = true,
                "error" => found.has_error = true,
                _ => found.has_other = true,
            }
        }
        found
    }

    /// Which shape the message has, if it has one.
    fn check(
        &self,
        value: Value<'a>,
        id: Option<&'a [u8]>,
        method: Option<Text<'a>>,
    ) -> Result<Shape, Problem> {
        let invalid = |reason| Err((INVALID_REQUEST, reason));
        let is_2_0 = |value: Value<'_>| value.text().is_some_and(|text| text.eq_str("2.0"));
        if value.kind() != Kind::Object {
            return invalid("a message is an object");
        }
        if self.has_other {
            return invalid("the message has a member that json-rpc does not know");
        }
        if !self.jsonrpc.is_some_and(is_2_0) {
            return invalid("`jsonrpc` is not \"2.0\"");
        }
        if self.id.is_some() && id.is_none() {
            return invalid("`id` is neither a string of at most 256 bytes nor an integer");
        }
        if self
            .params
            .is_some_and(|params| params.kind() != Kind::Object)
        {
            return invalid("`params` is not an object");
        }
        match (self.method.is_some(), self.has_result, self.has_error) {
            (true, false, false) if method.is_none() => {
                invalid("`method` is not a string, or has a nul in it")
            }
            (true, false, false) if id.is_some() => Ok(Shape::Request),
            (true, false, false) => Ok(Shape::Notification),
            (true, _, _) => invalid("a request has no result and no error"),
            (false, true, true) => invalid("a response has a result or an error, not both"),
            (false, false, false) => invalid("`method` is missing"),
            (false, _, _) if self.params.is_some() => invalid("a response has no `params`"),
            (false, _, _) if id.is_none() => invalid("a response lacks the id it answers to"),
            (false, _, _) => Ok(Shape::Response),
        }
    }
}

/// The members of `params` that are decided on.
#[derive(Default)]
struct Params<'a> {
    meta: Option<Value<'a>>,
    name: Option<Value<'a>>,
    arguments: Option<Value<'a>>,
    uri: Option<Value<'a>>,
    task_id: Option<Value<'a>>,
    has_variant: bool,
}

impl<'a> Params<'a> {
    const KEYS: [&'static str; 5] = ["name", "arguments", "_meta", "uri", "taskId"];

    fn gather(value: Value<'a>) -> Self {
        let mut found = Self::default();
        for (key, value) in value.members() {
            match &*key.to_cow() {
                "_meta" => found.meta = Some(value),
                "name" => found.name = Some(value),
                "arguments" => found.arguments = Some(value),
                "uri" => found.uri = Some(value),
                "taskId" => found.task_id = Some(value),
                other => found.has_variant |= is_variant(other, &Self::KEYS),
            }
        }
        found
    }

    /// What the message is about.
    fn check(
        &self,
        method: Text<'a>,
        shape: Shape,
        meta: &Meta<'a>,
    ) -> Result<Option<Text<'a>>, Problem> {
        let is_object = |value: Value<'_>| value.kind() == Kind::Object;
        let invalid = |reason| Err((INVALID_PARAMS, reason));
        if self.has_variant {
            return invalid("`params` has a member whose name differs from a known one by case");
        }
        if !self.meta.is_none_or(is_object) {
            return invalid("`_meta` is not an object");
        }
        meta.check()?;
        let method = method.to_cow();
        let target = match &*method {
            "tools/call" | "prompts/get" => self.name,
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => self.uri,
            "tasks/get" | "tasks/result" | "tasks/update" | "tasks/cancel" => self.task_id,
            _ => None,
        };
        let target = target.and_then(Value::text);
        if method == "tools/call" {
            if shape == Shape::Notification {
                return Err((INVALID_REQUEST, "a tool call lacks an id"));
            }
            if target.is_none() {
                return invalid("a tool call lacks the tool's name");
            }
            if !self.arguments.is_none_or(is_object) {
                return invalid("the arguments of a tool call are not an object");
            }
        }
        Ok(target)
    }
}

/// The members of `_meta` that are decided on.
#[derive(Default)]
struct Meta<'a> {
    version: Option<Value<'a>>,
    capabilities: Option<Value<'a>>,
    progress_token: Option<Value<'a>>,
    has_variant: bool,
}

impl<'a> Meta<'a> {
    const KEYS: [&'static str; 3] = [VERSION_KEY, CAPABILITIES_KEY, "progressToken"];

    fn gather(value: Value<'a>) -> Self {
        let mut found = Self::default();
        for (key, value) in value.members() {
            match &*key.to_cow() {
                VERSION_KEY => found.version = Some(value),
                CAPABILITIES_KEY => found.capabilities = Some(value),
                "progressToken" => found.progress_token = Some(value),
                other => found.has_variant |= is_variant(other, &Self::KEYS),
            }
        }
        found
    }

    fn check(&self) -> Result<(), Problem> {
        let invalid = |reason| Err((INVALID_PARAMS, reason));
        if self.has_variant {
            return invalid("`_meta` has a member whose name differs from a known one by case");
        }
        let Some(version) = self.version else {
            return Ok(());
        };
        if version.kind() != Kind::String {
            return invalid("the protocol version in `_meta` is not a string");
        }
        match self.capabilities.map(Value::kind) {
            Some(Kind::Object) => Ok(()),
            Some(_) => invalid("the client's capabilities in `_meta` are not an object"),
            None => invalid("the client's capabilities are missing in `_meta`"),
        }
    }
}

/// The bytes of an id that may be answered to: a short string, or an integer in plain digits, since other
/// spellings of a number do not come back as they went.
fn proper_id(value: Value<'_>) -> Option<&[u8]> {
    let raw = value.raw();
    let is_proper = match value.kind() {
        Kind::String => value
            .text()
            .is_some_and(|text| text.raw().len() <= ID_BYTES && !text.has_nul()),
        Kind::Number => raw
            .strip_prefix(b"-")
            .unwrap_or(raw)
            .iter()
            .all(u8::is_ascii_digit),
        _ => false,
    };
    is_proper.then_some(raw)
}

fn proper_method(value: Value<'_>) -> Option<Text<'_>> {
    value.text().filter(|method| !method.has_nul())
}

/// `key`, which is none of `known`, is one of them to a reader that ignores case.
fn is_variant(key: &str, known: &[&str]) -> bool {
    known.iter().any(|known| reads_as(key, known))
}
