//! Token bucket as a single instant: the theoretical arrival time (TAT), at which all units are regained.
//!
//! A unit is worth `interval_ns` of debt; the debt at `t` is `max(TAT, t) − t` and falls at rate 1. A call of
//! `cost` has room if `max(TAT, t) + cost·interval ≤ t + burst·interval`, and then moves the TAT to the left side.
//!
//! INVARIANT: admissions with stamps in any half-open interval of length L cost at most `burst + L/interval`,
//! whatever order they were made in: the first of them leaves the TAT at or after its own stamp plus its cost,
//! each later one adds its cost, and the last was tested against its own stamp plus the burst.
//!
//! **Giving back.** Let Δ be how far the TAT lies beyond where it would be had the call never been made. Δ starts
//! at `cost·interval`. A later admission leaves Δ as it is unless its stamp `u` lies beyond the counterfactual
//! TAT, and then Δ becomes `TAT − u`, which is at least `cost·interval − (u − stamp)`, because admissions never
//! move the TAT backwards. So at any `r` not before the stamps of all admissions so far,
//! `Δ ≥ cost·interval − (r − stamp)`: lowering the TAT by that credit never brings it below the counterfactual.
//! Several give-backs follow by induction, each in the world without the calls already given back. That `r` is not
//! before any stamp is why an admission raises the shared clock floor to its stamp before it moves the TAT, and
//! why a give-back reads the floor after the TAT.

use super::mark::Mark;
use super::outcome::{Look, Stop, Taken};
use super::window::RING;
use super::word::{BUCKET, pack_plain, unpack_plain};
use crate::sync::{AtomicU64, Ordering, step};
use crate::time::Nanos;

/// The largest debt a bucket may hold, about two years: with it, every TAT before the horizon fits its word.
const MAX_DEBT_NS: u64 = 2 * 365 * 86_400 * Nanos::SECOND;
/// Largest number of units, as for the widest windows.
const MAX_UNITS: u64 = (1 << 43) - 1;
/// How often an admission tries again because others moved the TAT.
const RETRIES: u32 = 64;

/// A bucket's rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    interval_ns: u64,
    burst_ns: u64,
}

impl Bucket {
    /// `None` if the bucket's debt cannot be held in its word.
    pub(super) fn new(interval_ns: u64, burst: u64) -> Option<Self> {
        let burst_ns = interval_ns.checked_mul(burst)?;
        (interval_ns > 0 && burst <= MAX_UNITS && burst_ns <= MAX_DEBT_NS).then_some(Self {
            interval_ns,
            burst_ns,
        })
    }

    /// The largest maximum that a policy may give a bucket.
    pub(super) const CAPACITY: u64 = MAX_UNITS;

    /// Units in use at `t` given a debt; a part of a unit counts whole.
    const fn units(self, debt_ns: u64) -> u64 {
        debt_ns.div_ceil(self.interval_ns)
    }

    fn tat(bits: u64) -> Result<Nanos, Stop> {
        unpack_plain(BUCKET, bits)
            .map(|ns| super::EPOCH.plus(ns))
            .ok_or(Stop::Foreign)
    }

    /// What a call of `cost` at `t` would find, given the word's bits.
    pub(super) fn look(self, cost: u64, t: Nanos, bits: u64) -> Result<Look, Stop> {
        let tat = Self::tat(bits)?.max(t);
        let opens_at = match cost.checked_mul(self.interval_ns) {
            // The least instant with TAT + cost·interval <= instant + burst·interval.
            Some(debt) if debt <= self.burst_ns => Some(Nanos(tat.0 + debt - self.burst_ns).max(t)),
            _ => None,
        };
        Ok(Look {
            used: self.units(tat.since(t)),
            room: opens_at == Some(t),
            opens_at,
            clear_at: tat,
            ready: None,
        })
    }

    /// Takes `cost` at `t`. The caller has raised the clock floor to at least `t`.
    pub(super) fn take(self, cell: &AtomicU64, cost: u64, t: Nanos) -> Result<Taken, Stop> {
        for _ in 0..RETRIES {
            // ORDERING: Acquire pairs with the AcqRel below; all claims are about this word's own order.
            let bits = cell.load(Ordering::Acquire);
            if !self.look(cost, t, bits)?.room {
                return Err(Stop::Full);
            }
            // The look found room, so neither the product nor the sum leaves its bounds.
            let debt_ns = cost * self.interval_ns;
            let tat = Self::tat(bits)?.max(t).plus(debt_ns);
            step();
            // ORDERING: AcqRel; Release also carries the raised floor to whoever gives back after reading this TAT.
            let next = pack_plain(BUCKET, tat.since(super::EPOCH));
            if cell
                .compare_exchange(bits, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return Ok(Taken {
                    used: self.units(tat.since(t)),
                    clear_at: tat,
                    mark: Mark::Debt { debt_ns, stamp: t },
                });
            }
        }
        Err(Stop::Contended)
    }

    /// Lowers the TAT by what is left of the debt that was added at `stamp`. `latest` is called after each reading
    /// of the TAT and gives an instant not before the stamp of any admission seen in it.
    pub(super) fn give_back(
        cell: &AtomicU64,
        debt_ns: u64,
        stamp: Nanos,
        latest: impl Fn() -> Nanos,
    ) -> bool {
        loop {
            // ORDERING: Acquire, so that `latest` sees the floor of every admission in this TAT.
            let bits = cell.load(Ordering::Acquire);
            let Some(tat) = unpack_plain(BUCKET, bits) else {
                return false;
            };
            let credit = debt_ns.saturating_sub(latest().since(stamp)).min(tat);
            if credit == 0 {
                return false;
            }
            step();
            // ORDERING: AcqRel, as in `take`.
            let next = pack_plain(BUCKET, tat - credit);
            if cell
                .compare_exchange(bits, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return true;
            }
        }
    }

    /// Whether all units are regained at `t`.
    pub(super) fn idle(cell: &AtomicU64, t: Nanos) -> bool {
        // ORDERING: Acquire; the caller's fence orders this scan after its mark.
        Self::tat(cell.load(Ordering::Acquire)).is_ok_and(|tat| tat <= t)
    }

    /// Whether the word could have been written by this code no later than `t`.
    pub(super) fn plausible(ring: &[AtomicU64; RING], t: Nanos) -> bool {
        // ORDERING: Relaxed; nobody else has the file open.
        Self::tat(ring[0].load(Ordering::Relaxed)).is_ok_and(|tat| tat.since(t) <= MAX_DEBT_NS)
            && ring[1..]
                .iter()
                .all(|word| word.load(Ordering::Relaxed) == 0)
    }
}
