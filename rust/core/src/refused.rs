//! A refusal on its way to becoming a decision, and the words for a limit that has no room.

use smallvec::SmallVec;

use crate::charges::Charges;
use crate::decision::{Code, LimitReport};
use crate::evaluate::Refusal;
use crate::limit::{Algorithm, Reading};
use crate::policy::{LimitUse, Quota};
use crate::time::Nanos;

/// A refused message on its way to becoming a decision.
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) rule: Option<String>,
    pub(crate) message: String,
    pub(crate) limits: SmallVec<[LimitReport; 4]>,
    pub(crate) retry_after_ns: Option<u64>,
}

impl From<Refusal> for Box<Refused> {
    fn from(refusal: Refusal) -> Self {
        let rule = (!refusal.rule.is_empty()).then_some(refusal.rule);
        Self::new(Refused {
            rule,
            ..Refused::new(refusal.code, refusal.message)
        })
    }
}

impl Refused {
    fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code,
            rule: None,
            message,
            limits: SmallVec::new(),
            retry_after_ns: None,
        }
    }
}

pub(crate) fn unavailable(code: Code, message: &str) -> Box<Refused> {
    Box::new(Refused::new(code, message))
}

/// The enforced limits of a call: place, reading, and the report of it.
pub(crate) fn enforced<'c, 'p>(
    charges: &'c Charges<'p>,
    readings: &'c [Reading],
) -> impl Iterator<Item = (&'p LimitUse, &'c Reading, LimitReport)> {
    charges
        .places
        .iter()
        .zip(readings)
        .filter_map(|(places, reading)| {
            let place = places.enforced?;
            let Reading {
                remaining,
                reset_ns,
                ..
            } = *reading;
            Some((
                place,
                reading,
                LimitReport {
                    quota: places.id,
                    max: place.max,
                    remaining,
                    reset_ns,
                },
            ))
        })
}

/// The refusal: the first limit in the order of the policy speaks, and the wait is the longest of all, since
/// the call is admitted only when every limit has room.
pub(crate) fn refused(charges: &Charges<'_>, readings: &[Reading]) -> Refused {
    let refusing = || enforced(charges, readings).filter(|(_, reading, _)| reading.refused);
    let wait = refusing().try_fold(0_u64, |most, (_, reading, _)| {
        Some(most.max(reading.wait_ns?))
    });
    let mut refusal = Refused::new(Code::LimitExceeded, "a limit has no room");
    refusal.limits = refusing().map(|(_, _, report)| report).collect();
    refusal.retry_after_ns = wait;
    if let Some((place, reading, report)) = refusing().next() {
        if let Some(places) = charges
            .places
            .iter()
            .find(|places| places.id == report.quota)
        {
            refusal.rule = Some(place.pointer.clone());
            refusal.message = limit_message(places.quota, place, &report, reading, wait);
        }
    }
    refusal
}

fn limit_message(
    quota: &Quota,
    place: &LimitUse,
    report: &LimitReport,
    reading: &Reading,
    wait: Option<u64>,
) -> String {
    let limit = report.limit(quota);
    let what = match (&place.on_deny, quota.counting.algorithm()) {
        (Some(text), _) => text.trim_end_matches('.').to_owned(),
        (None, Algorithm::Concurrency) => {
            format!("`{}` allows {limit} at the same time", quota.counter)
        }
        (None, _) => format!(
            "`{}` allows {limit} per {}",
            quota.counter, quota.window_text
        ),
    };
    let when = match (wait, quota.counting.algorithm()) {
        (Some(ns), _) => format!("try again in {}", seconds(ns)),
        (None, Algorithm::Concurrency) => "try again when a running call has ended".to_owned(),
        (None, _) if reading.wait_ns.is_none() => "this call alone costs more than that".to_owned(),
        (None, _) => "try again later".to_owned(),
    };
    format!("{what}; {when}")
}

/// Nanoseconds as seconds for people, rounded up to a tenth.
fn seconds(ns: u64) -> String {
    let tenths = ns.div_ceil(Nanos::SECOND / 10);
    format!("{}.{} s", tenths / 10, tenths % 10)
}
