//! A simulator of Interlock's limits: virtual workers, clocks and faults drive the real core, one seed a history.
//!
//! The model in one page. A seed makes a universe of quotas ([`spec`]), a table in a file, and a few workers, each
//! with its own opening of that file, its own seat, clock and policy version, as worker processes have them.
//! Their threads are fibers ([`fiber`]), which stand still before any operation on shared memory while others
//! run, or for good: that is the core built with its feature `simulated`. The history ([`world`]) draws calls,
//! settlements, reloads, clock steps, stalls, kills and restarts. The oracle ([`oracle`], [`ledger`],
//! [`calendar`]) keeps the upstream's books in arithmetic of its own and judges each answer from outside.
//!
//! INVARIANT: a history depends on its seed and on nothing else: no clock, no address, no order of hashing.

pub mod calendar;
pub mod fiber;
pub mod ledger;
pub mod oracle;
pub mod spec;
pub mod world;

use std::path::Path;

use oracle::Violation;
use world::{Figures, Pool, World};

/// Runs one seed's history in a file of `folder`.
///
/// # Errors
///
/// [`Violation`]: what the core did that it must not do.
pub fn run(seed: u64, folder: &Path, pool: &mut Pool, trace: bool) -> Result<Figures, Violation> {
    let events = 40 + u32::try_from(seed % 7).unwrap_or(0) * 40;
    World::new(seed, folder, pool, trace)?.run(events)
}
