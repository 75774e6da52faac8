//! Tests of the HTTP/1.1 messages.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on may panic"
)]

mod again;
mod answer;
mod approvals;
mod chunked;
mod cuts;
mod field;
mod gate;
mod intake;
mod pieces;
mod smuggling;
mod streams;
mod support;
