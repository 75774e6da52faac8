//! The queue of what is to be logged, and the thread that writes it.
//!
//! INVARIANT: what waits takes no more room than was allowed for it, and none is given back before the line is
//! written; who hands something over never waits for who writes; and whatever was handed over is written in its order,
//! or counted in the line that comes next.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use gateway_core::ledger::{Entry, Ledger};
use gateway_core::time::Nanos;
use sha2::{Digest, Sha256};

use crate::chain::{self, Place};
use crate::file::{self, Found, Rotation};
use crate::line::{self, Tail, Visit};
use crate::sink::{Sink, Stream};
use crate::text;

const FILE: &str = "file";
const STREAM: &str = "stream";

/// How much is written at once.
const PIECE_BYTES: usize = 64 << 10;

/// How long a writer that had something to do rests until it looks again: what a death can lose.
const REST: Duration = Duration::from_micros(200);

/// How often it does so before it sleeps until it is woken.
const RESTS: u32 = 25;

/// How long a sink that failed is left alone.
const PAUSE: Duration = Duration::from_millis(250);

/// How often a sink that takes nothing is asked before that is called trouble.
const STALLS: u32 = 4;

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

enum What {
    Entry(Entry),
    Visit(Visit),
    Event(String, Vec<(String, String)>),
}

struct Item {
    what: What,
    /// Room that is not the decision's own.
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Go,
    Finish,
    GiveUp,
}

struct Queue {
    items: Vec<Item>,
    /// Whether the writer sleeps until it is woken.
    asleep: bool,
    order: Order,
    ended: bool,
}

struct Shared {
    used: AtomicUsize,
    room: usize,
    overflow: Overflow,
    arguments: Vec<String>,
    clock: fn() -> u64,
    tell: fn(&str),
    queue: Mutex<Queue>,
    wake: Condvar,
    ended: Condvar,
    gap: AtomicU64,
    lost: AtomicU64,
    lines: AtomicU64,
    bytes: AtomicU64,
    /// Whether something found no room since the last line was written.
    full: AtomicBool,
    trouble: Mutex<Option<String>>,
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
            trouble: Mutex::new(None),
        });
        let mut writer = Writer {
            shared: shared.clone(),
            sink,
            place: found.place,
            out: String::with_capacity(2 * PIECE_BYTES),
            lines: 0,
            worker: options.worker,
            readable: kind.is_empty(),
            recovered: None,
            rotates: true,
        };
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
        // ORDERING: only the number itself counts.
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.room;
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

/// Says that a writer has ended, however it did.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        if thread::panicking() {
            *lock(&self.0.trouble) = Some("its writer failed".to_owned());
        }
        lock(&self.0.queue).ended = true;
        self.0.ended.notify_all();
    }
}

struct Writer {
    shared: Arc<Shared>,
    sink: Box<dyn Sink>,
    place: Place,
    /// Lines that are to be written, and how many.
    out: String,
    lines: u64,
    worker: Option<u32>,
    readable: bool,
    /// What kept it from being written until just now, and since when.
    recovered: Option<(String, u64)>,
    /// Whether the next file could be begun when that was tried last.
    rotates: bool,
}

impl Writer {
    fn run(mut self) {
        let _ending = Ending(self.shared.clone());
        let mut items = Vec::new();
        let mut written = Vec::new();
        loop {
            let order = self.wait(&mut items);
            for item in items.drain(..) {
                self.word(&item);
                written.push(item);
                if self.out.len() >= PIECE_BYTES && !self.write(&mut written) {
                    return;
                }
            }
            if !self.write(&mut written) {
                return;
            }
            self.rotate();
            if order != Order::Go && lock(&self.shared.queue).items.is_empty() {
                self.event("stop", &[]);
                let _ = self.write(&mut written);
                self.sink.sync();
                return;
            }
        }
    }

