//! HTTP/1.1 as far as it is plain: a request in, what becomes of it out; no sockets, no timers, no state but
//! a connection's own.
//!
//! INVARIANT: a message is served here only if every reader would see the same one. Whatever could be taken
//! in two ways, or is merely unusual, is given back byte for byte, to be judged by the parser and the
//! admission behind this one, which refuse in words. So this module need not be complete, only sure.

mod asked;
pub mod chunked;

#[cfg(test)]
mod tests;

pub use asked::Asked;
