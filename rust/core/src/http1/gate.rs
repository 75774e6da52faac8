//! What every connection of one listener goes by: its servers, its names, its bounds.
//!
//! INVARIANT: [`Gate::admits`] takes a strict part of what the application's admission takes. It refuses
//! nothing: what it does not take is handed over, and refused there in words.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memchr::memmem::Finder;
use rustc_hash::FxHashMap;

use super::credentials::{Credentials, Fingerprint};
use super::field::{Field, Name};
use super::request::Head;
use crate::decision::{Decision, Kind};
use crate::engine::Engine;
use crate::time::Nanos;

/// What a listener says of itself once.
#[derive(Clone, Debug, Default)]
pub struct GateOptions {
    /// Most bytes of a request's head.
    pub max_head_bytes: usize,
    /// Most bytes of a request's body.
    pub max_body_bytes: usize,
    /// The values of Host that are the listener's own, compared byte for byte; `None` where any is.
    pub hosts: Option<Vec<Vec<u8>>>,
    /// Whether as many messages are in flight as may be; whoever counts them says so here.
    pub full: Arc<AtomicBool>,
}

/// One grant on one server, as it is reached through this listener.
pub struct Route {
    /// Decides for the grant on the server.
    pub engine: Arc<Engine>,
    /// Who comes this way.
    pub grant: String,
    /// The server's name.
    pub server: String,
    /// What each request to the server begins with: request line and fields, each line with its CRLF.
    pub head: Vec<u8>,
    /// Names of the fields in `head`, in lower case: a client's field of this name stays behind.
    pub own_names: Vec<Vec<u8>>,
    /// Whatever tells the caller which route it was. The same for one grant on one server in all gates.
    pub tag: usize,
}

/// A request that is decided here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    /// The number of its route.
    pub(super) route: usize,
    /// The token that says whose it is, and when that ends.
    pub(super) token: Option<Fingerprint>,
    pub(super) until: Option<Nanos>,
}

/// Who a connection is known to be, whatever its messages say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// Nobody in particular.
    #[default]
    Unknown,
    /// This grant.
    Grant(String),
    /// Somebody who is no grant, and not to be taken for nobody in particular.
    Stranger,
}

/// The numbers of a path's routes.
#[derive(Debug, Default)]
struct Ways {
    anonymous: Option<usize>,
    by_grant: FxHashMap<String, usize>,
}

/// What every connection of one listener goes by.
pub struct Gate {
    pub(super) max_head_bytes: usize,
    pub(super) max_body_bytes: usize,
    hosts: Option<Vec<Vec<u8>>>,
    full: Arc<AtomicBool>,
    routes: Vec<Route>,
    paths: FxHashMap<Vec<u8>, Ways>,
    credentials: Credentials,
    id: u64,
    task: Finder<'static>,
}

impl Gate {
    /// A gate without routes.
    #[must_use]
    pub fn new(options: GateOptions) -> Self {
        Self {
            max_head_bytes: options.max_head_bytes,
            max_body_bytes: options.max_body_bytes,
            hosts: options.hosts,
            full: options.full,
            routes: Vec::new(),
            paths: FxHashMap::default(),
            credentials: Credentials::default(),
            id: next_id(),
            task: Finder::new(b"task"),
        }
    }

    /// Serves the target `path`, compared byte for byte, through this route, for its grant and, if `anonymous`, for
    /// everybody without credentials.
    pub fn add_route(&mut self, path: Vec<u8>, route: Route, anonymous: bool) {
        let ways = self.paths.entry(path).or_default();
        let number = self.routes.len();
        ways.by_grant.insert(route.grant.clone(), number);
        if anonymous {
            ways.anonymous = Some(number);
        }
        self.routes.push(route);
        self.id = next_id();
    }

    /// Knows grants by these tokens.
    pub fn set_credentials(&mut self, credentials: Credentials) {
        self.credentials = credentials;
        self.id = next_id();
    }

    /// The tokens that grants are known by.
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Another for every gate, and for every set of routes of a gate.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// Whether as many messages are in flight as may be.
    pub(super) fn is_full(&self) -> bool {
        // ORDERING: nothing is read through it; whoever misses it is one of those that were on their way.
        self.full.load(Ordering::Relaxed)
    }

    /// The route of this number.
    pub(super) fn route(&self, number: usize) -> Option<&Route> {
        self.routes.get(number)
    }

