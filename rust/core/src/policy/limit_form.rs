//! Limits as written: numbers are still what the author wrote, units come when quotas are made.

use super::condition::ArgPath;
use super::diagnostic::{Code, Diagnostic, Problems, quote};
use super::document::read_mode;
use super::rule_form::read_single_path;
use super::shape::{Cursor, Object};
use super::tree::{Data, Place, push_key};
use super::window::{self, MOST_SECONDS};
use super::{Mode, Scope};
use crate::decimal::Decimal;
use crate::limit::Window;
use crate::time::Nanos;

/// Keys of a limit.
pub(super) const LIMIT_KEYS: &[&str] = &[
    "counter",
    "max",
    "window",
    "scope",
    "algorithm",
    "burst",
    "cost",
    "increment_from",
    "scale",
    "key",
    "on_deny",
    "mode",
    "description",
];
/// Keys of the short form.
pub(super) const RATE_KEYS: &[&str] = &["max", "window"];
pub(super) const SCOPES: &[(&str, Scope)] = &[
    ("grant", Scope::Grant),
    ("session", Scope::Session),
    ("server", Scope::Server),
    ("global", Scope::Global),
];
pub(super) const KINDS: &[(&str, Kind)] = &[
    ("fixed_window", Kind::Fixed),
    ("sliding_window", Kind::Sliding),
    ("token_bucket", Kind::Bucket),
    ("concurrency", Kind::Concurrency),
];
/// Most decimals of a cost.
pub(super) const MOST_DECIMALS: u8 = 9;

/// The algorithm by name, before it has numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    #[default]
    Fixed,
    Sliding,
    Bucket,
    Concurrency,
}

/// What a call costs, as written.
#[derive(Clone)]
pub(super) enum CostForm {
    Constant(Decimal),
    Arg(ArgPath),
}

impl Default for CostForm {
    fn default() -> Self {
        Self::Constant(Decimal::from_units(1, 0))
    }
}

/// A limit as written.
pub(super) struct LimitForm {
    pub(super) pointer: String,
    pub(super) place: Place,
    pub(super) counter: String,
    pub(super) max: Spot<Decimal>,
    /// Absent for concurrency.
    pub(super) window: Option<(Window, String)>,
    pub(super) scope: Spot<Scope>,
    pub(super) key: Option<ArgPath>,
    pub(super) kind: Spot<Kind>,
    pub(super) burst: Option<Spot<Decimal>>,
    pub(super) cost: Spot<CostForm>,
    pub(super) scale: Option<Spot<u8>>,
    pub(super) on_deny: Option<String>,
    pub(super) mode: Mode,
    /// Written as `rate_limit`.
    pub(super) short: bool,
}

/// A value and where it was written, or where the limit was, if the value is a default.
pub(super) struct Spot<T> {
    pub(super) value: T,
    /// The key it is the value of; empty for a default.
    key: &'static str,
    pub(super) place: Place,
}

impl<T> Spot<T> {
    fn of(cursor: &Cursor<'_>, key: &'static str, value: T) -> Self {
        Self {
            value,
            key,
            place: cursor.place(),
        }
    }
}

impl LimitForm {
    /// Reports at one of its values.
    pub(super) fn report<T>(&self, spot: &Spot<T>, problems: &mut Problems, found: Diagnostic) {
        let mut pointer = self.pointer.clone();
        if !spot.key.is_empty() {
            push_key(&mut pointer, spot.key);
        }
        problems.add(found.at(pointer, spot.place));
    }

    pub(super) fn read(cursor: &Cursor<'_>, above: Mode, problems: &mut Problems) -> Option<Self> {
        let object = cursor.object(LIMIT_KEYS, problems)?;
        let mode = read_mode(&object, above, problems);
        let on_deny = object.text("on_deny", problems);
        object.text("description", problems);
        let counter = object
            .require("counter", problems)
            .and_then(|counter| counter.name("the counter", problems));
        let max = object
            .require("max", problems)
            .and_then(|max| read_max(&max, problems));
        let kind = read_choice(&object, "algorithm", KINDS, problems);
        // Judged only where the algorithm is readable: a guess would add problems of its own.
        let window = kind
            .as_ref()
            .map(|kind| read_window(&object, kind.value, problems));
        let burst = match &kind {
            Some(kind) => read_burst(&object, kind.value, problems),
            None => None,
        };
        let scope = read_choice(&object, "scope", SCOPES, problems);
        let key = object
            .get("key")
            .map(|key| read_single_path(&key, problems));
        let cost = read_cost(&object, problems);
        let scale = read_scale(&object, cost.as_ref(), problems);
        let window = match window? {
            Some(window) => Some(window?),
            None => None,
        };
        Some(Self {
            pointer: object.pointer(),
            place: cursor.place(),
            counter: counter?.to_owned(),
            max: max?,
            window,
            scope: scope?,
            key: match key {
                Some(key) => Some(key?),
                None => None,
            },
            kind: kind?,
            burst,
            cost: cost?,
            scale,
            on_deny,
            mode,
            short: false,
        })
    }
}

