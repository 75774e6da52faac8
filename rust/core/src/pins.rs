//! Pinned definitions: which tools are as someone has read them.
//!
//! A definition reaches an agent in a list, so lists are where it is compared: an entry that is not as it is pinned is
//! taken out, and remembered, and calls of its tool are refused until a list shows it as it was. A tool that is not
//! pinned is refused from the start. One that is pinned and was in no list yet may be called: who calls it knows it by
//! the definition that was read.
//!
//! Each worker process sees only the lists that pass through it, and a client's calls may pass through any. So what
//! was seen is remembered in the limit table, which they share and which outlives them; only what finds no room there
//! is remembered here.
//!
//! INVARIANT: what is remembered is a part of what is pinned, so no server can make it grow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::canonical::{DefinitionDigest, definition_digest};
use crate::json::{Index, Kind, Value};
use crate::limit::{LimitTable, QuotaKey};
use crate::listing::BOUNDS;
use crate::policy::quote;

/// What is neither listed nor called for so long is forgotten, as if it had not been listed yet: 30 days.
const REMEMBERED_NS: u64 = 30 * 24 * 3600 * 1_000_000_000;

/// The version of the lock that is read.
const VERSION: &str = "1";

/// What is done about a tool that is not as it is pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PinMode {
    /// It is hidden, and calls of it are refused.
    #[default]
    Enforce,
    /// It is told.
    Warn,
}

/// Why a lock cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockError(String);

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The pinned tools of one server, and what was last seen of them.
#[derive(Debug)]
pub struct Pins {
    server: Box<str>,
    mode: PinMode,
    pinned: BTreeMap<Box<str>, DefinitionDigest>,
    seen: RwLock<Seen>,
    table: OnceLock<Arc<LimitTable>>,
}

/// What lists have shown.
#[derive(Debug, Default)]
struct Seen {
    /// Pinned tools whose definition was last another, and of which the table does not know.
    changed: BTreeSet<Box<str>>,
    /// How many entries that are not pinned, or changed, were in lists.
    entries: u64,
}

impl Pins {
    /// Reads the part of a lock that is a server's.
    ///
    /// # Errors
    ///
    /// [`LockError`] where it is no lock, or has no such server.
    pub fn parse(source: &[u8], server: &str, mode: PinMode) -> Result<Self, LockError> {
        let mut index = Index::default();
        let document = index
            .scan(source, &BOUNDS)
            .map_err(|fault| LockError(fault.to_string()))?;
        let version = document.get("version").and_then(Value::text);
        if !version.is_some_and(|version| version.eq_str(VERSION)) {
            return Err(LockError(format!("`version` is not `\"{VERSION}\"`")));
        }
        let servers = member(document, "servers")?;
        let Some(own) = servers.get(server) else {
            let others: Vec<_> = servers
                .members()
                .map(|(key, _)| quote(&key.to_cow()))
                .collect();
            return Err(LockError(format!(
                "no server {} is pinned, only {}",
                quote(server),
                if others.is_empty() {
                    "none".to_owned()
                } else {
                    others.join(", ")
                }
            )));
        };
        let mut pinned = BTreeMap::new();
        for (name, tool) in member(own, "tools")?.members() {
            let name = name.to_cow();
            let digest = tool.get("digest").and_then(Value::text);
            let digest = digest.and_then(|text| digest_from(&text.to_cow()));
            let digest = digest
                .ok_or_else(|| LockError(format!("the tool {} has no digest", quote(&name))))?;
            pinned.insert(name.into(), digest);
        }
        Ok(Self {
            server: server.into(),
            mode,
            pinned,
            seen: RwLock::default(),
            table: OnceLock::new(),
        })
    }

    /// Remembers in this table from now on, and knows what others have seen. The first table stays.
    pub fn share(&self, table: &Arc<LimitTable>) {
        self.table.get_or_init(|| table.clone());
    }

    /// Takes over what lists have shown while another lock was in force: what was not as pinned then, and is pinned
    /// likewise now, is still not as pinned.
    pub fn succeed(&self, before: &Self) {
        let past = before.seen.read().unwrap_or_else(PoisonError::into_inner);
        let same = |name: &str| self.pinned.get(name) == before.pinned.get(name);
        let changed = past.changed.iter().filter(|name| same(name));
        let changed = changed.cloned().collect();
        let entries = past.entries;
        self.write(|seen| *seen = Seen { changed, entries });
    }

    /// What is done about a tool that is not as it is pinned.
    #[must_use]
    pub fn mode(&self) -> PinMode {
        self.mode
    }

