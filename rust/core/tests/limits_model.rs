//! Random histories against a reference that keeps every call it ever admitted and adds them up anew each time.
//!
//! `PROPTEST_CASES` sets how many histories are tried.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod limits_support;

use gateway_core::limit::{
    Algorithm, Charge, EPOCH, LimitTable, Release, Reservation, Verdict, Window,
};
use gateway_core::time::Nanos;
use limits_support::{DAY, MINUTE, SECOND, charge, reserve};
use proptest::prelude::*;

const MILLI: u64 = 1_000_000;

/// The limits that histories are about: how they count, and their maximum (a bucket's burst).
const LIMITS: [(Algorithm, u64); 7] = [
    (Algorithm::Fixed(Window::Span(MINUTE)), 5),
    (Algorithm::Fixed(Window::Span(7 * DAY)), 30),
    (Algorithm::Fixed(Window::Month), 60),
    (Algorithm::Sliding(MINUTE), 6),
    (Algorithm::Sliding(10 * SECOND), 3),
    (
        Algorithm::Bucket {
            window_ns: MINUTE,
            interval_ns: 12_000_000_001,
            burst: 2,
        },
        2,
    ),
    (
        Algorithm::Bucket {
            window_ns: SECOND,
            interval_ns: 77_777_777,
            burst: 7,
        },
        7,
    ),
];

/// A call that was admitted and not given back.
#[derive(Clone, Debug)]
struct Kept {
    call: usize,
    limit: usize,
    cost: i128,
    stamp: i128,
}

/// The reference: admitted calls, and for each bucket the instant at which it is full again.
#[derive(Default)]
struct Model {
    floor: i128,
    kept: Vec<Kept>,
    full_at: [i128; LIMITS.len()],
}

/// What a charge would find.
#[derive(Debug, PartialEq)]
struct Expected {
    used: i128,
    room: bool,
}

impl Model {
    /// The time a decision asked for at `now` is made at.
    fn present(&self, now: i128) -> i128 {
        self.floor.max(now).max(i128::from(EPOCH.0))
    }

    /// How a limit stands at `t`.
    fn look(&self, limit: usize, cost: i128, bound: i128, t: i128) -> Expected {
        let of_limit = || self.kept.iter().filter(|kept| kept.limit == limit);
        match LIMITS[limit].0 {
            Algorithm::Fixed(window) => {
                let used = of_limit()
                    .filter(|kept| window_number(window, kept.stamp) == window_number(window, t));
                let used = used.map(|kept| kept.cost).sum();
                Expected {
                    used,
                    room: used + cost <= bound,
                }
            }
            Algorithm::Sliding(window_ns) => {
                let width = (i128::from(window_ns) + 6) / 7;
                let number = |stamp: i128| (stamp - i128::from(EPOCH.0)) / width;
                let used = of_limit()
                    .filter(|kept| number(t) - number(kept.stamp) <= 7)
                    .map(|kept| kept.cost)
                    .sum();
                Expected {
                    used,
                    room: used + cost <= bound,
                }
            }
            Algorithm::Bucket {
                interval_ns, burst, ..
            } => {
                let interval = i128::from(interval_ns);
                let debt = (self.full_at[limit] - t).max(0);
                let used = (debt + interval - 1) / interval;
                Expected {
                    used,
                    room: debt + cost * interval <= i128::from(burst) * interval,
                }
            }
            Algorithm::Concurrency => Expected {
                used: 0,
                room: true,
            },
        }
    }

    fn admit(&mut self, call: usize, limit: usize, cost: i128, t: i128) {
        self.kept.push(Kept {
            call,
            limit,
            cost,
            stamp: t,
        });
        if let Algorithm::Bucket { interval_ns, .. } = LIMITS[limit].0 {
            self.full_at[limit] = self.full_at[limit].max(t) + cost * i128::from(interval_ns);
        }
    }

    fn give_back(&mut self, call: usize, now: i128) {
        let latest = self.present(now);
        for kept in self.kept.iter().filter(|kept| kept.call == call) {
            if let Algorithm::Bucket { interval_ns, .. } = LIMITS[kept.limit].0 {
                let credit = (kept.cost * i128::from(interval_ns) - (latest - kept.stamp)).max(0);
                self.full_at[kept.limit] -= credit;
            }
        }
        self.kept.retain(|kept| kept.call != call);
    }

