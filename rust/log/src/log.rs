//! The queue of what is to be logged, and the thread that writes it.
//!
//! INVARIANT: what waits takes no more room than was allowed for it, and none is given back before the line is
//! written; who hands something over never waits for who writes; and whatever was handed over is written in its order,
//! or counted in the line that comes next.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use gateway_core::ledger::{Entry, Ledger};

use crate::file::{self, Found, Rotation};
use crate::line::{self, Visit};
use crate::sink::{Sink, Stream};
use crate::writer::Writer;

const FILE: &str = "file";
const STREAM: &str = "stream";

/// What the writer gets to notice that it is given up.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a log goes.
#[derive(Debug)]
pub enum Target {
    /// A file, and those that come after it; or whatever else is at that path.
    Path(PathBuf),
    /// A pipe, or anything that is open.
    Stream(File),
    /// Somebody who watches: short lines, and no chain.
    Terminal(File),
    /// Anything.
    Sink(Box<dyn Sink>, Found),
}

/// What becomes of a message whose line has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It is refused.
    #[default]
    Deny,
    /// Its line is left out, and counted.
    Drop,
}

/// What a log is told once.
pub struct Options {
    /// Where it goes.
    pub target: Target,
    /// What happens when it is full.
    pub overflow: Overflow,
    /// Names of arguments whose values are logged.
    pub arguments: Vec<String>,
    /// How much may wait.
    pub buffer_bytes: usize,
    /// When the next file is begun.
    pub rotation: Rotation,
    /// The number of this process, where several write.
    pub worker: Option<u32>,
    /// What the line of a start says besides.
    pub about: Vec<(String, String)>,
    /// The present, in nanoseconds since 1970.
    pub clock: fn() -> u64,
    /// Told, in words, what the operator should know.
    pub tell: fn(&str),
}

pub(crate) enum What {
    Entry(Entry),
    Visit(Visit),
    Event(String, Vec<(String, String)>),
}

pub(crate) struct Item {
    pub(crate) what: What,
    /// Room that is not the decision's own.
    pub(crate) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Go,
    Finish,
    GiveUp,
}

pub(crate) struct Queue {
    pub(crate) items: Vec<Item>,
    /// Whether the writer sleeps until it is woken.
    pub(crate) asleep: bool,
    pub(crate) order: Order,
    pub(crate) ended: bool,
}

pub(crate) struct Shared {
    pub(crate) used: AtomicUsize,
    pub(crate) room: usize,
    pub(crate) overflow: Overflow,
    pub(crate) arguments: Vec<String>,
    pub(crate) clock: fn() -> u64,
    pub(crate) tell: fn(&str),
    pub(crate) queue: Mutex<Queue>,
    pub(crate) wake: Condvar,
    pub(crate) ended: Condvar,
    pub(crate) gap: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) lines: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Whether something found no room since the last line was written.
    pub(crate) full: AtomicBool,
    /// Whether nobody writes any more: then there is no room, however little waits.
    pub(crate) over: AtomicBool,
    pub(crate) trouble: Mutex<Option<String>>,
}

/// A decision log that is open.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

