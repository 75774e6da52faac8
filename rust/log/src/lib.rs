//! Interlock's decision log.
//!
//! [`log`] has the queue, `writer` the thread that writes; [`line`] words a record, in [`text`] that cannot be taken for
//! anything else; [`chain`] links the lines; [`file`] and [`sink`] are where they go; [`verify`] reads them back.
//! [`spans`] stands before a log, or in its place, and keeps what OpenTelemetry is to be told.
//!
//! There is no Python in this crate and no clock: who opens a log says what time it is.
#![forbid(unsafe_code)]

pub mod chain;
pub mod file;
pub mod line;
pub mod log;
pub mod sink;
pub mod spans;
pub mod text;
pub mod verify;
mod writer;

pub use chain::LINE_BYTES;
pub use line::Visit;
pub use log::{Log, Options, Overflow, Target};
pub use spans::Spans;
