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

    fn fold_into(&self, totals: &mut BTreeMap<(String, Code), u64>) {
        for (label, row) in self.labels.iter().zip(self.cells.chunks(CODES)) {
            for (code, cell) in Code::ALL.iter().zip(row) {
                // ORDERING: a statistic.
                let count = cell.load(Ordering::Relaxed);
                if count > 0 {
                    *totals.entry((label.clone(), *code)).or_default() += count;
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
    histogram: Histogram,
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

    /// (label, code, count) over all policies, `current` included.
    #[must_use]
    pub fn totals(&self, current: &Grid) -> Vec<(String, Code, u64)> {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let Past { totals, retired } = &mut *past;
        retired.retain(|grid| {
            let in_use = Arc::strong_count(grid) > 1;
            if !in_use {
                grid.fold_into(totals);
            }
            in_use
        });
        let mut sum = totals.clone();
        for grid in retired.iter() {
            grid.fold_into(&mut sum);
        }
        current.fold_into(&mut sum);
        sum.into_iter()
            .map(|((label, code), count)| (label, code, count))
            .collect()
    }

    /// Counts one decision's duration.
    pub fn observe(&self, ns: u64) {
        self.histogram.observe(ns);
    }

    /// The histogram of durations.
    #[must_use]
    pub fn durations(&self) -> (Vec<u64>, u64, u64) {
        self.histogram.read()
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

/// Power-of-two buckets of nanoseconds: bucket i counts durations below 2^(i+1).
#[derive(Debug)]
struct Histogram {
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
    const BUCKETS: usize = 32;

    fn observe(&self, ns: u64) {
        let at = (ns.max(1).ilog2() as usize).min(Self::BUCKETS - 1);
        if let Some(bucket) = self.buckets.get(at) {
            // ORDERING: a statistic.
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        // ORDERING: a statistic.
        self.sum.fetch_add(ns, Ordering::Relaxed);
    }

    fn read(&self) -> (Vec<u64>, u64, u64) {
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