/// Figures of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lines that were written.
    pub lines: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Lines that were left out.
    pub lost: u64,
    /// Bytes that wait, room that is held included.
    pub waiting: u64,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Opens a log, and starts the thread that writes it.
    ///
    /// # Errors
    ///
    /// What the operating system says of the file; `InvalidData` if its end is not that of a log.
    pub fn open(options: Options) -> io::Result<Self> {
        let (sink, found, kind) = match options.target {
            Target::Path(path) => {
                let (sink, found) = file::open(&path, options.rotation, (options.clock)())?;
                let kind = if found.stream { STREAM } else { FILE };
                (sink, found, kind)
            }
            Target::Stream(file) => {
                let sink: Box<dyn Sink> = Box::new(Stream::new(file));
                (sink, Found::default(), STREAM)
            }
            Target::Terminal(file) => {
                let sink: Box<dyn Sink> = Box::new(Stream::new(file));
                (sink, Found::default(), "")
            }
            Target::Sink(sink, found) => (sink, found, FILE),
        };
        let shared = Arc::new(Shared {
            used: AtomicUsize::new(0),
            room: options.buffer_bytes,
            overflow: options.overflow,
            arguments: options.arguments,
            clock: options.clock,
            tell: options.tell,
            queue: Mutex::new(Queue {
                items: Vec::new(),
                asleep: false,
                order: Order::Go,
                ended: false,
            }),
            wake: Condvar::new(),
            ended: Condvar::new(),
            gap: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            full: AtomicBool::new(false),
            over: AtomicBool::new(false),
            trouble: Mutex::new(None),
        });
        let mut writer = Writer::new(
            shared.clone(),
            sink,
            found.place,
            options.worker,
            kind.is_empty(),
        );
        writer.begin(&found, kind, options.about);
        thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self(shared))
    }

    /// The same, as the engine knows it.
    #[must_use]
    pub fn ledger(&self) -> Arc<dyn Ledger> {
        self.0.clone()
    }

    /// Logs a request without a message; false if that was not possible, and was counted.
    #[must_use]
    pub fn visit(&self, visit: Visit) -> bool {
        let bytes = visit.weight();
        if !self.0.reserve(bytes) {
            self.0.lose(1);
            return false;
        }
        self.0.push(Item {
            what: What::Visit(visit),
            bytes,
        });
        true
    }

    /// Logs something that happened to the gateway, whether there is room or not.
    pub fn event(&self, name: String, members: Vec<(String, String)>) {
        self.0.push(Item {
            what: What::Event(name, members),
            bytes: 0,
        });
    }

    /// Figures so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        // ORDERING: statistics.
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Stats {
            lines: read(&self.0.lines),
            bytes: read(&self.0.bytes),
            lost: read(&self.0.lost),
            waiting: self.0.used.load(Ordering::Relaxed) as u64,
        }
    }

    /// What keeps it from being written, or that it is full; `None` while it works.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let trouble = lock(&self.0.trouble).clone();
        // ORDERING: a hint for people.
        let full = self.0.full.load(Ordering::Relaxed);
        trouble.or_else(|| full.then(|| "it is written too slowly".to_owned()))
    }

    /// Writes what waits, and ends. What cannot be written within the patience is given up.
    ///
    /// Returns how many records that were.
    #[must_use]
    pub fn close(&self, patience: Duration) -> usize {
        let mut queue = lock(&self.0.queue);
        for (order, patience) in [(Order::Finish, patience), (Order::GiveUp, FAREWELL)] {
            if queue.ended {
                break;
            }
            queue.order = order;
            self.0.wake.notify_one();
            let waited = self
                .0
                .ended
                .wait_timeout_while(queue, patience, |queue| !queue.ended);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.items.len()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl Shared {
    fn push(&self, item: Item) {
        let mut queue = lock(&self.queue);
        if queue.ended {
            drop(queue);
            return self.lose(1);
        }
        queue.items.push(item);
        let asleep = std::mem::take(&mut queue.asleep);
        drop(queue);
        if asleep {
            self.wake.notify_one();
        }
    }

    fn lose(&self, lines: u64) {
        // ORDERING: statistics.
        self.gap.fetch_add(lines, Ordering::Relaxed);
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Ledger for Shared {
    fn reserve(&self, bytes: usize) -> bool {
        // ORDERING: only the number itself counts; and what comes a moment after the end is counted by `push`.
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.room && !self.over.load(Ordering::Relaxed);
        if !fits {
            self.release(bytes);
            // ORDERING: a hint for people.
            self.full.store(true, Ordering::Relaxed);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        // ORDERING: as above.
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_required(&self) -> bool {
        self.overflow == Overflow::Deny
    }

    fn arguments(&self) -> &[String] {
        &self.arguments
    }

    fn record(&self, entry: Entry) {
        let decision = &entry.decision;
        let mut parts = decision.parts.iter();
        let has_room = decision.permit.is_some()
            || (!decision.parts.is_empty() && parts.all(|part| part.permit.is_some()));
        let bytes = if has_room { 0 } else { decision.weight() };
        if bytes > 0 && !self.reserve(bytes) {
            return self.lose(line::count(&entry));
        }
        self.push(Item {
            what: What::Entry(entry),
            bytes,
        });
    }
}
