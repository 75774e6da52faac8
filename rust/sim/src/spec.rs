//! What a seed's policies mean, and the documents that say so.
//!
//! A seed has a universe of quotas. Each version of its policy puts some of them on tools, with a `max` of its own
//! for each place: so a reload raises, lowers, adds and drops limits without changing what any count means.

use std::fmt::Write;

use fastrand::Rng;

use crate::calendar::{Algorithm, SECOND};

/// What a call adds to a quota.
#[derive(Clone, Copy, Debug)]
pub enum Cost {
    /// Always this.
    Units(i128),
    /// The argument `n`.
    Argument,
}

/// What is counted.
#[derive(Clone, Debug)]
pub struct Quota {
    /// The number that names it.
    pub id: usize,
    /// How it counts.
    pub algorithm: Algorithm,
    /// The algorithm, window and burst as a document has them.
    text: String,
    /// A count for each value of the argument `k`.
    pub keyed: bool,
    /// One count for all grants.
    pub global: bool,
    /// What a call adds.
    pub cost: Cost,
    /// A `max` that leaves something to be refused.
    base: i128,
}

/// A quota on a tool.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// The quota.
    pub quota: usize,
    /// Its `max` here.
    pub max: i128,
}

/// A version of the policy.
#[derive(Clone, Debug)]
pub struct Version {
    /// By tool.
    pub tools: Vec<Vec<Use>>,
    /// The document.
    pub document: String,
}

/// A call as a client makes it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Which grant.
    pub grant: usize,
    /// Which tool.
    pub tool: usize,
    /// The argument `n`.
    pub amount: Amount,
    /// The argument `k`.
    pub key: u8,
}

/// An argument that is, or is not, a cost.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// A whole number.
    Units(u8),
    /// Something that must be refused with `cost-invalid` where it is counted.
    Bad(&'static str),
}

const BAD: [&str; 8] = [
    "-1",
    "0.5",
    "\"1\"",
    "true",
    "null",
    "[1]",
    "1e-3",
    "99999999999999999999",
];

impl Call {
    /// The message.
    #[must_use]
    pub fn body(&self) -> String {
        let amount = match self.amount {
            Amount::Units(units) => units.to_string(),
            Amount::Bad(text) => text.to_owned(),
        };
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t{}","arguments":{{"n":{amount},"k":"k{}"}}}}}}"#,
            self.tool, self.key
        )
    }

    /// A call of one of `tools` tools.
    pub fn random(rng: &mut Rng, tools: usize, keys: u8) -> Self {
        Self {
            grant: rng.usize(..2),
            tool: rng.usize(..tools),
            amount: if rng.u8(..24) == 0 {
                Amount::Bad(BAD[rng.usize(..BAD.len())])
            } else {
                Amount::Units(rng.u8(..4))
            },
            key: rng.u8(..keys),
        }
    }
}

impl Quota {
    /// What a call adds; `None` if its argument is none.
    #[must_use]
    pub fn cost_of(&self, call: &Call) -> Option<i128> {
        match (self.cost, call.amount) {
            (Cost::Units(units), _) => Some(units),
            (Cost::Argument, Amount::Units(units)) => Some(units.into()),
            (Cost::Argument, Amount::Bad(_)) => None,
        }
    }

    fn random(rng: &mut Rng, id: usize) -> Self {
        let base = rng.i128(1..8);
        let (algorithm, text) = match rng.u8(..10) {
            0..=3 => {
                let (text, seconds) = [
                    ("second", 1),
                    ("10s", 10),
                    ("minute", 60),
                    ("hour", 3_600),
                    ("day", 86_400),
                    ("week", 604_800),
                ][rng.usize(..6)];
                (
                    Algorithm::Fixed(seconds * SECOND),
                    format!(r#""window":"{text}""#),
                )
            }
            4 => (Algorithm::Month, r#""window":"month""#.to_owned()),
            5..=6 => {
                let seconds = [1, 7, 10, 60, 3_600][rng.usize(..5)];
                (
                    Algorithm::Sliding(seconds * SECOND),
                    format!(r#""algorithm":"sliding_window","window":"{seconds}s""#),
                )
            }
            7..=8 => {
                let seconds = [1, 10, 60, 3_600][rng.usize(..4)];
                let burst = rng.i128(1..=base);
                let units = base - burst + 1;
                let window = seconds * SECOND;
                let interval = window / units + i128::from(window % units != 0);
                (
                    Algorithm::Bucket {
                        interval,
                        burst,
                        window,
                        max: base,
                    },
                    format!(r#""algorithm":"token_bucket","window":"{seconds}s","burst":{burst}"#),
                )
            }
            _ => (
                Algorithm::Concurrency,
                r#""algorithm":"concurrency""#.to_owned(),
            ),
        };
        let cost = if rng.u8(..3) == 0 {
            Cost::Argument
        } else {
            Cost::Units(rng.i128(1..3).min(base))
        };
        Self {
            id,
            algorithm,
            text,
            keyed: rng.u8(..3) == 0,
            global: rng.bool(),
            cost,
            base,
        }
    }

    /// The `max` of a place: a bucket's is part of what it means.
    fn max(&self, rng: &mut Rng) -> i128 {
        match self.algorithm {
            Algorithm::Bucket { .. } => self.base,
            _ if rng.bool() => self.base,
            _ => (self.base + rng.i128(-3..4)).max(0),
        }
    }

    fn document(&self, max: i128) -> String {
        let mut text = format!(r#"{{"counter":"q{}",{},"max":{max}"#, self.id, self.text);
        if self.keyed {
            text.push_str(r#","key":"args.k""#);
        }
        if self.global {
            text.push_str(r#","scope":"global""#);
        }
        // Writing to a string cannot fail.
        let _ = match self.cost {
            Cost::Units(units) => write!(text, r#","cost":{units}}}"#),
            Cost::Argument => write!(text, r#","cost":"args.n","scale":0}}"#),
        };
        text
    }
}

/// What a seed counts, and its policies.
pub struct Universe {
    /// Every quota.
    pub quotas: Vec<Quota>,
    /// Tools that every version has.
    pub tools: usize,
}

impl Universe {
    /// A few quotas on a few tools.
    pub fn random(rng: &mut Rng) -> Self {
        let quotas = rng.usize(2..6);
        Self {
            quotas: (0..quotas).map(|id| Quota::random(rng, id)).collect(),
            tools: rng.usize(1..4),
        }
    }

    /// A new version of the policy.
    pub fn version(&self, rng: &mut Rng) -> Version {
        let mut tools = Vec::new();
        for _ in 0..self.tools {
            let mut order: Vec<usize> = (0..self.quotas.len()).collect();
            rng.shuffle(&mut order);
            order.truncate(rng.usize(1..4));
            tools.push(
                order
                    .into_iter()
                    .map(|quota| Use {
                        quota,
                        max: self.quotas[quota].max(rng),
                    })
                    .collect::<Vec<_>>(),
            );
        }
        let entries: Vec<String> = tools
            .iter()
            .enumerate()
            .map(|(tool, uses)| {
                let limits: Vec<String> = uses
                    .iter()
                    .map(|place| self.quotas[place.quota].document(place.max))
                    .collect();
                format!(r#""t{tool}":{{"limits":[{}]}}"#, limits.join(","))
            })
            .collect();
        let document = format!(
            r#"{{"version":"1","default":"deny","tools":{{{}}}}}"#,
            entries.join(",")
        );
        Version { tools, document }
    }
}
