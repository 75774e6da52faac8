//! Fibers: what virtual workers' threads run on, all in one thread of the machine.
//!
//! A fiber runs a job until it has spent its budget of operations on shared memory, and then stands still between
//! two of them until it is stepped again. Killed, it takes back nothing and adds nothing: its destructors run, but
//! memory no longer hears of it. The kernel's locks fall with the worker's descriptors, as a real process's do.
//!
//! INVARIANT: a fiber switches only in the hook, and never while it unwinds.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use gateway_core::simulated::{Event, Fate};
use generator::{Generator, Gn};

/// Words of a fiber's stack: half a mebibyte, of which untouched pages cost nothing.
const STACK_WORDS: usize = 64 * 1024;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static DYING: Cell<bool> = const { Cell::new(false) };
    static BUDGET: Cell<u32> = const { Cell::new(0) };
    static SPENT: Cell<u64> = const { Cell::new(0) };
    static BLIND: Cell<bool> = const { Cell::new(false) };
}

/// Makes exchanges of fibers of this thread write without comparing, to see that it is noticed.
pub fn sabotage(blind: bool) {
    BLIND.set(blind);
}

/// The unwinding of a worker that was killed.
struct Killed;

type Job = Box<dyn FnOnce() + Send>;

/// A job's place to run.
pub struct Fiber {
    generator: Generator<'static, (), ()>,
    job: Arc<Mutex<Option<Job>>>,
    busy: bool,
    operations: u64,
    /// Held by the job as well while it runs.
    done: Option<Arc<()>>,
}

/// What [`gateway_core::simulated::install`] is given: where fibers switch.
#[must_use]
pub fn hook(event: Event) -> Fate {
    if !RUNNING.get() {
        return Fate::Happens;
    }
    if !DYING.get() {
        SPENT.set(SPENT.get() + 1);
        let budget = BUDGET.get();
        if budget == 0 || event == Event::Wait {
            // The scoped form would have to be handed down through the core.
            #[allow(deprecated, reason = "see above")]
            generator::yield_with(());
        } else {
            BUDGET.set(budget - 1);
        }
    }
    if DYING.get() {
        if std::thread::panicking() {
            return Fate::Lost;
        }
        resume_unwind(Box::new(Killed));
    }
    if BLIND.get() {
        Fate::Blind
    } else {
        Fate::Happens
    }
}

impl Default for Fiber {
    fn default() -> Self {
        Self::new()
    }
}

impl Fiber {
    /// A fiber with nothing to do.
    #[must_use]
    pub fn new() -> Self {
        let job: Arc<Mutex<Option<Job>>> = Arc::default();
        let mine = job.clone();
        let generator = Gn::<()>::new_opt(STACK_WORDS, move || {
            loop {
                let next = mine.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(run) = next {
                    // A death ends the job, not the fiber. Any other panic is the core's, and its job's result is
                    // then missing, which is noticed.
                    let _ = catch_unwind(AssertUnwindSafe(run));
                }
                #[allow(deprecated, reason = "as in the hook")]
                generator::yield_with(());
            }
        });
        Self {
            generator,
            job,
            busy: false,
            operations: 0,
            done: None,
        }
    }

    fn resume(&mut self) {
        SPENT.set(0);
        RUNNING.set(true);
        self.generator.resume();
        RUNNING.set(false);
        self.operations += SPENT.get();
    }

    /// Gives the idle fiber a job; it stands before the job's first operation on shared memory.
    pub fn start(&mut self, job: impl FnOnce() + Send + 'static) {
        let done = Arc::new(());
        let token = done.clone();
        let whole: Job = Box::new(move || {
            job();
            drop(token);
        });
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(whole);
        self.busy = true;
        self.operations = 0;
        self.done = Some(done);
        self.step(0);
    }

    /// Lets `budget` operations happen; true once the job has ended.
    pub fn step(&mut self, budget: u32) -> bool {
        if self.busy {
            BUDGET.set(budget);
            self.resume();
            self.busy = self
                .done
                .as_ref()
                .is_some_and(|done| Arc::strong_count(done) > 1);
        }
        !self.busy
    }

    /// Whether its job has not ended.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.busy
    }

    /// Operations that the job has come to.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Ends the job where it stands.
    pub fn kill(&mut self) {
        if self.busy {
            DYING.set(true);
            self.resume();
            DYING.set(false);
            self.busy = false;
        }
    }
}