    /// Over every interval, what was admitted and kept stays within the maximum.
    fn check(&self) -> Result<(), TestCaseError> {
        for (limit, (algorithm, max)) in LIMITS.iter().enumerate() {
            let calls: Vec<_> = self
                .kept
                .iter()
                .filter(|kept| kept.limit == limit)
                .collect();
            for first in &calls {
                for last in calls.iter().filter(|last| last.stamp >= first.stamp) {
                    let between = |kept: &&&Kept| (first.stamp..=last.stamp).contains(&kept.stamp);
                    let sum: i128 = calls.iter().filter(between).map(|kept| kept.cost).sum();
                    let length = last.stamp - first.stamp;
                    let fits = match *algorithm {
                        Algorithm::Fixed(window) => {
                            window_number(window, first.stamp) != window_number(window, last.stamp)
                                || sum <= i128::from(*max)
                        }
                        Algorithm::Sliding(window_ns) => {
                            length >= i128::from(window_ns) || sum <= i128::from(*max)
                        }
                        Algorithm::Bucket {
                            interval_ns, burst, ..
                        } => (sum - i128::from(burst)) * i128::from(interval_ns) <= length,
                        Algorithm::Concurrency => true,
                    };
                    prop_assert!(fits, "{algorithm:?}: {sum} in {length} ns");
                }
            }
        }
        Ok(())
    }
}