    /// Waits for something to do, and takes it.
    ///
    /// To be woken costs who hands something over more than all the rest, so a writer that had something to do just
    /// now looks again by itself.
    fn wait(&self, items: &mut Vec<Item>) -> Order {
        let mut rests = 0;
        let mut queue = lock(&self.shared.queue);
        while queue.items.is_empty() && queue.order == Order::Go {
            if rests < RESTS {
                drop(queue);
                thread::sleep(REST);
                rests += 1;
                queue = lock(&self.shared.queue);
                continue;
            }
            queue.asleep = true;
            queue = self
                .shared
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.asleep = false;
        std::mem::swap(&mut queue.items, items);
        queue.order
    }

    fn begin(&mut self, found: &Found, kind: &str, mut about: Vec<(String, String)>) {
        about.insert(0, ("to".to_owned(), kind.to_owned()));
        if found.unended {
            self.out.push('\n');
        }
        if found.torn.is_empty() {
            return self.event("start", &about);
        }
        let mut digest = String::new();
        text::hex(&mut digest, &Sha256::digest(&found.torn));
        about.push(("torn_bytes".to_owned(), found.torn.len().to_string()));
        about.push(("torn_sha256".to_owned(), digest));
        self.event("start", &about);
    }

    fn word(&mut self, item: &Item) {
        match &item.what {
            What::Entry(entry) => {
                for decided in line::lines(entry) {
                    if self.readable {
                        decided.push_readable(&mut self.out);
                    } else {
                        let (from, seq, tail) = self.next();
                        decided.push(&mut self.out, seq, tail, &self.shared.arguments);
                        self.seal(from);
                    }
                }
            }
            What::Visit(visit) if self.readable => visit.push_readable(&mut self.out),
            What::Visit(visit) => {
                let (from, seq, tail) = self.next();
                visit.push(&mut self.out, seq, tail);
                self.seal(from);
            }
            What::Event(name, members) => self.event(name, members),
        }
    }

    fn event(&mut self, name: &str, members: &[(String, String)]) {
        if self.readable {
            return;
        }
        let (from, seq, tail) = self.next();
        line::begin(&mut self.out, Nanos((self.shared.clock)()), seq);
        self.out.push_str(",\"event\":");
        text::string(&mut self.out, name, 32);
        for (member, value) in members {
            self.out.push(',');
            text::string(&mut self.out, member, 32);
            self.out.push(':');
            text::string(&mut self.out, value, 512);
        }
        tail.push(&mut self.out);
        self.seal(from);
    }

    fn next(&self) -> (usize, u64, Tail) {
        let tail = Tail {
            // ORDERING: a statistic.
            gap: self.shared.gap.swap(0, Ordering::Relaxed),
            worker: self.worker,
        };
        (self.out.len(), self.place.seq + 1, tail)
    }

    fn seal(&mut self, from: usize) {
        chain::seal(&mut self.out, from, &mut self.place);
        self.lines += 1;
    }

    /// Writes what is worded, however long that takes, and lets go of what it was made of; false if it was told to
    /// give up.
    fn write(&mut self, written: &mut Vec<Item>) -> bool {
        if self.readable {
            // ORDERING: a statistic.
            let gap = self.shared.gap.swap(0, Ordering::Relaxed);
            if gap > 0 {
                let _ = writeln!(self.out, "({gap} lines were left out)");
            }
        }
        loop {
            if !self.push_out() {
                return false;
            }
            match self.recovered.take() {
                Some((error, since)) => {
                    let ms = (self.shared.clock)().saturating_sub(since) / 1_000_000;
                    let after = ("after_ms".to_owned(), ms.to_string());
                    self.event("recovered", &[("error".to_owned(), error), after]);
                }
                None => break,
            }
        }
        // ORDERING: a statistic.
        self.shared.lines.fetch_add(self.lines, Ordering::Relaxed);
        self.lines = 0;
        for item in written.drain(..) {
            self.shared.release(item.bytes);
        }
        true
    }

    fn push_out(&mut self) -> bool {
        let mut at = 0;
        let mut stalls = 0;
        while let Some(rest) = self
            .out
            .as_bytes()
            .get(at..)
            .filter(|rest| !rest.is_empty())
        {
            match self.sink.write(rest) {
                Ok(0) => self.suffer(&io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    at += bytes;
                    stalls = 0;
                    self.relieve(bytes);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stalls += 1;
                    if stalls == STALLS {
                        let error = io::Error::other("nobody reads it");
                        self.suffer(&error);
                    }
                    // It has waited.
                    if lock(&self.shared.queue).order == Order::GiveUp {
                        return false;
                    }
                    continue;
                }
                Err(error) => self.suffer(&error),
            }
            if self.gives_up() {
                return false;
            }
        }
        self.out.clear();
        true
    }

    /// Remembers what is wrong.
    fn suffer(&mut self, error: &io::Error) {
        let error = error.to_string();
        if self.recovered.is_none() {
            (self.shared.tell)(&format!("the decision log cannot be written: {error}"));
            self.recovered = Some((error.clone(), (self.shared.clock)()));
        }
        *lock(&self.shared.trouble) = Some(error);
    }

    /// Something could be written.
    fn relieve(&self, bytes: usize) {
        // ORDERING: statistics.
        self.shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.shared.full.store(false, Ordering::Relaxed);
        if self.recovered.is_some() && lock(&self.shared.trouble).take().is_some() {
            (self.shared.tell)("the decision log is written again");
        }
    }

    /// Pauses for a moment after a failure, and says whether to try no more.
    fn gives_up(&self) -> bool {
        let queue = lock(&self.shared.queue);
        let goes_on = |queue: &mut Queue| queue.order != Order::GiveUp;
        let waited = self.shared.wake.wait_timeout_while(queue, PAUSE, goes_on);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.order == Order::GiveUp
    }

    fn rotate(&mut self) {
        let now_ns = (self.shared.clock)();
        if !self.sink.is_due(now_ns) {
            return;
        }
        match self.sink.rotate(now_ns) {
            Ok(old) => {
                self.rotates = true;
                self.event("continue", &[("from".to_owned(), old)]);
            }
            Err(error) if self.rotates => {
                self.rotates = false;
                (self.shared.tell)(&format!(
                    "the decision log's next file cannot be begun: {error}"
                ));
            }
            Err(_) => {}
        }
    }
}
