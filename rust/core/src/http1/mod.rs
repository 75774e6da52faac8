//! HTTP/1.1 as far as it is plain: a request in, what becomes of it out; no sockets, no timers, no state but
//! a connection's own.
//!
//! INVARIANT: a message is served here only if every reader would see the same one. Whatever could be taken
//! in two ways, or is merely unusual, is given back byte for byte, to be judged by the parser and the
//! admission behind this one, which refuse in words. So this module need not be complete, only sure.

mod again;
mod answer;
mod asked;
mod body;
pub mod chunked;
pub mod credentials;
mod events;
mod field;
mod forward;
mod gate;
mod intake;
mod observe;
mod request;
mod response;
mod serve;

#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::Arc;

pub use answer::{Answering, Reason, State, Step};
pub use asked::Asked;
pub use gate::{Gate, GateOptions, Peer, Route};
pub use intake::{Intake, Phase};

use crate::caller::Caller;
use crate::decision::Decision;
use crate::engine::Engine;

/// What became of the bytes so far.
#[derive(Debug)]
pub enum Received {
    /// No message is whole yet; what there is is kept.
    More,
    /// A refusal: the whole answer. The connection goes on.
    Answer(Vec<u8>),
    /// An allowed message, and what to send to the server.
    Forward(Forward),
    /// A request that is the application's to serve. The connection goes on, unless the request ends it.
    HandOver(Box<HandedOver>),
    /// What came is not plain HTTP/1.1: [`Intake::take_raw`] has the bytes, and all that follow belong to the
    /// same other parser.
    TakeOver,
    /// Something in here failed: the whole answer, after which the connection is to be closed.
    Failed(Vec<u8>),
}

/// An allowed message on its way to the server.
#[derive(Debug)]
pub struct Forward {
    /// The route's.
    pub tag: usize,
    /// Head and body.
    pub bytes: Vec<u8>,
    /// What has to be known to judge the answer.
    pub asked: Asked,
    /// The decision with its reservation, which has to be settled.
    pub decision: Arc<Decision>,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// What decided.
    pub engine: Arc<Engine>,
    /// The token that said whose message it is.
    pub token: Option<credentials::Fingerprint>,
}

/// A whole request for the application.
#[derive(Debug)]
pub struct HandedOver {
    /// As it came.
    pub method: Vec<u8>,
    /// As it came; begins with a slash.
    pub target: Vec<u8>,
    /// In the order they came, with lower-case names.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Without its coding.
    pub body: Vec<u8>,
    /// The decision, if the message was decided: allowed, with its reservation, which has to be settled.
    pub decision: Option<Arc<Decision>>,
    /// Who asks, if the message was decided.
    pub caller: Option<Arc<Caller>>,
    /// The route's, if the message was decided.
    pub tag: Option<usize>,
    /// What decided, if the message was decided.
    pub engine: Option<Arc<Engine>>,
    /// The token that said whose message it is, if it was decided.
    pub token: Option<credentials::Fingerprint>,
}
