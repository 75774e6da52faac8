//! Takes hidden tools out of a server's messages.
//!
//! INVARIANT: structure decides, not ids or methods: any `tools` array in a result or in params, on any
//! stream, loses its hidden entries; every other byte stays as the server sent it, except that a filtered
//! list is nobody else's (`cacheScope` becomes `private`, MCP 2026-07-28 "Caching"). A message that cannot be
//! read exactly while it might hold a list is not passed on.

use std::ops::Range;
use std::sync::Arc;

use memchr::{memchr2_iter, memchr3_iter};

use crate::caseless::text_reads_as;
use crate::json::{Bounds, Fault, Index, Kind, Value};
use crate::pins::Pins;
use crate::policy::PolicySet;

/// Bounds on a server's message that must be filtered: wider than a client's, since schemas nest.
pub const BOUNDS: Bounds = Bounds {
    max_bytes: 16 << 20,
    max_depth: 256,
    max_keys: 2_000_000,
};

/// What is taken out of lists.
#[derive(Clone, Debug)]
pub struct Hiding {
    /// The policy, where it hides something.
    pub policy: Option<Arc<PolicySet>>,
    /// The pinned definitions, where there are any.
    pub pins: Option<Arc<Pins>>,
    /// Whether what is not as pinned is taken out, or only told.
    pub enforces_pins: bool,
}

impl Hiding {
    /// Whether the entry of a tool must go. It is compared with its pin in any case.
    fn hides(&self, name: &str, tool: Value<'_>) -> bool {
        let strange = self.pins.as_ref().is_some_and(|pins| !pins.see(name, tool));
        let hidden = |policy: &Arc<PolicySet>| policy.hidden(name).is_some();
        (strange && self.enforces_pins) || self.policy.as_ref().is_some_and(hidden)
    }
}

/// The message without hidden tools, or `None` where nothing had to change.
///
/// # Errors
///
/// The scanner's [`Fault`] where the message might hold a list and cannot be read exactly.
pub fn filter(hiding: &Hiding, body: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    if !may_hold_tools(body) {
        return Ok(None);
    }
    let mut index = Index::default();
    let message = index.scan(body, &BOUNDS)?;
    let mut cuts = Vec::new();
    match message.kind() {
        Kind::Array => message
            .elements()
            .for_each(|one| filter_one(hiding, one, &mut cuts)),
        _ => filter_one(hiding, message, &mut cuts),
    }
    if cuts.is_empty() {
        return Ok(None);
    }
    cuts.sort_by_key(|cut| cut.range.start);
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for cut in cuts {
        out.extend_from_slice(body.get(at..cut.range.start).unwrap_or_default());
        out.extend_from_slice(cut.with);
        at = cut.range.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    Ok(Some(out))
}

struct Cut {
    range: Range<usize>,
    with: &'static [u8],
}

/// Whether any reader could find a `tools` key in these bytes: spelt plainly in any case, possibly with
/// escapes, or in an encoding other than UTF-8 (which has NUL bytes between ASCII letters).
pub(crate) fn may_hold_tools(body: &[u8]) -> bool {
    let reads = |at: usize| body.get(at.wrapping_sub(3)..at + 2);
    memchr2_iter(b'l', b'L', body)
        .any(|at| reads(at).is_some_and(|word| word.eq_ignore_ascii_case(b"tools")))
        // The long s, which some readers take for an s, and any escape that could stand for a letter.
        || memchr3_iter(0, b'\\', LONG_S[0], body).any(|at| {
            let rest = body.get(at..).unwrap_or_default();
            [b"\0".as_slice(), b"\\u0", LONG_S].iter().any(|sign| rest.starts_with(sign))
        })
}

const LONG_S: &[u8; 2] = b"\xc5\xbf";

fn filter_one(hiding: &Hiding, message: Value<'_>, cuts: &mut Vec<Cut>) {
    if message.kind() != Kind::Object {
        return;
    }
    for (key, part) in message.members() {
        let holds_lists = text_reads_as(key, "result") || text_reads_as(key, "params");
        if part.kind() == Kind::Object && holds_lists {
            filter_part(hiding, part, cuts);
        }
    }
}

fn filter_part(hiding: &Hiding, part: Value<'_>, cuts: &mut Vec<Cut>) {
    let mut lists = part
        .members()
        .filter(|(key, value)| value.kind() == Kind::Array && text_reads_as(*key, "tools"));
    let mut filtered = false;
    for (_, list) in lists.by_ref() {
        filtered = true;
        filter_tools(hiding, list, cuts);
    }
    if !filtered {
        return;
    }
    for (key, scope) in part.members() {
        if key.eq_str("cacheScope") && scope.text().is_none_or(|text| !text.eq_str("private")) {
            cuts.push(Cut {
                range: scope.start()..scope.end(),
                with: b"\"private\"",
            });
        }
    }
}

/// Cuts runs of hidden entries, each with one comma: the one after it, or, at the end of the list, the one
/// before it.
fn filter_tools(hiding: &Hiding, list: Value<'_>, cuts: &mut Vec<Cut>) {
    let entries: Vec<(Range<usize>, bool)> = list
        .elements()
        .map(|tool| (tool.start()..tool.end(), is_hidden(hiding, tool)))
        .collect();
    let mut last_kept_end = None;
    let mut run_start = None;
    for (range, hidden) in &entries {
        match (hidden, run_start) {
            (true, None) => run_start = Some(range.start),
            (false, Some(start)) => {
                cuts.push(Cut {
                    range: start..range.start,
                    with: b"",
                });
                run_start = None;
            }
            _ => {}
        }
        if !hidden {
            last_kept_end = Some(range.end);
        }
    }
    if let (Some(start), Some((last, _))) = (run_start, entries.last()) {
        cuts.push(Cut {
            range: last_kept_end.unwrap_or(start)..last.end,
            with: b"",
        });
    }
}

/// Whether the entry must go. One without a readable name must, and so must one of which readers could read two:
/// nothing can be decided about it.
fn is_hidden(hiding: &Hiding, tool: Value<'_>) -> bool {
    let mut names = tool
        .members()
        .filter(|(key, _)| text_reads_as(*key, "name"));
    match (names.next(), names.next()) {
        (Some((key, name)), None) if key.eq_str("name") => name
            .text()
            .is_none_or(|name| hiding.hides(&name.to_cow(), tool)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::may_hold_tools;

    /// The same question, asked of every place.
    fn holds_a_sign(body: &[u8]) -> bool {
        let plain = |word: &[u8]| word.eq_ignore_ascii_case(b"tools");
        body.windows(5).any(plain)
            || body.windows(2).any(|two| two == "\u{17f}".as_bytes())
            || body.windows(3).any(|three| three == b"\\u0")
            || body.contains(&0)
    }

    proptest! {
        #[test]
        fn no_sign_of_tools_is_missed(
            body in prop::collection::vec(prop::sample::select(b"tToOlLsS\\u0\xc5\xbf\0x".to_vec()), 0..12),
            word in prop::sample::select(vec!["", "tools", "TooLS", "too\u{17f}", "too", "ols", "\\u004f", "\\u1"]),
            at in any::<prop::sample::Index>(),
        ) {
            let (before, behind) = body.split_at(at.index(body.len() + 1));
            let body = [before, word.as_bytes(), behind].concat();
            // Without the byte that is a sign by itself, so that words decide.
            let quiet: Vec<u8> = body.iter().copied().filter(|byte| *byte != 0).collect();
            for body in [body, quiet] {
                prop_assert_eq!(may_hold_tools(&body), holds_a_sign(&body));
            }
        }
    }
}
