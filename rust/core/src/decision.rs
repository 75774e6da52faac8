//! What was decided of one message, and why.
//!
//! INVARIANT: a [`Decision`] is complete by itself: everything that a log line, a metric or an answer needs
//! is in it, so that no later step asks the policy or the table again (either may have moved on).

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, iter};

use smallvec::SmallVec;

use crate::approval::Approval;
use crate::decimal::Decimal;
use crate::ledger::{Noted, Permit};
use crate::limit::Reservation;
use crate::message::Era;
use crate::policy::{PolicySet, Quota, QuotaId};
use crate::trace::Span;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $slug:literal,)*) => {
        /// Why a message was allowed or refused: slugs that never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in the order of the enum.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kebab slug that users see.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }
        }
    };
}

codes! {
    /// Nothing refused it.
    Allowed = "allowed",
    /// No entry names the tool and the default is to deny.
    DefaultDeny = "default-deny",
    /// The tool is hidden.
    Hidden = "hidden",
    /// A rule or an action denies the tool.
    ToolDenied = "tool-denied",
    /// A `require` rule does not hold.
    RequirementUnmet = "requirement-unmet",
    /// A limit has no room.
    LimitExceeded = "limit-exceeded",
    /// The tool is not as its definition is pinned.
    ToolChanged = "tool-changed",
    /// A person must approve.
    ApprovalRequired = "approval-required",
    /// A person refused it.
    ApprovalDenied = "approval-denied",
    /// No entry of `methods` allows the method.
    MethodDenied = "method-denied",
    /// The bytes are not one JSON-RPC message as MCP has it.
    MalformedRequest = "malformed-request",
    /// A JSON object names a key twice.
    DuplicateKey = "duplicate-key",
    /// The HTTP headers say another thing than the body.
    HeaderMismatch = "header-mismatch",
    /// An array where the revision has no batches, or a batch with a refused message in it.
    BatchNotAllowed = "batch-not-allowed",
    /// More bytes than the bound.
    BodyTooLarge = "body-too-large",
    /// Deeper nesting or more keys than the bound.
    TooDeep = "too-deep",
    /// A number that a double cannot hold.
    NumberOutOfRange = "number-out-of-range",
    /// The argument that a limit counts is not an exact non-negative number of its scale.
    CostInvalid = "cost-invalid",
    /// A rule could not be decided on these arguments.
    Indeterminate = "indeterminate",
    /// A tool name that could be taken for another one.
    ToolNameInvalid = "tool-name-invalid",
    /// The revision has no such method.
    MethodUnknown = "method-unknown",
    /// The limit table has no room for another quota.
    TableFull = "table-full",
    /// Too many calls raced for one quota.
    Contended = "contended",
    /// The limit table cannot be used.
    StateUnavailable = "state-unavailable",
    /// The decision log has no room for the call.
    LogUnavailable = "log-unavailable",
    /// As many calls are in flight as may be.
    Overloaded = "overloaded",
    /// A fault of the gateway's own.
    InternalError = "internal-error",
}

impl Code {
    /// Whether a message of this code passed: `allow` or `deny`.
    #[must_use]
    pub const fn effect(self) -> &'static str {
        match self {
            Self::Allowed => "allow",
            _ => "deny",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}

/// What kind of message was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has an id and a method.
    Request,
    /// Has a method and no id.
    Notification,
    /// Answers a request of the server's.
    Response,
    /// An array of messages (2025-03-26 only).
    Batch,
    /// Not a message.
    Invalid,
}

impl Kind {
    /// The word that users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Notification => "notification",
            Self::Response => "response",
            Self::Batch => "batch",
            Self::Invalid => "invalid",
        }
    }
}

/// Bytes of a message as they were spelt; as many as fit beside their length take no memory of their own.
pub type Spelling = SmallVec<[u8; 23]>;

/// What a decision's record takes beside the decision.
const RECORD_BYTES: usize = 128;

/// A limit that applied to the call, in units of its quota.
#[derive(Clone, Copy, Debug)]
pub struct LimitReport {
    /// Which quota of the decision's policy.
    pub quota: QuotaId,
    /// Its `max`.
    pub max: u64,
    /// What is left of it.
    pub remaining: u64,
    /// Nanoseconds until the window ends or all of it is regained.
    pub reset_ns: u64,
}

impl LimitReport {
    /// `max` as the policy's author would write it.
    #[must_use]
    pub fn limit(&self, quota: &Quota) -> Decimal {
        Decimal::from_units(self.max, quota.scale)
    }

    /// What is left, as the policy's author would write it.
    #[must_use]
    pub fn remaining(&self, quota: &Quota) -> Decimal {
        Decimal::from_units(self.remaining, quota.scale)
    }
}

/// A refusal that shadow mode recorded instead of enforcing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowDenial {
    /// RFC 6901 pointer of the rule.
    pub rule: String,
    /// The code it would have refused with.
    pub code: Code,
}

