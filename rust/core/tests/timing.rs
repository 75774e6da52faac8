//! How long a request takes tells nothing of a token: Welch's t-test between guesses that begin like a grant's token and
//! guesses that do not.
//!
//! `INTERLOCK_SAMPLES` says how many of each; the same test has to find a comparison that ends early.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "this is a test, of time"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use gateway_core::engine::{Engine, Options};
use gateway_core::http1::credentials::{Credential, Credentials, fingerprint};
use gateway_core::http1::{Gate, GateOptions, Intake, Received, Route};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;
use gateway_core::time::Nanos;

const NOW: Nanos = Nanos(1_772_445_605 * Nanos::SECOND);
const TOKEN: &str = "ilk_00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff01234567";
/// From here on a difference is no chance: one in 100,000.
const BOUND: f64 = 4.5;
/// Of each kind.
const GUESSES: usize = 256;

fn gate() -> Gate {
    let policy = PolicySet::parse(br#"{"version":"1","default":"allow"}"#, "p.json").unwrap();
    let table = LimitTable::anonymous(64).unwrap();
    let engine = Engine::new(Arc::new(policy), Arc::new(table), Options::default());
    let mut gate = Gate::new(GateOptions {
        max_head_bytes: 4096,
        max_body_bytes: 4096,
        hosts: Some(vec![b"h".to_vec()]),
        ..GateOptions::default()
    });
    let route = Route {
        engine: Arc::new(engine),
        grant: "g".into(),
        server: "s".into(),
        head: b"POST / HTTP/1.1\r\nhost: u\r\n".to_vec(),
        own_names: vec![b"host".to_vec()],
        tag: 0,
    };
    gate.add_route(b"/mcp".to_vec(), route, false);
    let mut credentials = Credentials::new(false);
    let known = fingerprint(format!("Bearer {TOKEN}").as_bytes()).unwrap();
    let grant = Credential {
        grant: "g".into(),
        until: None,
    };
    credentials.add(known, grant);
    gate.set_credentials(credentials);
    gate
}

fn request(token: &str) -> Vec<u8> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    format!(
        "POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Numbers that look random, the same each time.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A wrong token whose beginning is the right one, or another one that is always the same and has digits and letters
    /// at the same places: who reads it meets nothing new in either.
    fn guess(&mut self, right: bool) -> String {
        let other = |digit: char| match digit {
            '9' => '0',
            'f' => 'a',
            digit => char::from_u32(u32::from(digit) + 1).unwrap(),
        };
        let begins = TOKEN.get(4..68).unwrap();
        let begins: String = if right {
            begins.to_owned()
        } else {
            begins.chars().map(other).collect()
        };
        format!("ilk_{begins}{:08x}", self.next() >> 32)
    }
}

/// The statistic over how long each guess took, from the fastest nine tenths of all samples, since the slow ones are the
/// machine's doing.
///
/// What is compared is guesses and not samples: two guesses of one kind take other times too, if only by where their
/// digests are looked for, and many samples of few guesses would make a difference of that.
fn welch(mut samples: Vec<Vec<u64>>) -> f64 {
    let mut all: Vec<u64> = samples.concat();
    all.sort_unstable();
    let most = all.get(all.len() * 9 / 10).copied().unwrap();
    let mut kinds = [Vec::new(), Vec::new()];
    for (number, guess) in samples.iter_mut().enumerate() {
        guess.retain(|took| *took <= most);
        let sum = guess.iter().map(|took| *took as f64).sum::<f64>();
        if let Some(kind) = kinds.get_mut(number % 2).filter(|_| !guess.is_empty()) {
            kind.push(sum / guess.len() as f64);
        }
    }
    let [(one, its), (other, others)] = kinds.map(|kind| {
        let count = kind.len() as f64;
        let mean = kind.iter().sum::<f64>() / count;
        let squares = kind.iter().map(|took| (took - mean).powi(2));
        (mean, squares.sum::<f64>() / (count - 1.0) / count)
    });
    (one - other) / (its + others).sqrt()
}

/// The statistic over so many samples of each kind, when each request is also looked at by `also`.
fn measured(count: usize, mut also: impl FnMut(&str)) -> f64 {
    let gate = gate();
    let mut draw = Draw(0x9E37_79B9_7F4A_7C15);
    // Made beforehand, since to make the one leaves another heap behind than to make the other.
    let guesses: Vec<(String, Vec<u8>)> = (0..2 * GUESSES)
        .map(|number| draw.guess(number % 2 == 1))
        .map(|token| (token.clone(), request(&token)))
        .collect();
    let mut samples = vec![Vec::with_capacity(count / GUESSES * 2); guesses.len()];
    let mut request = Vec::with_capacity(4096);
    for _ in 0..2 * count {
        let drawn = usize::try_from(draw.next() >> 32).unwrap() % guesses.len();
        let (token, asked) = guesses.get(drawn).unwrap();
        // At the same place each time: where bytes lie makes a difference, too.
        request.clear();
        request.extend_from_slice(asked);
        // A new connection: another head on an old one is compared with the one before.
        let mut intake = Intake::default();
        let began = Instant::now();
        let received = intake.receive(&gate, black_box(&request), &|| NOW);
        also(token);
        let took = began.elapsed().as_nanos();
        assert!(matches!(received, Received::HandOver(_)), "{received:?}");
        if let Some(guess) = samples.get_mut(drawn) {
            guess.push(u64::try_from(took).unwrap());
        }
    }
    welch(samples)
}

fn samples() -> usize {
    let told = std::env::var("INTERLOCK_SAMPLES").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(20_000)
}

#[test]
fn a_right_beginning_takes_no_other_time() {
    let found: Vec<f64> = (0..3).map(|_| measured(samples(), |_| ())).collect();
    // The machine's own moods may pass for a difference once, and not each time.
    let least = found.iter().fold(f64::MAX, |least, t| least.min(t.abs()));
    eprintln!("t = {found:.2?}");
    assert!(least < BOUND, "{found:?}");
}

#[test]
fn a_comparison_that_ends_early_would_be_found() {
    let leaks = |token: &str| {
        let same = |(one, other): &(u8, u8)| black_box(one) == black_box(other);
        let pairs = token.bytes().zip(TOKEN.bytes());
        black_box(pairs.take_while(same).count());
    };
    let t = measured(samples(), leaks);
    eprintln!("t = {t:.2}");
    assert!(t.abs() > BOUND, "{t}");
}
