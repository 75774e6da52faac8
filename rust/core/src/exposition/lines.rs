//! The lines of one grant on one server.
//!
//! INVARIANT: a label's value comes from the configuration or the policy, never from a request, and is escaped.

use std::io::Write;

use crate::caller::Caller;
use crate::engine::Engine;
use crate::time::Nanos;
use crate::usage::ratios;

/// `interlock_decisions_total`: a line for each tool and code that was counted.
#[must_use]
pub fn decisions(engine: &Engine, caller: &Caller) -> Vec<u8> {
    let mut out = Vec::new();
    let start = start("interlock_decisions_total", caller, "tool");
    engine.each_total(|tool, code, count| {
        out.extend_from_slice(&start);
        escape(tool, &mut out);
        for piece in ["\",effect=\"", code.effect(), "\",code=\"", code.slug()] {
            out.extend_from_slice(piece.as_bytes());
        }
        end(&count, &mut out);
    });
    out
}

/// `interlock_limit_usage_ratio`: a line for each counter of a limit without a `key`.
#[must_use]
pub fn usage(engine: &Engine, caller: &Caller, now: Nanos) -> Vec<u8> {
    let mut out = Vec::new();
    let start = start("interlock_limit_usage_ratio", caller, "counter");
    for (counter, ratio) in ratios(engine, caller, now) {
        out.extend_from_slice(&start);
        escape(&counter, &mut out);
        end(&ratio, &mut out);
    }
    out
}

/// A line up to the value of its third label.
fn start(name: &str, caller: &Caller, third: &str) -> Vec<u8> {
    let mut out = format!("{name}{{server=\"").into_bytes();
    escape(caller.server(), &mut out);
    out.extend_from_slice(b"\",grant=\"");
    escape(caller.grant(), &mut out);
    out.extend_from_slice(format!("\",{third}=\"").as_bytes());
    out
}

/// The rest of a line, from the end of its last label's value.
fn end(value: &dyn std::fmt::Display, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = writeln!(out, "\"}} {value}");
}

fn escape(value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(br"\\"),
            b'"' => out.extend_from_slice(br#"\""#),
            b'\n' => out.extend_from_slice(br"\n"),
            plain => out.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn what_would_end_a_value_is_escaped() {
        let mut out = Vec::new();
        escape("a\"b\\c\nd é", &mut out);
        assert_eq!(out, "a\\\"b\\\\c\\nd é".as_bytes());
    }
}
