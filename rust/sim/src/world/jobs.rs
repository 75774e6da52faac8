//! Jobs: a worker's decisions, settlements and clearings, begun, carried on and taken note of.

use std::sync::{Arc, Mutex, PoisonError};

use gateway_core::decision::Code;
use gateway_core::engine::Outcome;

use super::{Answered, Job, Task, World, broken, nanos, trace};
use crate::calendar::DAY;
use crate::oracle::Violation;
use crate::spec::Call;

/// Operations after which a job that others do not hold up is stuck.
const STUCK: u64 = 200_000;

/// What became of a call that was asked alone.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    /// Something else than a limit's refusal.
    Other,
    /// A limit's refusal, and the wait if time helps.
    Refused(Option<i128>),
}

/// Leaves what a settlement answered.
fn settled(result: &Mutex<Option<Answered>>, first: bool) {
    *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(Answered::Settled(first));
}

impl World<'_> {
    pub(super) fn busy(&self) -> usize {
        let threads = self.workers.iter().flat_map(|worker| &worker.threads);
        threads.filter(|thread| thread.job.is_some()).count()
    }

    /// Notes that everything that is under way overlaps.
    pub(super) fn mingle(&mut self) {
        let jobs = self
            .workers
            .iter_mut()
            .flat_map(|worker| &mut worker.threads)
            .filter_map(|thread| thread.job.as_mut());
        for job in jobs {
            match &mut job.task {
                Task::Decide(pending) => pending.alone = false,
                Task::Settle(ending) => ending.alone = false,
                Task::Again | Task::Clear(_) => {}
            }
        }
    }

    fn idle_thread(&mut self) -> Option<(usize, usize)> {
        let at = self.rng.usize(..self.workers.len());
        let worker = &self.workers[at];
        let thread = worker.threads.iter().position(|t| t.job.is_none())?;
        (!worker.stalled).then_some((at, thread))
    }

    pub(super) fn begin_something(&mut self) -> Result<(), Violation> {
        if self.traits.in_turn {
            self.finish_all()?;
        }
        let Some((at, thread)) = self.idle_thread() else {
            return Ok(());
        };
        match self.rng.u8(..20) {
            0 => self.begin_clearing(at, thread),
            1 => self.begin_settling_again(at, thread),
            2..=7 if !self.workers[at].open.is_empty() => self.begin_settling(at, thread),
            _ => {
                let call = Call::random(&mut self.rng, self.universe.tools, self.traits.keys);
                let now = self.clock + self.workers[at].offset;
                self.begin_call(at, thread, call, now);
            }
        }
        self.settle_finished(at, thread)
    }

    fn begin_call(&mut self, at: usize, thread: usize, call: Call, now: i128) {
        let alone = self.busy() == 0;
        let id = self.next_call;
        self.next_call += 1;
        let worker = &mut self.workers[at];
        let pending = self.oracle.begin(id, call, worker.version, now, alone);
        trace!(
            self,
            "worker {at} decides {id}: {call:?} at {now} alone: {alone}"
        );
        let worker = &mut self.workers[at];
        let (engine, caller) = (
            worker.engines[call.grant].clone(),
            self.callers[call.grant].clone(),
        );
        let result = Arc::new(Mutex::new(None));
        let mine = result.clone();
        worker.threads[thread].job = Some(Job {
            task: Task::Decide(pending),
            result,
        });
        let body = call.body();
        self.pool.fibers[worker.threads[thread].fiber].start(move || {
            let decision = engine.decide(&caller, body.as_bytes(), None, nanos(now));
            *mine.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Answered::Decided(decision));
        });
        if !alone {
            self.mingle();
        }
    }

    fn begin_settling(&mut self, at: usize, thread: usize) {
        let alone = self.busy() == 0;
        let outcome = match self.rng.u8(..4) {
            0 => Outcome::Done,
            1 => Outcome::Unknown,
            _ => Outcome::NotSent,
        };
        let worker = &mut self.workers[at];
        let (id, decision) = worker.open.swap_remove(self.rng.usize(..worker.open.len()));
        let now = self.clock + worker.offset;
        let ending = self
            .oracle
            .ending(id, outcome == Outcome::NotSent, now, alone);
        trace!(self, "worker {at} settles {id} as {outcome:?} at {now}");
        let worker = &mut self.workers[at];
        worker.settled = Some(decision.clone());
        let engine = worker.engines[0].clone();
        let result = Arc::new(Mutex::new(None));
        let mine = result.clone();
        worker.threads[thread].job = Some(Job {
            task: Task::Settle(ending),
            result,
        });
        self.pool.fibers[worker.threads[thread].fiber].start(move || {
            settled(&mine, engine.settle(&decision, outcome, nanos(now)));
        });
        if !alone {
            self.mingle();
        }
    }

    /// Settles a call that was settled before, or is being settled: that must change nothing.
    fn begin_settling_again(&mut self, at: usize, thread: usize) {
        let alone = self.busy() == 0;
        let worker = &mut self.workers[at];
        let Some(decision) = worker.settled.clone() else {
            return;
        };
        let now = self.clock + worker.offset;
        trace!(self, "worker {at} settles a call again at {now}");
        let engine = worker.engines[0].clone();
        let result = Arc::new(Mutex::new(None));
        let mine = result.clone();
        worker.threads[thread].job = Some(Job {
            task: Task::Again,
            result,
        });
        self.pool.fibers[worker.threads[thread].fiber].start(move || {
            settled(
                &mine,
                engine.settle(&decision, Outcome::NotSent, nanos(now)),
            );
        });
        if !alone {
            self.mingle();
        }
    }

    fn begin_clearing(&mut self, at: usize, thread: usize) {
        let alone = self.busy() == 0;
        let worker = &mut self.workers[at];
        let now = self.clock + worker.offset;
        self.oracle.clearing(now);
        trace!(self, "worker {at} clears idle counts at {now}");
        let table = worker.table.clone();
        worker.threads[thread].job = Some(Job {
            task: Task::Clear(now),
            result: Arc::default(),
        });
        self.pool.fibers[worker.threads[thread].fiber].start(move || {
            table.evict_idle(nanos(now));
        });
        if !alone {
            self.mingle();
        }
    }

    pub(super) fn step_something(&mut self) -> Result<(), Violation> {
        let at = self.rng.usize(..self.workers.len());
        let thread = self.rng.usize(..self.workers[at].threads.len());
        if self.workers[at].stalled {
            return Ok(());
        }
        let budget = match self.rng.u8(..8) {
            0..=3 => 0,
            4..=5 => self.rng.u32(1..6),
            6 => self.rng.u32(6..60),
            _ => 10_000,
        };
        self.step(at, thread, budget)
    }

    fn step(&mut self, at: usize, thread: usize, budget: u32) -> Result<(), Violation> {
        let place = &self.workers[at].threads[thread];
        if place.job.is_none() {
            return Ok(());
        }
        let fiber = &mut self.pool.fibers[place.fiber];
        fiber.step(budget);
        if fiber.operations() > STUCK {
            return Err(broken(format!("worker {at} is stuck")));
        }
        self.settle_finished(at, thread)
    }

    /// Takes note of a job that has ended.
    fn settle_finished(&mut self, at: usize, thread: usize) -> Result<(), Violation> {
        let worker = &mut self.workers[at];
        let place = &mut worker.threads[thread];
        let fiber = &mut self.pool.fibers[place.fiber];
        if fiber.busy() {
            return Ok(());
        }
        let Some(job) = place.job.take() else {
            return Ok(());
        };
        self.figures.operations += fiber.operations();
        let answered = job
            .result
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match job.task {
            Task::Decide(pending) => {
                let Some(Answered::Decided(decision)) = answered else {
                    return Err(broken("a decision panicked"));
                };
                self.figures.calls += 1;
                self.figures.admitted += u64::from(decision.allowed);
                self.figures.alone += u64::from(pending.alone);
                trace!(
                    self,
                    "worker {at} decided {}: {} wait {:?} limits {:?}",
                    pending.id,
                    decision.code,
                    decision.retry_after_ns,
                    decision.limits
                );
                self.oracle.decided(&pending, &decision)?;
                if decision.reservation.is_some() {
                    self.workers[at].open.push((pending.id, decision));
                }
            }
            Task::Settle(ending) => match answered {
                Some(Answered::Settled(true)) => self.oracle.ended(&ending, false),
                _ => return Err(broken("a call could not be settled")),
            },
            Task::Again => match answered {
                Some(Answered::Settled(false)) => {}
                _ => return Err(broken("a call was settled twice")),
            },
            Task::Clear(now) => self.oracle.cleared(now),
        }
        Ok(())
    }

    /// Lets every job end, in an order of chance.
    pub(super) fn finish_all(&mut self) -> Result<(), Violation> {
        for worker in &mut self.workers {
            worker.stalled = false;
        }
        while self.busy() > 0 {
            let at = self.rng.usize(..self.workers.len());
            for thread in 0..self.workers[at].threads.len() {
                let budget = self.rng.u32(..200);
                self.step(at, thread, budget)?;
            }
        }
        Ok(())
    }

    /// With nothing else under way: a call that is refused is refused again just before its wait is over, and
    /// admitted when it is.
    pub(super) fn try_a_wait(&mut self) -> Result<(), Violation> {
        let call = Call::random(&mut self.rng, self.universe.tools, self.traits.keys);
        let at = self.rng.usize(..self.workers.len());
        for _ in 0..12 {
            let now = self.clock + self.workers[at].offset;
            let wait = match self.ask(at, call, now)? {
                Answer::Other => continue,
                Answer::Refused(Some(wait)) if wait < 8 * DAY => wait,
                Answer::Refused(_) => return Ok(()),
            };
            self.clock += wait - 1;
            if self.ask(at, call, now + wait - 1)? != Answer::Refused(Some(1)) {
                return Err(broken(format!(
                    "{call:?} was not refused just before its wait of {wait} ns was over"
                )));
            }
            self.clock += 1;
            if self.ask(at, call, now + wait)? != Answer::Other {
                return Err(broken(format!(
                    "{call:?} was refused after its wait of {wait} ns"
                )));
            }
            self.figures.waits += 1;
            return Ok(());
        }
        Ok(())
    }

    /// Asks and waits for the answer, with nothing else under way.
    fn ask(&mut self, at: usize, call: Call, now: i128) -> Result<Answer, Violation> {
        let fiber = self.workers[at].threads[0].fiber;
        self.begin_call(at, 0, call, now);
        while !self.pool.fibers[fiber].step(u32::MAX) {}
        let mut answer = Answer::Other;
        if let Some(job) = &self.workers[at].threads[0].job {
            let result = job.result.lock().unwrap_or_else(PoisonError::into_inner);
            match result.as_ref() {
                Some(Answered::Decided(decision)) if decision.code == Code::LimitExceeded => {
                    answer = Answer::Refused(decision.retry_after_ns.map(i128::from));
                }
                _ => {}
            }
        }
        self.settle_finished(at, 0)?;
        Ok(answer)
    }
}