/// What was decided of one message.
#[derive(Debug)]
pub struct Decision {
    /// Whether the message may go on.
    pub allowed: bool,
    /// Why.
    pub code: Code,
    /// RFC 6901 pointer into the policy of what decided.
    pub rule: Option<String>,
    /// For the agent; empty when allowed.
    pub message: String,
    /// What the message is.
    pub kind: Kind,
    /// Stateless (2026-07-28 on) or with a session.
    pub era: Era,
    /// The client speaks 2025-11-25 or later, where an unreadable id is left out instead of null.
    pub omit_unknown_id: bool,
    /// JSON-RPC code of a message that is refused as malformed; 0 otherwise.
    pub rpc_code: i32,
    /// The method, if it could be read.
    pub method: Option<Cow<'static, str>>,
    /// Tool or prompt name, resource URI or task id.
    pub target: Option<String>,
    /// The id as it was spelt.
    pub request_id: Option<Spelling>,
    /// `params._meta.progressToken` as it was spelt.
    pub progress_token: Option<Spelling>,
    /// The limits that applied; the one that refused first, or the tightest first.
    pub limits: SmallVec<[LimitReport; 4]>,
    /// Nanoseconds after which the call is admitted if nobody else takes the room.
    pub retry_after_ns: Option<u64>,
    /// What people have said of the call, where that mattered.
    pub approval: Option<Arc<Approval>>,
    /// Refused because a person must approve, before anybody was asked: it is decided again with what people say, and
    /// only that is counted and recorded.
    pub held: bool,
    /// What shadow mode recorded.
    pub shadow: Vec<ShadowDenial>,
    /// Row of the count grid: which entry of the policy is to be counted.
    pub label: u32,
    /// The policy that decided.
    pub policy: Arc<PolicySet>,
    /// What was taken from the limits.
    pub reservation: Option<Reservation>,
    /// What is kept of the message for the decision log, where there is one.
    pub noted: Option<Box<Noted>>,
    /// The room that its line has in the log, until it is written.
    pub permit: Option<Permit>,
    /// The messages of a batch.
    pub parts: Vec<Decision>,
    settled: AtomicBool,
}

impl Decision {
    /// A refusal of bytes of which nothing is known yet: what is not decided is not allowed.
    #[must_use]
    pub fn new(policy: Arc<PolicySet>) -> Self {
        Self {
            allowed: false,
            code: Code::InternalError,
            rule: None,
            message: String::new(),
            kind: Kind::Invalid,
            era: Era::Legacy,
            omit_unknown_id: false,
            rpc_code: 0,
            method: None,
            target: None,
            request_id: None,
            progress_token: None,
            limits: SmallVec::new(),
            retry_after_ns: None,
            approval: None,
            held: false,
            shadow: Vec::new(),
            label: crate::counts::OTHER,
            policy,
            reservation: None,
            noted: None,
            permit: None,
            parts: Vec::new(),
            settled: AtomicBool::new(false),
        }
    }

    /// Makes it an approval.
    pub fn allow(&mut self) {
        self.allowed = true;
        self.code = Code::Allowed;
    }

    /// Makes it a refusal for this reason. `rpc_code` is 0 unless the message is malformed.
    pub fn refuse(&mut self, code: Code, rpc_code: i32, message: String) {
        self.code = code;
        self.rpc_code = rpc_code;
        self.message = message;
    }

    /// Whether what it reserved was given back or is at an end.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        // ORDERING: whoever settles has the last word; nothing is read through it.
        self.settled.load(Ordering::Relaxed)
    }

    /// Marks it as settled; true the first time.
    pub(crate) fn settle(&self) -> bool {
        // ORDERING: as above; only that one of two is the first matters.
        !self.settled.swap(true, Ordering::Relaxed)
    }

    /// What was taken from the limits, for the messages of a batch too.
    pub(crate) fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        let parts = self.parts.iter().map(|part| &part.reservation);
        iter::once(&self.reservation).chain(parts).flatten()
    }

    /// Whether the message is a `tools/call` request.
    #[must_use]
    pub fn is_tool_call(&self) -> bool {
        self.kind == Kind::Request && self.method.as_deref() == Some("tools/call")
    }

    /// About how many bytes its record takes until it is written.
    #[must_use]
    pub fn weight(&self) -> usize {
        let text = |text: Option<&str>| text.map_or(0, str::len);
        let noted = self.noted.as_ref().map_or(0, |noted| noted.weight());
        let parts: usize = self.parts.iter().map(Self::weight).sum();
        let own = text(self.method.as_deref()) + text(self.target.as_deref()) + self.message.len();
        size_of::<Self>() + RECORD_BYTES + own + noted + parts
    }

    /// The `traceparent` of what is asked of a server on this message's behalf; `None` where nothing is traced.
    #[must_use]
    pub fn traceparent(&self) -> Option<[u8; 55]> {
        let span = self.noted.as_ref().and_then(|noted| noted.span.as_ref());
        span.map(Span::traceparent)
    }

    /// Milliseconds to wait, rounded up so that waiting as long suffices.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after_ns.map(|ns| ns.div_ceil(1_000_000))
    }
}