/// A word, or its default where the key is absent.
fn read_choice<T: Copy + Default>(
    object: &Object<'_>,
    key: &'static str,
    words: &[(&str, T)],
    problems: &mut Problems,
) -> Option<Spot<T>> {
    match object.get(key) {
        Some(cursor) => cursor
            .choice(words, problems)
            .map(|value| Spot::of(&cursor, key, value)),
        None => Some(Spot::of(object.cursor, "", T::default())),
    }
}

fn read_max(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<Spot<Decimal>> {
    let max = cursor.number(problems)?;
    if max.is_negative() {
        let message = format!("a max of {max} is less than nothing");
        cursor.report(
            problems,
            Diagnostic::new(Code::BadNumber, message).help("0 admits nothing"),
        );
        return None;
    }
    Some(Spot::of(cursor, "max", max))
}

/// `Some(None)` where a window is wanted and cannot be had; `None` where none is wanted.
#[expect(
    clippy::option_option,
    reason = "unwanted and unreadable differ, and both end here"
)]
fn read_window(
    object: &Object<'_>,
    kind: Kind,
    problems: &mut Problems,
) -> Option<Option<(Window, String)>> {
    if kind == Kind::Concurrency {
        if object.has("window") {
            let message = "`concurrency` counts calls under way and has no window";
            let diagnostic =
                Diagnostic::new(Code::ConflictingKeys, message).help("remove `window`");
            object.report_key("window", problems, diagnostic);
            return Some(None);
        }
        return None;
    }
    let Some(cursor) = object.require("window", problems) else {
        return Some(None);
    };
    if let Data::Number(seconds) = &cursor.node.data {
        let help = format!("put the unit behind it: `\"{seconds}s\"`");
        cursor.wrong_type("a string", Some(help), problems);
        return Some(None);
    }
    let text = cursor.text(problems);
    let Some(text) = text else {
        return Some(None);
    };
    match window::parse(text) {
        Ok(Window::Month) if kind != Kind::Fixed => {
            let message = "a month is no fixed length of time";
            let help = "use `30d`, or the algorithm `fixed_window`";
            cursor.report(
                problems,
                Diagnostic::new(Code::BadWindow, message).help(help),
            );
            Some(None)
        }
        Ok(window) => Some(Some((window, text.to_owned()))),
        Err(diagnostic) => {
            cursor.report(problems, diagnostic);
            Some(None)
        }
    }
}

fn read_burst(object: &Object<'_>, kind: Kind, problems: &mut Problems) -> Option<Spot<Decimal>> {
    let cursor = object.get("burst")?;
    if kind != Kind::Bucket {
        let message = "`burst` has a meaning for `token_bucket` only";
        let help = "add `\"algorithm\": \"token_bucket\"`, or remove `burst`";
        let diagnostic = Diagnostic::new(Code::ConflictingKeys, message).help(help);
        object.report_key("burst", problems, diagnostic);
        return None;
    }
    cursor
        .number(problems)
        .map(|burst| Spot::of(&cursor, "burst", burst))
}

fn read_cost(object: &Object<'_>, problems: &mut Problems) -> Option<Spot<CostForm>> {
    if object.has("cost") && object.has("increment_from") {
        let message = "`increment_from` is another name of `cost`; both stand here";
        let diagnostic = Diagnostic::new(Code::ConflictingKeys, message).help("remove one of them");
        object.report_key("increment_from", problems, diagnostic);
        return None;
    }
    let key = if object.has("increment_from") {
        "increment_from"
    } else {
        "cost"
    };
    let Some(cursor) = object.get(key) else {
        return Some(Spot::of(object.cursor, "", CostForm::default()));
    };
    match &cursor.node.data {
        Data::Text { .. } => read_single_path(&cursor, problems)
            .map(|path| Spot::of(&cursor, key, CostForm::Arg(path))),
        Data::Number(_) => {
            let cost = cursor.number(problems)?;
            if cost <= Decimal::ZERO {
                let message = format!("a cost of {cost} never counts");
                let help = "the least cost is above 0; calls without a limit cost nothing";
                cursor.report(
                    problems,
                    Diagnostic::new(Code::BadNumber, message).help(help),
                );
                return None;
            }
            if cost.decimals() > MOST_DECIMALS {
                let message = format!("{cost} has more than {MOST_DECIMALS} decimals");
                cursor.report(problems, Diagnostic::new(Code::BadNumber, message));
                return None;
            }
            Some(Spot::of(&cursor, key, CostForm::Constant(cost)))
        }
        _ => {
            cursor.wrong_type("a number or an argument path", None, problems);
            None
        }
    }
}

