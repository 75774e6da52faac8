//! Counts of decisions, read when somebody scrapes.
//!
//! INVARIANT: a count never falls, also not when the policy is replaced: the grid of a policy that was
//! replaced is folded into the totals once nobody can write to it any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::decision::{Code, Decision, ShadowDenial};
use crate::policy::PolicySet;

/// Row of what no entry of the policy names.
pub const OTHER: u32 = 0;
/// Row of messages that are not tool calls.
pub const NO_TOOL: u32 = 1;
const FIXED_ROWS: usize = 2;
const CODES: usize = Code::ALL.len();

/// One policy's counts: a row for each entry, a column for each code.
#[derive(Debug)]
pub struct Grid {
    labels: Vec<String>,
    cells: Vec<AtomicU64>,
}

impl Grid {
    /// An empty grid for this policy's entries.
    #[must_use]
    pub fn new(policy: &PolicySet) -> Self {
        let mut labels = vec!["other".to_owned(), String::new()];
        labels.extend(policy.labels().iter().cloned());
        let cells = (0..labels.len() * CODES)
            .map(|_| AtomicU64::new(0))
            .collect();
        Self { labels, cells }
    }

    /// The row of a policy entry's label.
    #[must_use]
    pub fn row(label: u32) -> u32 {
        label.saturating_add(u32::try_from(FIXED_ROWS).unwrap_or(u32::MAX))
    }

    /// Counts one decision.
    pub fn add(&self, label: u32, code: Code) {
        let row = usize::try_from(label).unwrap_or(0);
        if let Some(cell) = self.cells.get(row * CODES + code as usize) {
            // ORDERING: a statistic; nothing is read through it.
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn fold_into<'a, L: From<&'a str> + Ord>(&'a self, totals: &mut BTreeMap<(L, Code), u64>) {
        for (label, row) in self.labels.iter().zip(self.cells.chunks(CODES)) {
            for (code, cell) in Code::ALL.iter().zip(row) {
                // ORDERING: a statistic.
                let count = cell.load(Ordering::Relaxed);
                if count > 0 {
                    *totals.entry((label.as_str().into(), *code)).or_default() += count;
                }
            }
        }
    }
}

/// Everything an engine has counted, over all the policies it had.
#[derive(Debug, Default)]
pub struct Counts {
    past: Mutex<Past>,
    shadow: Mutex<BTreeMap<String, u64>>,
    phases: [Histogram; Phase::ALL.len()],
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A decision, without the network.
    Decide,
    /// A request that was admitted, from its last byte in to its answer's last byte out.
    Request,
    /// The server's part of that: from the first byte sent to it to the last byte of its answer.
    Upstream,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 3] = [Self::Decide, Self::Request, Self::Upstream];

    /// Its name in the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Request => "request",
            Self::Upstream => "upstream",
        }
    }
}

#[derive(Debug, Default)]
struct Past {
    totals: BTreeMap<(String, Code), u64>,
    retired: Vec<Arc<Grid>>,
}

impl Counts {
    /// Takes over the grid of a policy that was replaced; late writers still find it.
    pub fn retire(&self, grid: Arc<Grid>) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.retired.push(grid);
    }

    /// Counts what shadow mode recorded. Only decisions that shadow rules touched come here.
    pub fn shadow(&self, denials: &[ShadowDenial]) {
        if denials.is_empty() {
            return;
        }
        let mut shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
        for denial in denials {
            match shadow.get_mut(&denial.rule) {
                Some(count) => *count += 1,
                None => drop(shadow.insert(denial.rule.clone(), 1)),
            }
        }
    }

    /// (rule, count) of what shadow mode recorded. Rules come from policies, so there are few.
    #[must_use]
    pub fn shadow_totals(&self) -> Vec<(String, u64)> {
        let shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
        shadow
            .iter()
            .map(|(rule, count)| (rule.clone(), *count))
            .collect()
    }

    /// Shows each (label, code, count) over all policies, `current` included, in their order.
    pub fn each_total(&self, current: &Grid, mut show: impl FnMut(&str, Code, u64)) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let Past { totals, retired } = &mut *past;
        retired.retain(|grid| {
            let in_use = Arc::strong_count(grid) > 1;
            if !in_use {
                grid.fold_into(totals);
            }
            in_use
        });
        let mut sum: BTreeMap<(&str, Code), u64> = totals
            .iter()
            .map(|((label, code), count)| ((label.as_str(), *code), *count))
            .collect();
        for grid in retired.iter() {
            grid.fold_into(&mut sum);
        }
        current.fold_into(&mut sum);
        for ((label, code), count) in sum {
            show(label, code, count);
        }
    }

    /// Counts what a decision took; with a refusal, that was the whole request.
    pub fn observe(&self, decision: &Decision, ns: u64) {
        self.phase(Phase::Decide).observe(ns);
        if !decision.allowed {
            self.phase(Phase::Request).observe(ns);
        }
    }

    /// The durations of one phase, to add to or to read.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> &Histogram {
        let [decide, request, upstream] = &self.phases;
        match phase {
            Phase::Decide => decide,
            Phase::Request => request,
            Phase::Upstream => upstream,
        }
    }
}

/// Adds a decision (and, for a batch, its messages) to the counts.
pub fn record(grid: &Grid, counts: &Counts, decision: &Decision) {
    if decision.parts.is_empty() {
        grid.add(decision.label, decision.code);
        counts.shadow(&decision.shadow);
    }
    for part in &decision.parts {
        record(grid, counts, part);
    }
}

/// Power-of-two buckets of nanoseconds: bucket i counts durations below 2^(i+1), the last all that are longer.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; Self::BUCKETS],
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Up to 18 minutes.
    pub const BUCKETS: usize = 41;

    /// Counts one duration.
    pub fn observe(&self, ns: u64) {
        let at = (ns.max(1).ilog2() as usize).min(Self::BUCKETS - 1);
        if let Some(bucket) = self.buckets.get(at) {
            // ORDERING: a statistic.
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        // ORDERING: a statistic.
        self.sum.fetch_add(ns, Ordering::Relaxed);
    }

    /// The buckets, the sum in nanoseconds, and how many there were.
    #[must_use]
    pub fn read(&self) -> (Vec<u64>, u64, u64) {
        // ORDERING: a statistic; the sum may be a few observations ahead of the buckets.
        let buckets: Vec<u64> = self
            .buckets
            .iter()
            .map(|b| b.load(Ordering::Relaxed))
            .collect();
        let count = buckets.iter().sum();
        // ORDERING: as above.
        (buckets, self.sum.load(Ordering::Relaxed), count)
    }
}
