//! One seed's history: workers, their clocks, a table in a file, an upstream, and everything that can go wrong.

mod jobs;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use gateway_core::caller::Caller;
use gateway_core::decision::Decision;
use gateway_core::engine::{Engine, Options};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;
use gateway_core::simulated;
use gateway_core::time::Nanos;

use crate::calendar::{DAY, MILLI, ORIGIN, SECOND};
use crate::fiber::{self, Fiber};
use crate::oracle::{Ending, Oracle, Pending, Violation};
use crate::spec::Universe;

/// The grants, by number.
const GRANTS: [&str; 2] = ["ann", "bob"];

/// What a history came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls decided.
    pub calls: u64,
    /// Calls admitted.
    pub admitted: u64,
    /// Calls that were decided with nothing else under way.
    pub alone: u64,
    /// Waits that were tried out, just before and at their end.
    pub waits: u64,
    /// Workers killed.
    pub kills: u64,
    /// Of these, in the middle of an operation.
    pub kills_inside: u64,
    /// Restarts from the file.
    pub restarts: u64,
    /// Policies installed in a worker.
    pub reloads: u64,
    /// Operations on shared memory.
    pub operations: u64,
}

impl Figures {
    /// Adds another history's.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.admitted += other.admitted;
        self.alone += other.alone;
        self.waits += other.waits;
        self.kills += other.kills;
        self.kills_inside += other.kills_inside;
        self.restarts += other.restarts;
        self.reloads += other.reloads;
        self.operations += other.operations;
    }
}

/// What a seed chose for its whole history.
struct Traits {
    workers: usize,
    threads: usize,
    keys: u8,
    /// One job at a time, so that every answer is known beforehand.
    in_turn: bool,
    /// Clocks that differ by less than the table's floor follows.
    fine: bool,
    /// One in so many events is a fault of that kind; 0 for never.
    kills: u32,
    reloads: u32,
    clocks: u32,
}

enum Task {
    Decide(Pending),
    Settle(Ending),
    /// Settling what was settled before.
    Again,
    Clear(i128),
}

/// What a job leaves behind.
enum Answered {
    Decided(Arc<Decision>),
    /// Whether it was the first settlement.
    Settled(bool),
}

struct Job {
    task: Task,
    result: Arc<Mutex<Option<Answered>>>,
}

struct Thread {
    fiber: usize,
    job: Option<Job>,
}

struct Worker {
    table: Arc<LimitTable>,
    engines: Vec<Arc<Engine>>,
    version: usize,
    offset: i128,
    stalled: bool,
    threads: Vec<Thread>,
    open: Vec<(u64, Arc<Decision>)>,
    /// The call that was settled last.
    settled: Option<Arc<Decision>>,
}

/// Fibers, kept from one history to the next.
#[derive(Default)]
pub struct Pool {
    fibers: Vec<Fiber>,
    free: Vec<usize>,
}

/// A history under way.
pub struct World<'p> {
    rng: Rng,
    pool: &'p mut Pool,
    traits: Traits,
    universe: Universe,
    callers: Vec<Caller>,
    path: PathBuf,
    owner: Option<LimitTable>,
    workers: Vec<Worker>,
    oracle: Oracle,
    policies: Vec<Arc<PolicySet>>,
    clock: i128,
    next_call: u64,
    figures: Figures,
    trace: bool,
}

macro_rules! trace {
    ($world:expr, $($what:tt)*) => {
        if $world.trace {
            println!($($what)*);
        }
    };
}

use trace;

fn nanos(instant: i128) -> Nanos {
    Nanos(u64::try_from(instant.max(0)).unwrap_or(u64::MAX))
}

fn broken(what: impl std::fmt::Display) -> Violation {
    Violation(what.to_string())
}

