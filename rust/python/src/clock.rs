//! The clock: what wall time it is, by a clock that neither steps nor stops.
//!
//! INVARIANT: within one process, time never goes back and never jumps: wall time is read once, and what has
//! passed since is `CLOCK_BOOTTIME`, which also counts while the machine sleeps. `CLOCK_REALTIME` steps, and the
//! standard library's `Instant` stops during suspend.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use gateway_core::time::Nanos;
use rustix::time::{ClockId, clock_gettime};

/// Wall time minus time since boot, read once.
static ANCHOR_NS: OnceLock<u64> = OnceLock::new();

/// The present, for decisions: `given` where the caller has its own time.
pub fn now(given: Option<u64>) -> Nanos {
    given.map_or_else(|| at(boottime_ns()), Nanos)
}

/// The wall time when so many nanoseconds have passed since boot.
pub fn at(passed: u64) -> Nanos {
    let anchor = ANCHOR_NS.get_or_init(|| wall_ns().saturating_sub(passed));
    Nanos(anchor.saturating_add(passed))
}

/// Nanoseconds since boot.
pub fn boottime_ns() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let whole = u64::try_from(time.tv_sec)
        .unwrap_or(0)
        .saturating_mul(Nanos::SECOND);
    whole.saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the time of day comes in"
)]
fn wall_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
