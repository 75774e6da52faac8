//! What has to be known of a request to judge its answer.

use crate::decision::Spelling;

/// What has to be known of a request to judge its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The request's id as it was spelt; `None` for a notification, which wants no answer.
    pub id: Option<Spelling>,
    /// Whether the version header names a revision with sessions, or none.
    pub legacy: bool,
    /// The session that was checked.
    pub session: Option<Box<[u8]>>,
    /// The limits as lines of a header, each ending in CRLF.
    pub told: Vec<u8>,
}