    /// Whether a tool may be called: it is pinned, and was in no list with another definition.
    #[must_use]
    pub fn admits(&self, name: &str) -> bool {
        self.pinned
            .get(name)
            .is_some_and(|pinned| !self.is_changed(name, pinned))
    }

    /// Compares an entry of a list, and remembers it. True if it is as it is pinned.
    pub fn see(&self, name: &str, definition: Value<'_>) -> bool {
        let Some(pinned) = self.pinned.get(name) else {
            self.write(|seen| seen.entries += 1);
            return false;
        };
        let same = *pinned == definition_digest(definition);
        if !same {
            let told = self.tell(pinned);
            self.write(|seen| {
                seen.entries += 1;
                if !told {
                    seen.changed.insert(name.into());
                }
            });
        } else if self.is_changed(name, pinned) {
            if let Some((table, key)) = self.shared(pinned) {
                table.unbind(key);
            }
            self.write(|seen| {
                seen.changed.remove(name);
            });
        }
        same
    }

    /// Pinned tools whose definition was another when they were last listed.
    #[must_use]
    pub fn changed(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, pinned) in &self.pinned {
            if self.is_changed(name, pinned) {
                found.push(name.to_string());
            }
        }
        found
    }

    fn is_changed(&self, name: &str, pinned: &DefinitionDigest) -> bool {
        let shared = self.shared(pinned);
        shared.is_some_and(|(table, key)| table.owner(key, table.floor()).is_some())
            || self
                .seen
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .changed
                .contains(name)
    }

    /// Notes for everybody that a definition is not the pinned one; false where there is no room to.
    fn tell(&self, pinned: &DefinitionDigest) -> bool {
        self.shared(pinned)
            .is_some_and(|(table, key)| table.bind(key, 0, 0, table.floor(), REMEMBERED_NS).is_ok())
    }

    /// Where it is remembered that a definition is not the pinned one. The key is made of what was pinned, so that
    /// whoever pins another starts anew.
    fn shared(&self, pinned: &DefinitionDigest) -> Option<(&LimitTable, QuotaKey)> {
        let table = self.table.get()?;
        Some((table, table.binding_key("changed", &self.server, pinned)))
    }

    /// How many entries of lists were not as pinned so far.
    #[must_use]
    pub fn strange(&self) -> u64 {
        self.seen
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .entries
    }

    fn write(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn member<'a>(value: Value<'a>, key: &str) -> Result<Value<'a>, LockError> {
    value
        .get(key)
        .filter(|found| found.kind() == Kind::Object)
        .ok_or_else(|| LockError(format!("`{key}` is missing, or no object")))
}