impl<'p> World<'p> {
    /// The beginning of a seed's history, its table in `folder`.
    ///
    /// # Errors
    ///
    /// [`Violation`] where the core does not even start.
    pub fn new(
        seed: u64,
        folder: &std::path::Path,
        pool: &'p mut Pool,
        trace: bool,
    ) -> Result<Self, Violation> {
        let mut rng = Rng::with_seed(seed);
        simulated::install(fiber::hook, seed);
        let universe = Universe::random(&mut rng);
        let in_turn = rng.u8(..10) < 3;
        let traits = Traits {
            workers: rng.usize(1..5),
            threads: rng.usize(1..3),
            keys: rng.u8(1..8),
            in_turn,
            fine: rng.u8(..4) == 0,
            kills: [0, 20, 60][rng.usize(..3)],
            reloads: [0, 15, 60][rng.usize(..3)],
            clocks: [0, 10, 40][rng.usize(..3)],
        };
        let slots = [4, 8, 16][rng.usize(..3)];
        let clock = ORIGIN + rng.i128(30..400) * DAY + rng.i128(0..86_400) * SECOND;
        let path = folder.join(format!("{seed}.state"));
        let owner = LimitTable::open(&path, slots, nanos(clock)).map_err(broken)?;
        let oracle = Oracle::new(universe.quotas.clone(), owner.slots(), clock);
        let mut world = Self {
            rng,
            pool,
            traits,
            universe,
            callers: GRANTS
                .iter()
                .map(|grant| Caller::new((*grant).into(), "server".into(), None, None))
                .collect(),
            path,
            owner: Some(owner),
            workers: Vec::new(),
            oracle,
            policies: Vec::new(),
            clock,
            next_call: 0,
            figures: Figures::default(),
            trace,
        };
        trace!(
            world,
            "{slots} slots, {} workers of {} threads", world.traits.workers, world.traits.threads
        );
        world.publish()?;
        for _ in 0..world.traits.workers {
            world.hire()?;
        }
        Ok(world)
    }

    /// Runs `events` events and lets everything end.
    ///
    /// # Errors
    ///
    /// [`Violation`], the first.
    pub fn run(mut self, events: u32) -> Result<Figures, Violation> {
        let outcome = self.events(events);
        let figures = self.figures;
        // Whatever happened, no fiber may keep a job of this history.
        while !self.workers.is_empty() {
            self.dismiss(0);
        }
        self.owner = None;
        // A file that stays behind is in the way of nothing but this seed's next run.
        let _ = std::fs::remove_file(&self.path);
        outcome.map(|()| figures)
    }

    fn events(&mut self, events: u32) -> Result<(), Violation> {
        for _ in 0..events {
            self.event()?;
        }
        self.finish_all()
    }

    fn event(&mut self) -> Result<(), Violation> {
        if self.happens(self.traits.kills) {
            return self.kill_one();
        }
        if self.happens(self.traits.reloads) {
            return self.reload();
        }
        if self.happens(self.traits.clocks) {
            self.step_a_clock();
        }
        if self.workers.len() < self.traits.workers && self.rng.u8(..6) == 0 {
            return self.hire();
        }
        match self.rng.u8(..100) {
            0..=1 => self.restart(),
            2..=6 => {
                self.finish_all()?;
                self.try_a_wait()
            }
            7..=9 => {
                let at = self.rng.usize(..self.workers.len());
                self.workers[at].stalled = !self.workers[at].stalled;
                Ok(())
            }
            10..=34 => {
                self.advance();
                Ok(())
            }
            35..=64 => self.begin_something(),
            _ => self.step_something(),
        }
    }

    fn happens(&mut self, one_in: u32) -> bool {
        one_in > 0 && self.rng.u32(..one_in) == 0
    }

    // Workers.

    fn publish(&mut self) -> Result<usize, Violation> {
        let version = self.universe.version(&mut self.rng);
        trace!(
            self,
            "version {}: {}",
            self.policies.len(),
            version.document
        );
        let policy = PolicySet::parse(version.document.as_bytes(), "policy.json")
            .map_err(|problems| broken(format!("{problems:?}")))?;
        self.policies.push(Arc::new(policy));
        Ok(self.oracle.publish(version))
    }

