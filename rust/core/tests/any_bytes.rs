//! Whatever bytes `decide` is given, it answers, and soon: noise, pieces of JSON in any order, and large calls with a
//! few bytes changed.
//!
//! `INTERLOCK_INPUTS` says how many and `INTERLOCK_SEED` which; the figure is printed last. Times are CPU time of the
//! thread, so that what else the machine does is not in them; no test depends on them.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up must stop")]

use std::sync::Arc;

use gateway_core::caller::Caller;
use gateway_core::decision::Code;
use gateway_core::engine::{Engine, Options};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;
use gateway_core::time::Nanos;
use rustix::time::{ClockId, clock_gettime};

const NOW: Nanos = Nanos(1_772_445_605 * Nanos::SECOND);
const MAX_BYTES: usize = 64 << 10;
const POLICY: &str = r#"{"version":"1","default":"allow","hide":["admin_*"],"tools":{"t":{
    "deny_if":[{"conditions":[{"path":"args.x","op":"contains","value":"secret"}],"on_deny":"no"}],
    "limits":[{"counter":"t","window":"minute","max":1000000000}]}}}"#;
const PIECES: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"\\",
    b"\"jsonrpc\":\"2.0\"",
    b"\"id\":1",
    b"\"method\":\"tools/call\"",
    b"\"params\":{",
    b"\"name\":\"t\"",
    b"\"arguments\":{",
    b"\"x\":",
    b"1e999",
    b"-0.0",
    b"null",
    b"\\ud800",
    b"\\u0000",
    b"\x80",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\x98\x80",
    b"\n",
];

/// Numbers that look random, the same each time (`SplitMix64`).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// Up to `MAX_BYTES`, and as often of one power of two as of another.
    fn size(&mut self) -> usize {
        let most = 1_usize << self.below(17);
        self.below(most.min(MAX_BYTES)) + 1
    }

    fn piece(&mut self) -> &'static [u8] {
        PIECES.get(self.below(PIECES.len())).unwrap()
    }

    fn noise(&mut self, text: &mut Vec<u8>, size: usize) {
        while text.len() < size {
            text.extend_from_slice(&self.next().to_le_bytes());
        }
        text.truncate(size);
    }

    fn pieces(&mut self, text: &mut Vec<u8>, size: usize) {
        while text.len() < size {
            text.extend_from_slice(self.piece());
        }
    }

    fn damaged(&mut self, text: &mut Vec<u8>, size: usize) {
        text.extend_from_slice(
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"x":"plain","y":["#,
        );
        while text.len() < size {
            text.extend_from_slice(br#"{"a":-1.50e3,"b":["\u00e9",true]},"#);
        }
        text.extend_from_slice(b"0]}}}");
        for _ in 0..self.below(3) {
            let at = self.below(text.len());
            let piece = self.piece();
            text.splice(at..at, piece.iter().copied());
        }
    }

    fn input(&mut self, text: &mut Vec<u8>) {
        text.clear();
        let size = self.size();
        match self.below(3) {
            0 => self.noise(text, size),
            1 => self.pieces(text, size),
            _ => self.damaged(text, size),
        }
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |told| told.parse().unwrap())
}

/// CPU time of this thread so far, in nanoseconds.
fn spent() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

#[test]
fn any_bytes_are_decided() {
    let (inputs, seed) = (
        number("INTERLOCK_INPUTS", 5_000),
        number("INTERLOCK_SEED", 1),
    );
    let policy = PolicySet::parse(POLICY.as_bytes(), "p.json").unwrap();
    let table = LimitTable::anonymous(1024).unwrap();
    let engine = Engine::new(Arc::new(policy), Arc::new(table), Options::default());
    let caller = Caller::new("g".into(), "s".into(), None, None);
    let (mut draw, mut text) = (Draw(seed), Vec::new());
    let (mut allowed, mut bytes) = (0_u64, 0);
    let mut took = Vec::new();
    for count in 0..inputs {
        draw.input(&mut text);
        bytes += text.len();
        let began = spent();
        let decision = engine.decide(&caller, &text, None, NOW);
        took.push(u32::try_from(spent() - began).unwrap_or(u32::MAX));
        // What a panic leaves.
        assert_ne!(
            decision.code,
            Code::InternalError,
            "input {count} of seed {seed}"
        );
        assert_eq!(decision.allowed, decision.code == Code::Allowed);
        allowed += u64::from(decision.allowed);
    }
    assert!(allowed > inputs / 20 && allowed < inputs / 2, "{allowed}");
    took.sort_unstable();
    let of = |share: usize| took.get(took.len() * share / 10_000).unwrap();
    eprintln!(
        "any bytes: {inputs} inputs of seed {seed}, {bytes} bytes, {allowed} allowed, 0 panics; CPU time in ns: \
         p50 {}, p99.99 {}, most {}",
        of(5_000),
        of(9_999),
        took.last().unwrap()
    );
}
