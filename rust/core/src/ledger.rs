//! Where decisions are recorded, and what is kept of a message for that.
//!
//! INVARIANT: of a message nothing is kept but the names of its arguments, the values of those that the owner named,
//! and its trace; and what is kept is bounded, however long the message is.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::caller::Caller;
use crate::decision::Decision;
use crate::json::Value;
use crate::message::Message;
use crate::time::Nanos;
use crate::trace::{Parent, Span, Tracing};

/// What names of arguments may take in all.
const KEYS_BYTES: usize = 768;

/// What a value of an argument may take, as it is spelt; longer ones are not kept.
const VALUE_BYTES: usize = 512;

/// How many values are kept at most.
const VALUES: usize = 8;

/// A record of decisions.
pub trait Ledger: fmt::Debug + Send + Sync {
    /// Takes so much room; false where that is not to be had.
    fn reserve(&self, bytes: usize) -> bool;

    /// Gives so much room back.
    fn release(&self, bytes: usize);

    /// Whether what cannot be recorded is not allowed.
    fn is_required(&self) -> bool;

    /// Names of the arguments whose values are recorded.
    fn arguments(&self) -> &[String];

    /// What makes the spans of messages; `None` where nothing is traced.
    fn tracing(&self) -> Option<&Tracing> {
        None
    }

    /// Takes what became of a message.
    fn record(&self, entry: Entry);
}

/// Room in a ledger, given back when this is dropped.
#[derive(Debug)]
pub struct Permit {
    ledger: Arc<dyn Ledger>,
    bytes: usize,
}

impl Permit {
    /// Room for so many bytes, if there is as much.
    #[must_use]
    pub fn take(ledger: &Arc<dyn Ledger>, bytes: usize) -> Option<Self> {
        ledger.reserve(bytes).then(|| Self {
            ledger: ledger.clone(),
            bytes,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.ledger.release(self.bytes);
    }
}

/// What was decided of a message, and what became of it.
#[derive(Debug)]
pub struct Entry {
    /// The decision; with its parts, where it is of an array.
    pub decision: Arc<Decision>,
    /// Who asked.
    pub caller: Arc<Caller>,
    /// When it was decided.
    pub at: Nanos,
    /// Nanoseconds that took.
    pub decide_ns: u64,
    /// What became of it, if it was allowed.
    pub end: End,
}

/// What became of an allowed message.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// The server's status, if it answered over HTTP.
    pub status: Option<u16>,
    /// Nanoseconds from the decision's beginning to the end of the answer.
    pub took_ns: Option<u64>,
    /// The slug of what kept it from being served.
    pub fault: Option<Box<str>>,
}

/// The value of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As it was spelt, JSON.
    Value(Box<str>),
    /// Only how many bytes it was.
    Length(usize),
}

/// What is kept of a message for the record.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    keys: String,
    ends: SmallVec<[u16; 8]>,
    /// How many more arguments there are, whose names are too long or too many.
    pub more_keys: u32,
    /// Arguments whose values were asked for: the number of the name, and the value.
    pub values: Vec<(usize, Kept)>,
    /// The span that its sender says it belongs to.
    pub parent: Option<Parent>,
    /// The span that stands for it here, where there is tracing.
    pub span: Option<Span>,
}

impl Noted {
    /// What is to be kept of this message.
    ///
    /// # Arguments
    ///
    /// `arguments` is the object whose members are its arguments, `wanted` names those of which the value is kept,
    /// `parent` is the header `traceparent`.
    #[must_use]
    pub fn of(
        message: &Message<'_>,
        arguments: Option<Value<'_>>,
        wanted: &[String],
        parent: Option<&[u8]>,
    ) -> Self {
        let mut noted = Self::default();
        let own = message.meta.and_then(|meta| meta.get("traceparent"));
        let own = own.and_then(Value::text).map(|text| text.raw().as_bytes());
        noted.parent = parent
            .and_then(Parent::read)
            .or_else(|| own.and_then(Parent::read));
        let Some(arguments) = arguments else {
            return noted;
        };
        for (key, value) in arguments.members() {
            let name = key.to_cow();
            if name == "_meta" && message.arguments.is_none() {
                continue;
            }
            noted.keep_key(&name);
            if wanted.is_empty() {
                continue;
            }
            if let Some(number) = wanted.iter().position(|wanted| *wanted == name) {
                noted.keep_value(number, value);
            }
        }
        noted
    }