    fn hire(&mut self) -> Result<(), Violation> {
        let table = Arc::new(LimitTable::join(&self.path).map_err(broken)?);
        let version = self.policies.len() - 1;
        let engine = |_: &&str| {
            let policy = self.policies[version].clone();
            Arc::new(Engine::new(policy, table.clone(), Options::default()))
        };
        let engines = GRANTS.iter().map(engine).collect();
        let mut threads = Vec::new();
        for _ in 0..self.traits.threads {
            let fiber = self.pool.free.pop().unwrap_or_else(|| {
                self.pool.fibers.push(Fiber::new());
                self.pool.fibers.len() - 1
            });
            threads.push(Thread { fiber, job: None });
        }
        trace!(self, "worker {} starts", self.workers.len());
        self.workers.push(Worker {
            table,
            engines,
            version,
            offset: 0,
            stalled: false,
            threads,
            open: Vec::new(),
            settled: None,
        });
        Ok(())
    }

    /// Ends a worker as SIGKILL does.
    fn dismiss(&mut self, at: usize) {
        let mut worker = self.workers.swap_remove(at);
        self.figures.kills += 1;
        let mut inside = false;
        for thread in &mut worker.threads {
            let fiber = &mut self.pool.fibers[thread.fiber];
            fiber.kill();
            let operations = fiber.operations();
            self.pool.free.push(thread.fiber);
            match thread.job.take().map(|job| job.task) {
                Some(Task::Decide(pending)) => self.oracle.died_deciding(&pending),
                Some(Task::Settle(ending)) => self.oracle.ended(&ending, true),
                Some(Task::Again | Task::Clear(_)) => {}
                None => continue,
            }
            self.figures.operations += operations;
            inside = true;
        }
        self.figures.kills_inside += u64::from(inside);
        let open: Vec<u64> = worker.open.iter().map(|(call, _)| *call).collect();
        self.oracle.died_with(&open);
        // What it ran is freed while others may be looking.
        self.mingle();
        trace!(self, "worker killed, with {open:?} open, inside: {inside}");
    }

    fn kill_one(&mut self) -> Result<(), Violation> {
        let at = self.rng.usize(..self.workers.len());
        self.dismiss(at);
        if self.workers.is_empty() || self.rng.bool() {
            self.hire()?;
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Violation> {
        if self.rng.bool() {
            self.finish_all()?;
        }
        while !self.workers.is_empty() {
            self.dismiss(0);
        }
        self.owner = None;
        trace!(self, "restart");
        let owner = LimitTable::open(&self.path, 1, nanos(self.clock)).map_err(broken)?;
        self.owner = Some(owner);
        self.oracle.restarted();
        self.figures.restarts += 1;
        for _ in 0..self.traits.workers {
            self.hire()?;
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<(), Violation> {
        if self.rng.bool() {
            self.publish()?;
        }
        let (at, latest) = (
            self.rng.usize(..self.workers.len()),
            self.policies.len() - 1,
        );
        let worker = &mut self.workers[at];
        for engine in &worker.engines {
            engine.install(self.policies[latest].clone());
        }
        worker.version = latest;
        self.figures.reloads += 1;
        trace!(self, "worker {at} decides by version {latest}");
        Ok(())
    }

    // Time.

    fn advance(&mut self) {
        let step = match self.rng.u8(..100) {
            0..=29 => MILLI,
            30..=59 => self.rng.i128(1..400) * MILLI,
            60..=79 => self.rng.i128(1..4_000) * MILLI,
            80..=93 => self.rng.i128(1..90_000) * MILLI,
            94..=98 => self.rng.i128(1..7_200_000) * MILLI,
            _ => self.rng.i128(1..9) * DAY,
        };
        self.clock += step;
        if self.traits.fine && self.rng.bool() {
            self.clock += self.rng.i128(0..2 * MILLI);
        }
    }

    fn step_a_clock(&mut self) {
        let at = self.rng.usize(..self.workers.len());
        let step = match self.rng.u8(..10) {
            0..=3 => self.rng.i128(-3_000..3_000) * MILLI,
            4..=6 => self.rng.i128(-90_000..90_000) * MILLI,
            7..=8 => -self.rng.i128(1..3) * DAY,
            _ => self.rng.i128(-3_600..3_600) * SECOND,
        };
        self.workers[at].offset = step;
        trace!(self, "the clock of worker {at} is off by {step} ns");
    }
}
