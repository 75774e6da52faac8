//! Which methods a client may use in which revision.

use super::Era;
use crate::caseless::fold;

/// Revisions, as bits. 2024-11-05 has the methods of 2025-03-26.
const R2503: u8 = 1;
const R2506: u8 = 2;
const R2511: u8 = 4;
const R2607: u8 = 8;
const HANDSHAKE: u8 = R2503 | R2506 | R2511;
const ALL: u8 = HANDSHAKE | R2607;

/// What a client may send, the most frequent first.
static METHODS: [(&str, u8); 25] = [
    ("tools/call", ALL),
    ("tools/list", ALL),
    ("resources/read", ALL),
    ("prompts/get", ALL),
    ("ping", HANDSHAKE),
    ("initialize", HANDSHAKE),
    ("server/discover", R2607),
    ("subscriptions/listen", R2607),
    ("resources/list", ALL),
    ("resources/templates/list", ALL),
    ("resources/subscribe", HANDSHAKE),
    ("resources/unsubscribe", HANDSHAKE),
    ("prompts/list", ALL),
    ("completion/complete", ALL),
    ("logging/setLevel", HANDSHAKE),
    ("tasks/get", R2511 | R2607),
    ("tasks/cancel", R2511 | R2607),
    ("tasks/result", R2511),
    ("tasks/list", R2511),
    ("tasks/update", R2607),
    ("notifications/initialized", HANDSHAKE),
    ("notifications/cancelled", ALL),
    ("notifications/progress", HANDSHAKE),
    ("notifications/roots/list_changed", HANDSHAKE),
    ("notifications/tasks/status", R2511),
];

fn find(method: &str) -> Option<(&'static str, u8)> {
    METHODS.iter().copied().find(|(name, _)| *name == method)
}

/// Whether a client may send `method` in this era. In the era of handshakes that depends on the revision
/// agreed on; where it is not known, a method of any of them is known.
#[must_use]
pub fn known(method: &str, era: Era, revision: Option<&str>) -> bool {
    let asked = match (era, revision) {
        (Era::Modern, _) => R2607,
        (Era::Legacy, Some("2024-11-05" | "2025-03-26")) => R2503,
        (Era::Legacy, Some("2025-06-18")) => R2506,
        (Era::Legacy, Some("2025-11-25")) => R2511,
        (Era::Legacy, _) => HANDSHAKE,
    };
    find(method).is_some_and(|(_, revisions)| revisions & asked != 0)
}

/// The method of this name that lives as long as the program, if any revision has it.
#[must_use]
pub fn canonical(method: &str) -> Option<&'static str> {
    find(method).map(|(name, _)| name)
}

/// Whether `method`, which no revision has, is one of the protocol's to a router that is lax about case, blanks
/// or separators: what such a server would do with it was never decided.
#[must_use]
pub fn resembles_known(method: &str) -> bool {
    let letters = |text: &'_ str| -> String {
        text.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(fold)
            .collect()
    };
    canonical(method).is_none() && {
        let disguised = letters(method);
        METHODS.iter().any(|(name, _)| letters(name) == disguised)
    }
}

/// Whether `method` needs no entry under `default: deny`: it opens or keeps up the connection, lists, or asks
/// for nothing that acts or reads.
#[must_use]
pub fn passes_by_default(method: &str) -> bool {
    matches!(
        method,
        "initialize"
            | "ping"
            | "server/discover"
            | "logging/setLevel"
            | "completion/complete"
            | "subscriptions/listen"
    ) || method.starts_with("notifications/")
        || method.ends_with("/list")
}
