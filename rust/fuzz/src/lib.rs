//! What must hold of every input, one module for each reader of bytes that somebody else wrote.
//!
//! Each `holds` panics if its property does not hold. Where there is a second reading of the same bytes
//! (serde_json, big integers, the obvious algorithm), the two are compared; where bytes come in pieces, the pieces
//! must not matter.

pub mod answer;
pub mod decide;
pub mod events;
pub mod message;
pub mod number;
pub mod pattern;
pub mod policy;
pub mod request;
pub mod state;

use std::sync::Arc;

use gateway_core::engine::{Engine, Options};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;
use gateway_core::time::Nanos;

/// 2026-03-02T00:00:00Z.
pub(crate) const MIDNIGHT: Nanos = Nanos(1_772_409_600 * Nanos::SECOND);

/// An engine of its own for this policy.
pub(crate) fn engine(policy: &str) -> Arc<Engine> {
    let policy = PolicySet::parse(policy.as_bytes(), "fuzz.json").expect("the policy of a target");
    let table = LimitTable::anonymous(16).expect("memory");
    Arc::new(Engine::new(
        Arc::new(policy),
        Arc::new(table),
        Options::default(),
    ))
}

/// The pieces of `data` that a first byte cuts it into, and the rest of the bytes whole.
pub(crate) fn cut(data: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (size, whole) = data.split_first()?;
    let pieces = whole.chunks(usize::from(*size).max(1)).collect();
    Some((whole, pieces))
}