fn digest_from(text: &str) -> Option<DefinitionDigest> {
    let mut digest = DefinitionDigest::default();
    // `from_str_radix` takes a sign for a digit.
    if text.len() != 2 * digest.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![expect(clippy::expect_used, reason = "a test")]

    use super::*;
    use crate::canonical::{digest_of, hexadecimal};

    const TOOL: &str = r#"{"name":"a","description":"Get."}"#;

    fn lock(tool: &str) -> Vec<u8> {
        let digest = hexadecimal(&digest_of(tool.as_bytes()).expect("is read"));
        format!(
            r#"{{"version":"1","servers":{{"s":{{"tools":{{"a":{{"digest":"{digest}","parts":{{}}}}}}}}}}}}"#
        )
        .into_bytes()
    }

    fn see(pins: &Pins, name: &str, tool: &str) -> bool {
        let mut index = Index::default();
        pins.see(name, index.scan(tool.as_bytes(), &BOUNDS).expect("is read"))
    }

    #[test]
    fn a_tool_is_called_as_long_as_it_is_as_pinned() {
        let pins = Pins::parse(&lock(TOOL), "s", PinMode::Enforce).expect("is a lock");
        assert!(pins.admits("a"));
        assert!(!pins.admits("b"));
        assert!(see(
            &pins,
            "a",
            r#"{"description":"Get.","name":"a","_meta":{}}"#
        ));
        assert!(!see(
            &pins,
            "a",
            r#"{"name":"a","description":"Get. And send."}"#
        ));
        assert!(!pins.admits("a"));
        assert_eq!(pins.changed(), ["a"]);
        assert!(!see(&pins, "b", r#"{"name":"b"}"#));
        assert_eq!((pins.changed().len(), pins.strange()), (1, 2));
        assert!(see(&pins, "a", TOOL));
        assert!(pins.admits("a"));
        assert!(pins.changed().is_empty());
    }

    #[test]
    fn what_one_worker_sees_all_of_them_know() {
        let table = Arc::new(LimitTable::anonymous(64).expect("is made"));
        let worker = |tool| {
            let pins = Pins::parse(&lock(tool), "s", PinMode::Enforce).expect("is a lock");
            pins.share(&table);
            pins
        };
        let other = r#"{"name":"a","description":"Get. And send."}"#;
        let (one, two) = (worker(TOOL), worker(TOOL));
        assert!(!see(&one, "a", other));
        let later = worker(TOOL);
        for pins in [&one, &two, &later] {
            assert!(!pins.admits("a"));
            assert_eq!(pins.changed(), ["a"]);
        }
        assert!(worker(other).admits("a"), "another definition is pinned");
        let elsewhere = Pins::parse(
            &String::from_utf8_lossy(&lock(TOOL))
                .replace("\"s\"", "\"t\"")
                .into_bytes(),
            "t",
            PinMode::Enforce,
        )
        .expect("is a lock");
        elsewhere.share(&table);
        assert!(elsewhere.admits("a"), "it is another server's");
        assert!(see(&two, "a", TOOL));
        assert!([&one, &two, &later].iter().all(|pins| pins.admits("a")));
    }

    #[test]
    fn a_table_without_room_makes_nobody_forget() {
        let table = Arc::new(LimitTable::anonymous(64).expect("is made"));
        let now = crate::time::Nanos(1);
        for at in 0..1_000_u32 {
            let key = table.binding_key("session", "s", &at.to_le_bytes());
            let _ = table.bind(key, 1, 0, now, u64::MAX);
        }
        let pins = Pins::parse(&lock(TOOL), "s", PinMode::Enforce).expect("is a lock");
        pins.share(&table);
        assert!(!see(&pins, "a", r#"{"name":"a","description":"Else."}"#));
        assert!(!pins.admits("a"));
        assert!(see(&pins, "a", TOOL));
        assert!(pins.admits("a"));
    }

    #[test]
    fn another_lock_forgets_only_what_it_accepts() {
        let before = Pins::parse(&lock(TOOL), "s", PinMode::Enforce).expect("is a lock");
        let other = r#"{"name":"a","description":"Get. And send."}"#;
        assert!(!see(&before, "a", other));
        for (pinned, admitted) in [(TOOL, false), (other, true)] {
            let after = Pins::parse(&lock(pinned), "s", PinMode::Enforce).expect("is a lock");
            after.succeed(&before);
            assert_eq!(after.admits("a"), admitted);
            assert_eq!(after.strange(), 1);
        }
    }

    #[test]
    fn what_is_no_lock_is_not_used() {
        let digest = "0".repeat(63);
        for (source, why) in [
            (String::new(), ""),
            ("{}".to_owned(), "`version`"),
            (r#"{"version":"2","servers":{}}"#.to_owned(), "`version`"),
            (r#"{"version":"1","servers":[]}"#.to_owned(), "`servers`"),
            (r#"{"version":"1","servers":{}}"#.to_owned(), "only none"),
            (
                r#"{"version":"1","servers":{"t":{"tools":{}}}}"#.to_owned(),
                "no server `s` is pinned, only `t`",
            ),
            (
                r#"{"version":"1","servers":{"s":{}}}"#.to_owned(),
                "`tools`",
            ),
            (
                format!(
                    r#"{{"version":"1","servers":{{"s":{{"tools":{{"a":{{"digest":"{digest}"}}}}}}}}}}"#
                ),
                "the tool `a` has no digest",
            ),
            (
                r#"{"version":"1","version":"1","servers":{"s":{"tools":{}}}}"#.to_owned(),
                "",
            ),
        ] {
            let error = Pins::parse(source.as_bytes(), "s", PinMode::Enforce).expect_err(&source);
            assert!(error.to_string().contains(why), "{source}: {error}");
        }
    }

    #[test]
    fn a_digest_is_sixty_four_hexadecimal_digits() {
        let lock = String::from_utf8(lock(TOOL)).expect("is text");
        let digest = hexadecimal(&digest_of(TOOL.as_bytes()).expect("is read"));
        for other in [
            digest[1..].to_owned(),
            format!("{digest}0"),
            format!("{digest}00"),
            format!("+{}", &digest[1..]),
            format!("é{}", &digest[2..]),
        ] {
            let source = lock.replace(&digest, &other);
            let error = Pins::parse(source.as_bytes(), "s", PinMode::Enforce).expect_err(&other);
            assert!(error.to_string().contains("has no digest"), "{other}");
        }
    }
}