    /// The way of a message that is decided here.
    pub(super) fn admits(
        &self,
        head: &Head<'_>,
        peer: &Peer,
        now: impl FnOnce() -> Nanos,
    ) -> Option<Admitted> {
        const JUDGED_ELSEWHERE: u32 =
            Name::Origin.bit() | Name::ContentEncoding.bit() | Name::LastEventId.bit();
        const SINGLE: u32 = Name::Accept.bit()
            | Name::Authorization.bit()
            | Name::ContentType.bit()
            | Name::Session.bit()
            | Name::Version.bit()
            | Name::Method.bit()
            | Name::Subject.bit()
            | Name::Mcp.bit();
        let framed = Name::ContentLength.bit() | Name::TransferEncoding.bit();
        let stays = |value: &[u8]| !value.eq_ignore_ascii_case(b"close");
        let host = head.value(Name::Host)?;
        let admitted = head.method == b"POST"
            && head.has_any(framed)
            && !head.has_any(JUDGED_ELSEWHERE)
            && !head.repeats_any(SINGLE)
            && head.value(Name::Connection).is_none_or(stays)
            && head.value(Name::ContentType).is_some_and(is_json)
            && head.value(Name::Accept).is_none_or(accepts)
            && self.names(host);
        if !admitted {
            return None;
        }
        let ways = self.paths.get(head.target)?;
        match head.value(Name::Authorization) {
            Some(value) if self.credentials.any() => {
                let (token, credential) = self.credentials.of(value, now())?;
                Some(Admitted {
                    route: *ways.by_grant.get(&credential.grant)?,
                    token: Some(token),
                    until: credential.until,
                })
            }
            _ => Some(Admitted {
                route: match peer {
                    Peer::Unknown => ways.anonymous?,
                    Peer::Grant(grant) => *ways.by_grant.get(grant)?,
                    Peer::Stranger => return None,
                },
                token: None,
                until: None,
            }),
        }
    }

    fn names(&self, host: &[u8]) -> bool {
        match &self.hosts {
            Some(own) => own.iter().any(|own| own == host),
            None => !host.is_empty(),
        }
    }

    /// Whether an allowed message asks nothing of the gateway but to be passed on: it opens no session, makes
    /// no task and names none, answers nothing and is not several.
    pub(super) fn is_simple(&self, decision: &Decision, body: &[u8]) -> bool {
        let asks_more = match decision.method.as_deref().unwrap_or_default() {
            "tools/call" => self.may_make_task(body),
            "" | "initialize" | "subscriptions/listen" => true,
            method => method.starts_with("tasks/"),
        };
        matches!(decision.kind, Kind::Request | Kind::Notification) && !asks_more
    }

    /// Whether a call could be answered with a task: `"task"` or `/tasks` is in it.
    fn may_make_task(&self, body: &[u8]) -> bool {
        self.task.find_iter(body).any(|at| {
            let before = at.checked_sub(1).and_then(|before| body.get(before));
            matches!(
                (before, body.get(at + 4)),
                (Some(b'"'), Some(b'"')) | (Some(b'/'), Some(b's'))
            )
        })
    }
}

impl Route {
    /// Whether the server may see this field of a client's.
    pub(super) fn passes(&self, field: &Field<'_>, with_session: bool) -> bool {
        let listed = match field.name {
            Name::Session => with_session,
            Name::Accept
            | Name::Baggage
            | Name::ContentType
            | Name::Mcp
            | Name::Subject
            | Name::Method
            | Name::TraceParent
            | Name::TraceState
            | Name::UserAgent
            | Name::Version => true,
            _ => false,
        };
        let mut own = self.own_names.iter();
        listed && !own.any(|own| own.eq_ignore_ascii_case(field.spelt))
    }
}

fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // ORDERING: a number nobody else has; nothing is published by it.
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// Whether this Content-Type says JSON in UTF-8, and nothing besides.
fn is_json(value: &[u8]) -> bool {
    const JSON: &[u8] = b"application/json";
    let Some((kind, parameter)) = value.split_at_checked(JSON.len()) else {
        return false;
    };
    let charset = |text: &[u8]| text.eq_ignore_ascii_case(b"charset=utf-8");
    kind.eq_ignore_ascii_case(JSON)
        && (parameter.is_empty()
            || parameter
                .strip_prefix(b";")
                .is_some_and(|rest| charset(rest.strip_prefix(b" ").unwrap_or(rest))))
}

/// Whether this Accept takes JSON or event streams, as far as that can be said at a glance.
fn accepts(value: &[u8]) -> bool {
    let is_ours = |range: &[u8]| {
        [&b"application/json"[..], b"text/event-stream", b"*/*"]
            .iter()
            .any(|ours| range.trim_ascii().eq_ignore_ascii_case(ours))
    };
    value.split(|byte| *byte == b',').any(is_ours)
}
