//! Does one thing over and over, for `bench/gate.py` to count its instructions: `count CASE TIMES`.
//!
//! The message is the tools/call of 330 bytes, the policy has 100 tools with three limits each. Cases that end in
//! `-logged` are what the serving thread does with the decision log on: the log's place takes nothing until the end, so
//! that its writer stands still. Those in `-written` are the same and all of the writer's work behind it. `-traced` is with
//! spans and without a log.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot be set up must stop"
)]

use std::hint::black_box;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[path = "../../core/benches/common/mod.rs"]
mod common;

use common::{NOW, SLOTS, body};
use gateway_core::caller::Caller;
use gateway_core::engine::{Engine, Options};
use gateway_core::http1::{Answering, Gate, GateOptions, Intake, Received, Route, State};
use gateway_core::ledger::{End, Entry, Ledger};
use gateway_core::trace::Sampling;
use gateway_log::file::{Found, Rotation};
use gateway_log::sink::Sink;
use gateway_log::{Log, Overflow, Spans, Target};

const TOOLS: usize = 100;

/// The call as a client sends it.
fn request(tool: &str) -> Vec<u8> {
    let body = body(tool);
    format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nUser-Agent: python-httpx/0.28.1\r\n\
         MCP-Protocol-Version: 2025-06-18\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The server's answer, of 290 bytes.
fn answer() -> Vec<u8> {
    let answer = |text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":42,"result":{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}}}}"#
        )
    };
    let body = answer(&"x".repeat(290 - answer("").len()));
    format!(
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 02 Mar 2026 10:00:05 GMT\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A place for a log that takes nothing until it is opened, which dropping the other end does.
#[derive(Debug)]
struct Shut(Mutex<Receiver<()>>);

impl Sink for Shut {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = opened.recv();
        Ok(black_box(lines).len())
    }
}

/// A decision log, and what keeps its writer standing still.
fn log() -> (Log, Sender<()>) {
    let (shut, opened) = channel();
    let sink: Box<dyn Sink> = Box::new(Shut(Mutex::new(opened)));
    let log = Log::open(gateway_log::Options {
        target: Target::Sink(sink, Found::default()),
        overflow: Overflow::Deny,
        arguments: Vec::new(),
        buffer_bytes: 1 << 30,
        rotation: Rotation::default(),
        worker: None,
        about: Vec::new(),
        clock: || NOW.0,
        tell: |_| (),
    });
    (log.expect("opens"), shut)
}

/// Does this with the log on; with the writer's work if it is wanted.
fn logged(writes: bool, work: impl FnOnce(&Arc<Engine>)) {
    let (log, shut) = log();
    work(&engine(Some(log.ledger())));
    if writes {
        drop(shut);
        assert_eq!(log.close(Duration::from_secs(600)), 0);
    } else {
        // No destructor is to do what the writer would have done.
        std::process::exit(0);
    }
}

/// Does this with spans of everything, without a log; nobody fetches them, and all find room.
fn traced(work: impl FnOnce(&Arc<Engine>)) {
    let all = 1 << 64;
    let sampling = Sampling {
        root: all,
        sampled: all,
        unsampled: all,
    };
    let spans = Spans::new(None, sampling, usize::MAX);
    work(&engine(Some(spans.ledger())));
    // No destructor is to do what an exporter would have done.
    std::process::exit(0);
}

fn engine(ledger: Option<Arc<dyn Ledger>>) -> Arc<Engine> {
    let options = Options {
        ledger,
        ..Options::default()
    };
    Arc::new(common::engine(TOOLS, SLOTS, options))
}

fn gate(engine: &Arc<Engine>) -> Gate {
    let mut gate = Gate::new(GateOptions {
        max_head_bytes: 32 << 10,
        max_body_bytes: 1 << 20,
        hosts: Some(vec![b"127.0.0.1:8080".to_vec()]),
        ..GateOptions::default()
    });
    let route = Route {
        engine: Arc::clone(engine),
        grant: "bench".into(),
        server: "upwork".into(),
        head: b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:9000\r\naccept-encoding: identity\r\n"
            .to_vec(),
        own_names: vec![b"host".to_vec(), b"accept-encoding".to_vec()],
        tag: 0,
    };
    gate.add_route(b"/mcp".to_vec(), route, true);
    gate
}

/// From a body to a decision.
fn decide(tool: &str, times: usize) {
    let engine = engine(None);
    let caller = Caller::new("bench".into(), "upwork".into(), None, None);
    let body = body(tool).into_bytes();
    for _ in 0..times {
        black_box(engine.decide(&caller, black_box(&body), None, NOW));
    }
}

/// From a request's bytes to those of the refusal.
fn refuse(engine: &Arc<Engine>, times: usize) {
    let (gate, request, mut intake) = (gate(engine), request("tool_x"), Intake::default());
    for _ in 0..times {
        match intake.receive(&gate, black_box(&request), &|| NOW) {
            Received::Answer(bytes) => drop(black_box(bytes)),
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// From a request's bytes to those for the server, and from its answer's to those for the client.
fn relay(engine: &Arc<Engine>, times: usize) {
    let (gate, request, answer) = (gate(engine), request("tool_99"), answer());
    let mut intake = Intake::default();
    for _ in 0..times {
        let Received::Forward(forward) = intake.receive(&gate, black_box(&request), &|| NOW) else {
            panic!("not forwarded");
        };
        black_box(forward.bytes);
        let mut out = Vec::new();
        let step = Answering::new(forward.asked).feed(engine, black_box(&answer), &mut out);
        assert!(matches!(step.state, State::Done { .. }), "{step:?}");
        black_box(out);
        engine.record(|| {
            Some(Entry {
                decision: forward.decision,
                caller: forward.caller,
                at: NOW,
                decide_ns: 3_000,
                end: End {
                    status: Some(200),
                    took_ns: Some(300_000),
                    fault: None,
                },
            })
        });
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let case = arguments.next().unwrap_or_default();
    let times = arguments.next().and_then(|times| times.parse().ok());
    let times = times.expect("usage: count CASE TIMES");
    match case.as_str() {
        "decide-allowed" => decide("tool_99", times),
        "decide-refused" => decide("tool_x", times),
        "http-refused" => refuse(&engine(None), times),
        "http-allowed" => relay(&engine(None), times),
        "http-allowed-traced" => traced(|engine| relay(engine, times)),
        "http-refused-logged" => logged(false, |engine| refuse(engine, times)),
        "http-allowed-logged" => logged(false, |engine| relay(engine, times)),
        "http-refused-written" => logged(true, |engine| refuse(engine, times)),
        "http-allowed-written" => logged(true, |engine| relay(engine, times)),
        _ => panic!("no such case: {case}"),
    }
}