    fn keep_key(&mut self, name: &str) {
        let end = self.keys.len() + name.len();
        match u16::try_from(end) {
            // The shortest of names cost something as well.
            Ok(short) if end + 4 * self.ends.len() <= KEYS_BYTES => {
                self.keys.push_str(name);
                self.ends.push(short);
            }
            _ => self.more_keys = self.more_keys.saturating_add(1),
        }
    }

    fn keep_value(&mut self, number: usize, value: Value<'_>) {
        if self.values.len() < VALUES {
            let spelt = value.source();
            let kept = if spelt.len() <= VALUE_BYTES {
                Kept::Value(spelt.into())
            } else {
                Kept::Length(spelt.len())
            };
            self.values.push((number, kept));
        }
    }

    /// The names that were kept, decoded, in the order of the message.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let mut from = 0;
        self.ends.iter().map(move |end| {
            let end = usize::from(*end);
            let key = self.keys.get(from..end).unwrap_or_default();
            from = end;
            key
        })
    }

    /// Trace id and span id, 32 and 16 hexadecimal digits: of the span that stands for the message here, else of the
    /// one that its sender names.
    #[must_use]
    pub fn ids(&self) -> Option<([u8; 32], [u8; 16])> {
        let own = self.span.as_ref().map(|span| (span.trace, span.id));
        own.or_else(|| self.parent.map(|parent| (parent.trace, parent.id)))
    }

    /// About how much memory it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let values = self.values.iter().map(|(_, kept)| match kept {
            Kept::Value(spelt) => spelt.len(),
            Kept::Length(_) => 0,
        });
        size_of::<Self>() + self.keys.len() + values.sum::<usize>()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::json::{Bounds, Index};
    use crate::message;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn noted(body: &str, wanted: &[&str], parent: Option<&str>) -> Noted {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let mut index = Index::default();
        let value = index.scan(body.as_bytes(), &Bounds::default());
        let message = value.map(message::read);
        let Ok(Ok(message)) = message else {
            return Noted::default();
        };
        let root = message.arguments.or(message.params);
        Noted::of(&message, root, &wanted, parent.map(str::as_bytes))
    }

    fn call(arguments: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
        )
    }

    #[test]
    fn names_are_kept_decoded_and_values_are_not() {
        let noted = noted(&call(r#"{"\u0062id":"s3cret","a":{"b":1}}"#), &[], None);
        assert_eq!(noted.keys().collect::<Vec<_>>(), ["bid", "a"]);
        assert!(noted.values.is_empty());
        assert!(!format!("{noted:?}").contains("s3cret"));
    }

    #[test]
    fn values_that_were_asked_for_are_kept_as_they_are_spelt() {
        let long = "x".repeat(VALUE_BYTES);
        let body = call(&format!(r#"{{"a": [1, 2.50], "b":"{long}", "c":3}}"#));
        let noted = noted(&body, &["b", "a"], None);
        let expected = [
            (1, Kept::Value("[1, 2.50]".into())),
            (0, Kept::Length(VALUE_BYTES + 2)),
        ];
        assert_eq!(noted.values, expected);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let members: Vec<String> = (0..2000).map(|n| format!(r#""{n}":{n}"#)).collect();
        let noted = noted(&call(&format!("{{{}}}", members.join(","))), &[], None);
        assert_eq!(noted.keys().count() + noted.more_keys as usize, 2000);
        assert!(noted.keys().map(str::len).sum::<usize>() <= KEYS_BYTES);
        assert!(noted.weight() < 4 * KEYS_BYTES);
    }

    #[test]
    fn other_messages_arguments_are_their_parameters() {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///x","_meta":{}}}"#;
        assert_eq!(noted(body, &[], None).keys().collect::<Vec<_>>(), ["uri"]);
    }

    #[test]
    fn a_trace_is_the_headers_or_the_messages() {
        let ids = Some((
            b"0af7651916cd43dd8448eb211c80319c".to_owned(),
            b"b7ad6b7169203331".to_owned(),
        ));
        assert_eq!(noted(&call("{}"), &[], Some(PARENT)).ids(), ids);
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","_meta":{{"traceparent":"{PARENT}"}}}}}}"#
        );
        assert_eq!(noted(&body, &[], None).ids(), ids);
        assert_eq!(noted(&body, &[], Some("nonsense")).ids(), ids);
        assert_eq!(noted(&call("{}"), &[], Some("nonsense")).ids(), None);
    }
}
