//! The thread that writes: words what was handed over, links it, and sees it out.
//!
//! INVARIANT: room is given back only for what is written; a line that was begun is ended, however long its sink
//! fails, unless the writer is told to give up.

use std::fmt::Write as _;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use gateway_core::ledger::Ledger as _;
use gateway_core::time::Nanos;
use sha2::{Digest, Sha256};

use crate::chain::{self, Place};
use crate::file::Found;
use crate::line::{self, Tail};
use crate::log::{Item, Order, Queue, Shared, What, lock};
use crate::sink::Sink;
use crate::text;

/// How much is written at once.
const PIECE_BYTES: usize = 64 << 10;

/// How long a writer that had something to do rests until it looks again: what a death can lose.
const REST: Duration = Duration::from_millis(1);

/// How often it does so before it sleeps until it is woken.
const RESTS: u32 = 5;

/// How long a sink that failed is left alone.
const PAUSE: Duration = Duration::from_millis(250);

/// How often a sink that takes nothing is asked before that is called trouble.
const STALLS: u32 = 4;

/// Says that a writer has ended, however it did.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        // ORDERING: see `reserve`.
        self.0.over.store(true, Ordering::Relaxed);
        if thread::panicking() {
            *lock(&self.0.trouble) = Some("its writer failed".to_owned());
        }
        lock(&self.0.queue).ended = true;
        self.0.ended.notify_all();
    }
}

pub(crate) struct Writer {
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
    /// A writer that goes on at this place of a chain; `readable` is for somebody who watches.
    pub(crate) fn new(
        shared: Arc<Shared>,
        sink: Box<dyn Sink>,
        place: Place,
        worker: Option<u32>,
        readable: bool,
    ) -> Self {
        Self {
            shared,
            sink,
            place,
            out: String::with_capacity(2 * PIECE_BYTES),
            lines: 0,
            worker,
            readable,
            recovered: None,
            rotates: true,
        }
    }

    /// Writes until it is told to stop.
    pub(crate) fn run(self) {
        // Said once the file is closed, and with it no longer locked: the next to write may wait for just that.
        let _ending = Ending(self.shared.clone());
        self.work();
    }

    fn work(mut self) {
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

    /// Words the line of a start.
    pub(crate) fn begin(&mut self, found: &Found, kind: &str, mut about: Vec<(String, String)>) {
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
