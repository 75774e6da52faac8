//! Interlock's decision core: which MCP messages pass, and what they use up.
//!
//! The model in one page. [`json`] reads bytes strictly and indexes them; [`message`] says what the JSON-RPC
//! message is; [`policy`] holds the compiled rules; [`limit`] holds the counts, in memory that worker
//! processes share and that outlives them. [`engine::Engine::decide`] puts them together: read, hold against
//! the HTTP headers ([`claims`]), evaluate the rules ([`evaluate`]), collect the quotas ([`charges`]), reserve
//! all of them or none, and describe the result ([`decision`]). [`denial`] words a refusal, [`listing`] takes hidden
//! tools out of lists, [`canonical`] digests their definitions, which [`pins`] compares, [`counts`] counts,
//! [`exposition`] words the counts for Prometheus, [`explain`] and [`usage`] are for people, and a [`ledger`] is told.
//! [`http1`] is the way in and out of a connection whose messages are plain, [`sse`]
//! cuts event streams.
//!
//! There is no Python in this crate, no clock and no I/O beyond the mapped state file. Bad input is a value
//! here, never a panic; a panic that happens all the same is a refusal.
#![deny(unsafe_code)]

pub mod approval;
pub mod caller;
pub mod canonical;
mod caseless;
pub mod charges;
pub mod claims;
pub mod counts;
mod deciding;
pub mod decimal;
pub mod decision;
pub mod denial;
pub mod engine;
pub mod evaluate;
pub mod explain;
pub mod exposition;
pub mod http1;
pub mod json;
pub mod ledger;
pub mod limit;
pub mod listing;
pub mod message;
pub mod pattern;
pub mod pins;
pub mod policy;
mod ratelimit;
mod refused;
#[cfg(all(feature = "simulated", not(loom)))]
pub mod simulated;
pub mod sse;
mod sync;
pub mod time;
pub mod trace;
pub mod usage;