fn read_scale(
    object: &Object<'_>,
    cost: Option<&Spot<CostForm>>,
    problems: &mut Problems,
) -> Option<Spot<u8>> {
    let cursor = object.get("scale")?;
    if matches!(cost.map(|cost| &cost.value), Some(CostForm::Constant(_))) {
        let message = "`scale` has a meaning only where `cost` is an argument";
        let diagnostic = Diagnostic::new(Code::ConflictingKeys, message).help("remove `scale`");
        object.report_key("scale", problems, diagnostic);
        return None;
    }
    let scale = cursor.whole(0, problems)?;
    match u8::try_from(scale) {
        Ok(scale) if scale <= MOST_DECIMALS => Some(Spot::of(&cursor, "scale", scale)),
        _ => {
            let message = format!("a scale of {scale} is more than {MOST_DECIMALS} decimals");
            cursor.report(problems, Diagnostic::new(Code::BadNumber, message));
            None
        }
    }
}

/// The short form: an object of `max` and `window` in seconds, or text such as `10/minute`. Counted a session,
/// in fixed windows, under the name of the entry.
pub(super) fn rate_limit(
    cursor: &Cursor<'_>,
    entry: &str,
    above: Mode,
    problems: &mut Problems,
) -> Option<LimitForm> {
    let (max, window, text) = match &cursor.node.data {
        Data::Text { text, .. } => {
            let Some((max, window)) = text.split_once('/') else {
                let message = format!("{} is not a rate", quote(text));
                let diagnostic = Diagnostic::new(Code::BadRate, message).help(RATE_HELP);
                cursor.report(problems, diagnostic);
                return None;
            };
            let count = Decimal::parse(max.as_bytes())
                .ok()
                .filter(|count| !count.is_negative());
            let Some(count) = count else {
                let message = format!("{} is not a number of calls", quote(max));
                let diagnostic = Diagnostic::new(Code::BadRate, message).help(RATE_HELP);
                cursor.report(problems, diagnostic);
                return None;
            };
            match window::parse(window) {
                Ok(parsed) => (Spot::of(cursor, "", count), parsed, window.to_owned()),
                Err(diagnostic) => {
                    cursor.report(problems, diagnostic);
                    return None;
                }
            }
        }
        Data::Map(_) => {
            let object = cursor.object(RATE_KEYS, problems)?;
            let max = object
                .require("max", problems)
                .and_then(|max| read_max(&max, problems));
            let window = object
                .require("window", problems)
                .and_then(|w| read_seconds(&w, problems));
            let seconds = window?;
            (
                max?,
                Window::Span(seconds * Nanos::SECOND),
                format!("{seconds}s"),
            )
        }
        _ => {
            let help = Some(RATE_HELP.to_owned());
            cursor.wrong_type("an object or a string", help, problems);
            return None;
        }
    };
    Some(LimitForm {
        pointer: cursor.at.pointer(),
        place: cursor.place(),
        counter: format!("{entry}_rate_limit"),
        max,
        window: Some((window, text)),
        scope: Spot::of(cursor, "", Scope::Session),
        key: None,
        kind: Spot::of(cursor, "", Kind::Fixed),
        burst: None,
        cost: Spot::of(cursor, "", CostForm::default()),
        scale: None,
        on_deny: None,
        mode: above,
        short: true,
    })
}

const RATE_HELP: &str =
    "write `\"10/minute\"`, or `{\"max\": 10, \"window\": 60}` with the window in seconds";

fn read_seconds(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<u64> {
    if let Data::Text { .. } = cursor.node.data {
        let help = "the window of `rate_limit` is a number of seconds";
        cursor.wrong_type("a number", Some(help.to_owned()), problems);
        return None;
    }
    let seconds = cursor.whole(1, problems)?;
    if seconds > MOST_SECONDS {
        let message = format!("a window of {seconds} s is longer than 366 days");
        cursor.report(problems, Diagnostic::new(Code::BadWindow, message));
        return None;
    }
    Some(seconds)
}
