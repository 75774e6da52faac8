//! What people have said of a call that needs a person's approval, as whoever decides the call again is told.
//!
//! INVARIANT: an approval lifts the refusals that ask for one and no other, of a message that is decided alone, and
//! only under the policy that asked. Which rules ask follows from that policy and the message, so that what was
//! approved is what is lifted.

use std::fmt::Write as _;

use crate::decision::Code;
use crate::denial::push_member;
use crate::policy::PolicySet;
use crate::time::{Nanos, civil};

/// How a request for approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for a person.
    Pending,
    /// A person approved this call, and it is this one's to use.
    Approved,
    /// A person refused it.
    Denied,
    /// Nobody can be asked.
    Unavailable,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 4] = [
        Self::Pending,
        Self::Approved,
        Self::Denied,
        Self::Unavailable,
    ];

    /// The word that users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A request for approval of one call.
#[derive(Clone, Debug)]
pub struct Approval {
    /// How it stands.
    pub standing: Standing,
    /// Digest of the policy that asks for it.
    pub policy: String,
    /// What people call it; `None` where nobody can be asked.
    pub id: Option<String>,
    /// Who decided it.
    pub by: Option<String>,
    /// When it ends.
    pub until: Option<Nanos>,
    /// What the person had to say, or why nobody can be asked.
    pub remark: Option<String>,
}

impl Approval {
    /// Whether refusals of this policy that ask for an approval are lifted.
    #[must_use]
    pub fn lifts(&self, policy: &PolicySet) -> bool {
        self.standing == Standing::Approved && self.policy == policy.digest()
    }

    /// The refusal of a call that it does not let through. `reason` is the rule's.
    #[must_use]
    pub fn refusal(&self, reason: &str) -> (Code, String) {
        let id = self.id.as_deref().unwrap_or_default();
        let until = self.until.map(rfc3339).unwrap_or_default();
        let remark = self.remark.as_deref();
        match self.standing {
            Standing::Denied => {
                let said = remark.map_or_else(String::new, |remark| format!(": {remark}"));
                let message = format!(
                    "{reason}; a person refused this call (`{id}`){said}; do not make it again before {until}"
                );
                (Code::ApprovalDenied, message)
            }
            Standing::Pending => (
                Code::ApprovalRequired,
                format!(
                    "{reason}; nothing was done yet: this very call waits for a person as `{id}` until {until}; tell \
                     whoever may decide, and once it was approved with `interlock approvals approve {id}` make the \
                     same call again, with the same arguments"
                ),
            ),
            Standing::Approved => (
                Code::ApprovalRequired,
                format!(
                    "{reason}; the policy has changed since a person approved this call (`{id}`); make the same call \
                     again, and a person will be asked anew"
                ),
            ),
            Standing::Unavailable => {
                let why = remark.unwrap_or("approvals cannot be kept at present");
                (
                    Code::ApprovalRequired,
                    format!("{reason}; and nobody can be asked: {why}"),
                )
            }
        }
    }

    /// Appends it as data for whoever called: `{id, state, until}`.
    pub(crate) fn push(&self, out: &mut String) {
        let _ = write!(out, "{{\"state\":\"{}\"", self.standing.name());
        if let Some(id) = &self.id {
            push_member(out, ",\"id\":", id);
        }
        if let Some(until) = self.until {
            push_member(out, ",\"until\":", &rfc3339(until));
        }
        out.push('}');
    }
}

/// A time as RFC 3339 has it, in whole seconds.
fn rfc3339(at: Nanos) -> String {
    let [year, month, day, hour, minute, second] = civil(at.0 / Nanos::SECOND);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
