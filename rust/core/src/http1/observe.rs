//! What the messages of a server's answer mean to a gateway: whether one is the answer, and which ones have to
//! be remembered before they leave.
//!
//! INVARIANT: a message that may ask the client for something is shown, and one that is not surely sound is left
//! to the reader behind this one. Reading costs more than passing on, so a message of a stream is looked
//! through for the few words without which it cannot matter, and read only then.

use std::cell::RefCell;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::json::{Fault, Index, Kind, Value};
use crate::listing::BOUNDS;

use super::Asked;

/// Up to this many bytes the scanner's buffers are kept for the next message.
const SHORT_BYTES: usize = 64 << 10;

thread_local! {
    /// Buffers of the scanner.
    static INDEX: RefCell<Index> = RefCell::default();
}

/// What a message of a stream, or an array of them, is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// It answers the request, or might.
    pub(super) answers: bool,
    /// It asks the client something, or might, so that a reply may come.
    pub(super) asks: bool,
}

/// What a whole document is as the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// One message with the id that was asked with, or an error that names none.
    Sound {
        /// It asks the client something as well.
        asks: bool,
    },
    /// Perhaps, and perhaps not: another spelling of the id, or what the scanner refuses and others may read.
    Unsure,
}

/// Looks at the payload of an event.
pub(super) fn observe(data: &[u8], legacy: bool) -> Observed {
    let answers = holds(&RESULT, data) || holds(&ERROR, data);
    if !holds(&METHOD, data) {
        let asks = false;
        return Observed { answers, asks };
    }
    let may_ask = legacy && holds(&ID, data);
    if !answers && !may_ask {
        return Observed::default();
    }
    let observed = read(data, |message| match message.kind() {
        Kind::Array => {
            message
                .elements()
                .map(observe_message)
                .fold(Observed::default(), |all, one| Observed {
                    answers: all.answers || one.answers,
                    asks: all.asks || one.asks,
                })
        }
        _ => observe_message(message),
    });
    let unread = Observed {
        answers,
        asks: true,
    };
    let observed = observed.unwrap_or(unread);
    Observed {
        asks: observed.asks && legacy,
        ..observed
    }
}

/// Holds a whole document against the request.
pub(super) fn judge(document: &[u8], asked: &Asked) -> Judgement {
    let read = read(document, |message| {
        let parts = Parts::of(message);
        let same = parts.id.is_some() && parts.id == asked.id.as_deref();
        let unnamed = parts.id.is_none_or(|id| id == b"null");
        if same || (unnamed && parts.error) {
            let asks = asked.legacy && parts.asks();
            Judgement::Sound { asks }
        } else {
            Judgement::Unsure
        }
    });
    read.unwrap_or(Judgement::Unsure)
}

fn observe_message(message: Value<'_>) -> Observed {
    let parts = Parts::of(message);
    Observed {
        answers: message.kind() == Kind::Object && !parts.method,
        asks: parts.asks(),
    }
}

/// What a message has of the members that matter.
#[derive(Default)]
struct Parts<'a> {
    /// As it is spelt.
    id: Option<&'a [u8]>,
    method: bool,
    error: bool,
}

impl<'a> Parts<'a> {
    fn of(message: Value<'a>) -> Self {
        let mut parts = Self::default();
        for (key, value) in message.members() {
            if key.eq_str("id") {
                parts.id = Some(value.raw());
            }
            parts.method |= key.eq_str("method");
            parts.error |= key.eq_str("error");
        }
        parts
    }

    const fn asks(&self) -> bool {
        self.method && self.id.is_some()
    }
}

fn read<T>(document: &[u8], look: impl FnOnce(Value<'_>) -> T) -> Result<T, Fault> {
    if document.len() > SHORT_BYTES {
        return Index::default().scan(document, &BOUNDS).map(look);
    }
    INDEX.with(|cell| match cell.try_borrow_mut() {
        Ok(mut index) => index.scan(document, &BOUNDS).map(look),
        Err(_) => Index::default().scan(document, &BOUNDS).map(look),
    })
}

type Word = LazyLock<Finder<'static>>;

static METHOD: Word = LazyLock::new(|| Finder::new(b"\"method\""));
static RESULT: Word = LazyLock::new(|| Finder::new(b"\"result\""));
static ERROR: Word = LazyLock::new(|| Finder::new(b"\"error\""));
static ID: Word = LazyLock::new(|| Finder::new(b"\"id\""));

fn holds(word: &Word, data: &[u8]) -> bool {
    word.find(data).is_some()
}
