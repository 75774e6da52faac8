//! Who asks, through which server and session.

use sha2::{Digest, Sha256};

use crate::policy::Scope;

/// Identifies a quota's owner: the first half of a SHA-256 over the names, each with its length before it.
pub(crate) type Subject = [u8; 16];

/// Who asks, through which server and session. Made once a session, because it hashes its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    grant: String,
    server: String,
    session: Option<String>,
    revision: Option<String>,
    of_grant: Subject,
    of_session: Subject,
    of_server: Subject,
    of_all: Subject,
}

impl Caller {
    /// A caller. `session` is where the protocol has one, `revision` what it negotiated, where that is known.
    #[must_use]
    pub fn new(
        grant: String,
        server: String,
        session: Option<String>,
        revision: Option<String>,
    ) -> Self {
        let of_session = match &session {
            Some(session) => subject(&["session", &server, &grant, session]),
            // Without sessions, a session's quota is the grant's, and not the one of scope `grant`.
            None => subject(&["no session", &server, &grant]),
        };
        Self {
            of_grant: subject(&["grant", &server, &grant]),
            of_session,
            of_server: subject(&["server", &server]),
            of_all: subject(&["global"]),
            grant,
            server,
            session,
            revision,
        }
    }

    /// The identity that a policy and its counts belong to.
    #[must_use]
    pub fn grant(&self) -> &str {
        &self.grant
    }

    /// The server that is asked.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The session, where the protocol has one.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The revision that the session negotiated, where it is known.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Whose quota it is under this scope.
    #[must_use]
    pub fn subject(&self, scope: Scope) -> &Subject {
        match scope {
            Scope::Grant => &self.of_grant,
            Scope::Session => &self.of_session,
            Scope::Server => &self.of_server,
            Scope::Global => &self.of_all,
        }
    }
}

fn subject(parts: &[&str]) -> Subject {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut first = Subject::default();
    first
        .iter_mut()
        .zip(hash.finalize())
        .for_each(|(to, from)| *to = from);
    first
}