/// Which window of the calendar an instant lies in.
fn window_number(window: Window, t: i128) -> i128 {
    let since = t - i128::from(EPOCH.0);
    match window {
        Window::Span(width) => since / i128::from(width),
        Window::Month => {
            // Days of 2026 by month, counted from the three days of December 2025 that follow the epoch.
            let mut day = since / i128::from(DAY) - 3;
            let mut month = 0;
            for length in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
                .iter()
                .cycle()
            {
                if day < 0 {
                    break;
                }
                day -= length;
                month += 1;
            }
            month
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A call after so many milliseconds (also backwards), of costs by limit; the flag puts a limit in shadow mode.
    Call {
        ms: i64,
        costs: Vec<(usize, u64, bool)>,
    },
    /// Settles one of the calls that are still open.
    Settle {
        which: usize,
        ms: i64,
        give_back: bool,
    },
    EvictIdle,
    Reopen,
}

fn elapsed() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0..3_000_i64,
        3 => 0..90_000_i64,
        1 => 0..(20 * 86_400_000_i64),
        2 => -120_000..0_i64,
        1 => (-9 * 86_400_000_i64)..0,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let costs = proptest::sample::subsequence((0..LIMITS.len()).collect::<Vec<_>>(), 1..=4)
        .prop_flat_map(|limits| {
            limits
                .into_iter()
                .map(|limit| (Just(limit), 0..4_u64, proptest::bool::weighted(0.2)))
                .collect::<Vec<_>>()
        });
    prop_oneof![
        12 => (elapsed(), costs).prop_map(|(ms, costs)| Step::Call { ms, costs }),
        4 => (any::<usize>(), elapsed(), proptest::bool::weighted(0.8))
            .prop_map(|(which, ms, give_back)| Step::Settle { which, ms, give_back }),
        1 => Just(Step::EvictIdle),
        1 => Just(Step::Reopen),
    ]
}

/// The history's own clock, in nanoseconds since 1970.
fn later(now: i128, ms: i64) -> i128 {
    (now + i128::from(ms) * i128::from(MILLI)).max(i128::from(EPOCH.0) - i128::from(DAY))
}

fn nanos(instant: i128) -> Nanos {
    Nanos(u64::try_from(instant).expect("after 1970"))
}

/// A table, the reference beside it, and the calls that are still open.
struct World {
    table: Option<LimitTable>,
    path: std::path::PathBuf,
    model: Model,
    open: Vec<(usize, Reservation)>,
    now: i128,
    calls: usize,
}

impl World {
    fn table(&self) -> &LimitTable {
        self.table.as_ref().expect("it is open")
    }

    fn charge(&self, limit: usize, cost: u64, shadow: bool) -> Charge<'static> {
        let (algorithm, max) = LIMITS[limit];
        let enforced = charge(self.table(), &limit.to_string(), algorithm, max);
        let (max, shadow_max) = if shadow {
            (None, Some(max))
        } else {
            (Some(max), None)
        };
        Charge {
            cost,
            max,
            shadow_max,
            ..enforced
        }
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Call { ms, costs } => {
                self.now = later(self.now, ms);
                self.call(&costs)?;
            }
            Step::Settle {
                which,
                ms,
                give_back,
            } => {
                self.now = later(self.now, ms);
                if !self.open.is_empty() {
                    let (call, reservation) = self.open.swap_remove(which % self.open.len());
                    let how = if give_back {
                        Release::GiveBack
                    } else {
                        Release::Finish
                    };
                    self.table().release(&reservation, how, nanos(self.now));
                    if give_back {
                        self.model.give_back(call, self.now);
                    }
                }
            }
            Step::EvictIdle => {
                self.table().evict_idle(nanos(self.now));
                self.model.floor = self.model.present(self.now);
            }
            Step::Reopen => {
                self.table = None;
                let reopened = LimitTable::open(&self.path, 1, nanos(self.now));
                self.table =
                    Some(reopened.map_err(|error| TestCaseError::fail(error.to_string()))?);
            }
        }
        Ok(())
    }

    fn call(&mut self, costs: &[(usize, u64, bool)]) -> Result<(), TestCaseError> {
        let charges: Vec<_> = costs
            .iter()
            .map(|&(limit, cost, shadow)| self.charge(limit, cost, shadow))
            .collect();
        let (verdict, readings) = reserve(self.table(), &charges, nanos(self.now));
        let t = self.model.present(self.now);
        self.model.floor = t;
        let looks: Vec<_> = costs
            .iter()
            .map(|&(limit, cost, _)| {
                self.model
                    .look(limit, cost.into(), LIMITS[limit].1.into(), t)
            })
            .collect();
        let admitted = costs
            .iter()
            .zip(&looks)
            .all(|(&(_, _, shadow), look)| shadow || look.room);
        prop_assert_eq!(
            matches!(verdict, Verdict::Admitted(_)),
            admitted,
            "{:?} {:?}",
            verdict,
            looks
        );
        prop_assert!(admitted || matches!(verdict, Verdict::Refused));
        for ((&(limit, cost, shadow), look), reading) in costs.iter().zip(&looks).zip(&readings) {
            let (cost, max) = (i128::from(cost), i128::from(LIMITS[limit].1));
            prop_assert_eq!(reading.refused, !shadow && !look.room);
            prop_assert_eq!(reading.shadow_refused, shadow && !look.room);
            let taken = if admitted && look.room { cost } else { 0 };
            prop_assert_eq!(
                i128::from(reading.remaining),
                (max - look.used - taken).max(0),
                "limit {}",
                limit
            );
            match reading.wait_ns {
                None => prop_assert!(cost > max),
                Some(0) => prop_assert!(look.room),
                Some(wait) => {
                    let room_at = |instant: i128| {
                        self.model
                            .look(limit, cost, max, self.model.present(instant))
                            .room
                    };
                    prop_assert!(!look.room && cost <= max);
                    // The reference has not changed yet: this is the limit alone, and nobody else's call.
                    let opens = self.now + i128::from(wait);
                    prop_assert!(
                        !room_at(opens - 1) && room_at(opens),
                        "limit {} waits {}",
                        limit,
                        wait
                    );
                }
            }
        }
        if let Verdict::Admitted(reservation) = verdict {
            for (&(limit, cost, _), look) in costs.iter().zip(&looks) {
                if look.room {
                    self.model.admit(self.calls, limit, cost.into(), t);
                }
            }
            self.open.push((self.calls, reservation));
            self.calls += 1;
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn histories_go_as_the_reference_says(steps in proptest::collection::vec(step(), 1..120)) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("limits.state");
        let start = EPOCH.plus(30 * DAY);
        let table = LimitTable::open(&path, 16, EPOCH).expect("a new file");
        let mut world = World {
            table: Some(table),
            path,
            model: Model::default(),
            open: Vec::new(),
            now: start.0.into(),
            calls: 0,
        };
        for step in steps {
            world.take(step)?;
        }
        world.model.check()?;
    }
}
