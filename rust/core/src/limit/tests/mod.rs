//! Tests that need to look inside the table: models under loom, and death at every single write.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[cfg(not(loom))]
mod kill;
#[cfg(loom)]
mod loom_bindings;
#[cfg(loom)]
mod loom_bucket;
#[cfg(loom)]
mod loom_concurrency;
#[cfg(loom)]
mod loom_evict;
#[cfg(loom)]
mod loom_insert;
#[cfg(loom)]
mod loom_reserve;
#[cfg(loom)]
mod loom_window;

/// An enforced limit at a cost of one.
#[cfg(not(loom))]
pub(super) fn charge(
    table: &super::LimitTable,
    name: &str,
    algorithm: super::Algorithm,
    max: u64,
) -> super::Charge<'static> {
    super::Charge {
        key: table.key(&[name.as_bytes()]),
        counting: Box::leak(Box::new(super::Counting::by(algorithm))),
        cost: 1,
        max: Some(max),
        shadow_max: None,
        label: 0,
    }
}

/// What the models share.
#[cfg(loom)]
mod support {
    use super::super::layout::EMPTY;
    use super::super::shared::Mapping;
    use super::super::{Algorithm, Charge, Counting, EPOCH, LimitTable, QuotaKey, Window};
    use crate::sync::Ordering;
    use crate::time::Nanos;

    pub const MINUTE: u64 = 60 * Nanos::SECOND;

    /// Explores all interleavings with at most `preemptions` involuntary switches.
    pub fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.max_branches = 20_000;
        builder.check(model);
    }

    /// A table whose clock stands at `EPOCH + ns`, with its seat taken.
    pub fn table(slots: usize, ns: u64) -> loom::sync::Arc<LimitTable> {
        let table = LimitTable::new(Mapping::model(slots), [7; 16]);
        table
            .mapping
            .header()
            .floor
            .store(EPOCH.plus(ns).0, Ordering::Relaxed);
        assert!(table.claim().is_some());
        loom::sync::Arc::new(table)
    }

    /// A limit per `width_ns` on a key whose search begins at slot `home`.
    pub fn per(width_ns: u64, home: u64, max: u64) -> Charge<'static> {
        let key = QuotaKey((u128::from(home) << 64) | u128::from(home + 2));
        let algorithm = Algorithm::Fixed(Window::Span(width_ns));
        Charge {
            key,
            counting: Box::leak(Box::new(Counting::by(algorithm))),
            cost: 1,
            max: Some(max),
            shadow_max: None,
            label: 0,
        }
    }

    /// Units in use, as a fresh look tells.
    pub fn used(table: &LimitTable, charge: &Charge<'_>, now: Nanos) -> u64 {
        let whole = charge.max.unwrap_or_default();
        table
            .peek(charge, now)
            .map_or(0, |reading| whole - reading.remaining)
    }

    /// Slots that are not empty.
    pub fn taken_slots(table: &LimitTable) -> usize {
        table
            .mapping
            .slots()
            .iter()
            .filter(|slot| slot.id.load(Ordering::Relaxed) > EMPTY + 1)
            .count()
    }
}
