//! Decisions to log, and places to log them to that do as a test says.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    missing_docs,
    reason = "these are tests"
)]

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use gateway_core::caller::Caller;
use gateway_core::decision::Decision;
use gateway_core::engine::{Engine, Options as EngineOptions};
use gateway_core::ledger::{End, Entry, Ledger};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;
use gateway_core::time::Nanos;
use gateway_log::file::{Found, Rotation};
use gateway_log::sink::Sink;
use gateway_log::{Log, Options, Overflow, Target};

pub const NOW: Nanos = Nanos(1_795_273_199_123_456_789);
const POLICY: &[u8] = br#"{"version":"1","default":"allow","tools":{
    "limited":{"limits":[{"counter":"c","window":"day","max":1000000}]}}}"#;

pub fn options(target: Target) -> Options {
    Options {
        target,
        overflow: Overflow::Deny,
        arguments: vec!["q".to_owned()],
        buffer_bytes: 8 << 20,
        rotation: Rotation::default(),
        worker: None,
        about: Vec::new(),
        clock: || NOW.0,
        tell: |_| (),
    }
}

/// Decides and logs, as a door would.
pub struct Desk {
    pub engine: Engine,
    pub caller: Arc<Caller>,
}

impl Desk {
    pub fn new(log: &Log) -> Self {
        Self::over(log.ledger())
    }

    pub fn over(ledger: Arc<dyn Ledger>) -> Self {
        let policy = PolicySet::parse(POLICY, "p.json").expect("it is valid");
        let table = LimitTable::anonymous(64).expect("there is memory");
        let options = EngineOptions {
            ledger: Some(ledger),
            ..EngineOptions::default()
        };
        let session = Some("secret-session".to_owned());
        Self {
            engine: Engine::new(Arc::new(policy), Arc::new(table), options),
            caller: Arc::new(Caller::new("grant".into(), "server".into(), session, None)),
        }
    }

    pub fn decide(&self, body: &str) -> Arc<Decision> {
        self.engine.decide(&self.caller, body.as_bytes(), None, NOW)
    }

    pub fn finish(&self, decision: Arc<Decision>) {
        self.engine.record(|| {
            Some(Entry {
                decision,
                caller: self.caller.clone(),
                at: NOW,
                decide_ns: 4213,
                end: End {
                    status: Some(200),
                    took_ns: Some(1_500_000),
                    fault: None,
                },
            })
        });
    }

    /// Decides and logs a call; whether it was allowed.
    pub fn call(&self, tool: &str, arguments: &str) -> bool {
        let name = format!("{tool:?}");
        let decision = self.decide(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{arguments}}}}}"#
        ));
        let allowed = decision.allowed;
        self.finish(decision);
        allowed
    }
}

/// What a fake place does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Takes,
    /// Takes a few bytes at a time, and now and then none.
    Stumbles,
    Fails(io::ErrorKind),
    /// Has a defect.
    Panics,
}

#[derive(Debug)]
struct Place {
    does: Does,
    bytes: Vec<u8>,
    asked: u64,
}

/// A place that does as it is told.
#[derive(Clone, Debug)]
pub struct Fake(Arc<(Mutex<Place>, Condvar)>);

impl Fake {
    pub fn new(does: Does) -> Self {
        let place = Place {
            does,
            bytes: Vec::new(),
            asked: 0,
        };
        Self(Arc::new((Mutex::new(place), Condvar::new())))
    }

    pub fn target(&self) -> Target {
        Target::Sink(Box::new(self.clone()), Found::default())
    }

    /// Does this from now on; what it did before was met with once at least.
    pub fn now(&self, does: Does) {
        let place = self.0.0.lock().unwrap();
        let mut place = self
            .0
            .1
            .wait_while(place, |place| place.asked == 0)
            .unwrap();
        place.does = does;
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).unwrap()
    }

    /// Waits for a line with this in it.
    pub fn until(&self, what: &str) -> String {
        let place = self.0.0.lock().unwrap();
        let has = |place: &mut Place| !String::from_utf8_lossy(&place.bytes).contains(what);
        let place = self.0.1.wait_while(place, has).unwrap();
        String::from_utf8(place.bytes.clone()).unwrap()
    }
}

impl Sink for Fake {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let (place, changed) = &*self.0;
        let mut place = place.lock().unwrap();
        place.asked += 1;
        changed.notify_all();
        let taken = match place.does {
            Does::Takes => lines.len(),
            Does::Stumbles if place.asked % 3 == 0 => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Does::Stumbles => lines.len().min(7),
            Does::Fails(kind) => return Err(kind.into()),
            Does::Panics => {
                drop(place);
                panic!("this is on purpose");
            }
        };
        place.bytes.extend_from_slice(&lines[..taken]);
        Ok(taken)
    }
}
