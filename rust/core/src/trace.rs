//! W3C Trace Context: the span that a message belongs to, and the one that stands for it here.
//!
//! INVARIANT: a span belongs to the trace of its parent, if it has one; and whether it is sampled follows from the trace
//! and the parent alone, so that whoever samples by the same rule decides the same.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Of a trace context's flags: it is recorded.
const SAMPLED: u8 = 1;
/// Of a trace context's flags: the trace's id is random.
const RANDOM: u8 = 2;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// What a `traceparent` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace's id, 32 hexadecimal digits.
    pub trace: [u8; 32],
    /// The span's id, 16 hexadecimal digits.
    pub id: [u8; 16],
    flags: u8,
}

impl Parent {
    /// Reads a `traceparent` (section 3.2.2), if it is one and neither id is all zeros.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let (version, rest) = text.split_at_checked(3)?;
        let (trace, rest) = rest.split_first_chunk()?;
        let (dash, rest) = rest.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let dashes = version.ends_with(b"-") && *dash == b'-' && rest.starts_with(b"-");
        if !dashes || version == b"ff-" || !is_id(trace) || !is_id(id) {
            return None;
        }
        let flags = match rest {
            [_, high, low, ..] => value(*high).zip(value(*low)),
            _ => None,
        };
        Some(Self {
            trace: *trace,
            id: *id,
            flags: flags.map_or(0, |(high, low)| high << 4 | low),
        })
    }

    /// Whether its sender records it.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

fn is_id(digits: &[u8]) -> bool {
    digits.iter().all(|digit| value(*digit).is_some()) && digits.iter().any(|digit| *digit != b'0')
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn hex(number: u64, digits: &mut [u8]) {
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = *DIGITS.get((rest % 16) as usize).unwrap_or(&b'0');
        rest /= 16;
    }
}

/// Which traces are recorded: those of which the last 8 bytes, as a number, are below the bound that applies.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// For a message without a parent.
    pub root: u128,
    /// For one whose sender records it.
    pub sampled: u128,
    /// For one whose sender does not.
    pub unsampled: u128,
}

/// The span that stands for a message here.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The trace's id, 32 hexadecimal digits.
    pub trace: [u8; 32],
    /// Its own id, 16 hexadecimal digits.
    pub id: [u8; 16],
    /// The id of the span that it belongs to.
    pub parent: Option<Parent>,
    /// Whether it is recorded.
    pub sampled: bool,
}

impl Span {
    /// The `traceparent` of what is asked on its behalf.
    #[must_use]
    pub fn traceparent(&self) -> [u8; 55] {
        let random = self.parent.map_or(0, |parent| parent.flags & RANDOM);
        let flags = random | u8::from(self.sampled);
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        for (digit, own) in out.iter_mut().skip(3).zip(&self.trace) {
            *digit = *own;
        }
        for (digit, own) in out.iter_mut().skip(36).zip(&self.id) {
            *digit = *own;
        }
        if let Some(last) = out.last_mut() {
            *last = b'0' + flags;
        }
        out
    }
}

/// Makes spans.
#[derive(Debug)]
pub struct Tracing {
    sampling: Sampling,
    /// Keyed by the operating system, so that ids differ between processes.
    keyed: RandomState,
    next: AtomicU64,
}

impl Tracing {
    /// Tracing with this sampling.
    #[must_use]
    pub fn new(sampling: Sampling) -> Self {
        Self {
            sampling,
            keyed: RandomState::new(),
            next: AtomicU64::new(0),
        }
    }

    /// A span for a message with this parent.
    #[must_use]
    pub fn span(&self, parent: Option<Parent>) -> Span {
        let mut id = [b'0'; 16];
        hex(self.number(), &mut id);
        let trace = parent.map_or_else(|| self.trace(), |parent| parent.trace);
        let bound = match parent {
            None => self.sampling.root,
            Some(parent) if parent.is_sampled() => self.sampling.sampled,
            Some(_) => self.sampling.unsampled,
        };
        let last = trace.iter().skip(16).filter_map(|digit| value(*digit));
        let last = last.fold(0_u128, |number, digit| number << 4 | u128::from(digit));
        Span {
            trace,
            id,
            parent,
            sampled: last < bound,
        }
    }

    fn trace(&self) -> [u8; 32] {
        let mut trace = [b'0'; 32];
        for half in trace.chunks_exact_mut(16) {
            hex(self.number(), half);
        }
        trace
    }

    /// A number that was not there before, and is not 0.
    fn number(&self) -> u64 {
        // ORDERING: only that no two are the same matters.
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.keyed.hash_one(next).max(1)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const ALL: u128 = 1 << 64;
    const SAMPLING: Sampling = Sampling {
        root: ALL,
        sampled: ALL,
        unsampled: 0,
    };

    #[test]
    fn what_is_no_traceparent_is_none() {
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let upper = PARENT.to_uppercase();
        let wrong = ["", "00", zeros, &upper, &PARENT[..54 - 3], "ff-"];
        for text in wrong {
            assert_eq!(Parent::read(text.as_bytes()), None, "{text}");
        }
        let version = PARENT.replacen("00", "ff", 1);
        assert_eq!(Parent::read(version.as_bytes()), None);
        assert_eq!(Parent::read(PARENT.replace('-', "_").as_bytes()), None);
    }

    #[test]
    fn a_span_belongs_to_its_parents_trace_and_is_named_to_the_server() {
        let tracing = Tracing::new(SAMPLING);
        for (flags, told) in [("01", "01"), ("00", "00"), ("03", "03"), ("02", "02")] {
            let text = PARENT.replace("-01", &format!("-{flags}"));
            let span = tracing.span(Parent::read(text.as_bytes()));
            let own = String::from_utf8_lossy(&span.id).into_owned();
            let expected = PARENT
                .replace("b7ad6b7169203331", &own)
                .replace("-01", &format!("-{told}"));
            assert_eq!(String::from_utf8_lossy(&span.traceparent()), expected);
            assert_ne!(own, "b7ad6b7169203331");
            assert!(Parent::read(&span.traceparent()).is_some());
        }
    }

    #[test]
    fn ids_are_never_the_same_and_never_zero() {
        let tracing = Tracing::new(SAMPLING);
        let other = Tracing::new(SAMPLING);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            for span in [tracing.span(None), other.span(None)] {
                assert!(is_id(&span.trace) && is_id(&span.id));
                assert!(seen.insert(span.trace.to_vec()) && seen.insert(span.id.to_vec()));
            }
        }
    }

    #[test]
    fn a_trace_is_sampled_below_the_bound_that_applies() {
        let last = 0x8448_eb21_1c80_319c_u128;
        let parent = Parent::read(PARENT.as_bytes());
        for (bound, sampled) in [(last, false), (last + 1, true)] {
            let tracing = Tracing::new(Sampling {
                sampled: bound,
                ..SAMPLING
            });
            assert_eq!(tracing.span(parent).sampled, sampled);
            assert!(tracing.span(None).sampled);
        }
        let none = Tracing::new(Sampling {
            root: 0,
            ..SAMPLING
        });
        assert!(!none.span(None).sampled);
    }
}
