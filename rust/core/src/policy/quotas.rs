//! From limits as written to quotas: which of them share a count, and how many units each may use.
//!
//! INVARIANT: limits of one (counter, window, scope, key) share one quota with one algorithm, one cost and one
//! scale, and every max fits the count field of its algorithm, so that nothing can overflow while counting.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::condition::ArgPath;
use super::diagnostic::{Code, Diagnostic, Problems, quote};
use super::limit_form::{CostForm, Kind, LimitForm};
use super::{Cost, Quota, Scope};
use crate::decimal::{Decimal, UnitError};
use crate::limit::{Algorithm, Counting, Window, count_capacity};
use crate::ratelimit::Wording;

/// A quota by name.
#[derive(PartialEq, Eq, Hash)]
struct Name {
    counter: String,
    window: Option<Window>,
    scope: Scope,
    key: Option<ArgPath>,
}

/// All limits of a document, grouped.
#[derive(Default)]
pub(super) struct Groups<'f> {
    by_name: HashMap<Name, usize>,
    groups: Vec<Vec<&'f LimitForm>>,
}

impl<'f> Groups<'f> {
    /// Puts a limit with those that share its count, and says which group that is.
    pub(super) fn add(&mut self, form: &'f LimitForm) -> usize {
        let name = Name {
            counter: form.counter.clone(),
            window: form.window.as_ref().map(|(window, _)| *window),
            scope: form.scope.value,
            key: form.key.clone(),
        };
        let group = *self.by_name.entry(name).or_insert_with(|| {
            self.groups.push(Vec::new());
            self.groups.len() - 1
        });
        if let Some(group) = self.groups.get_mut(group) {
            group.push(form);
        }
        group
    }

    /// Puts each group in the order of the document, so that it is the later place that is at odds.
    pub(super) fn sort(&mut self) {
        for group in &mut self.groups {
            group.sort_by_key(|form| form.place);
        }
    }

    /// One quota per group, by its number; `None` where one has a problem, with those of all reported.
    pub(super) fn compile(&self, problems: &mut Problems) -> Option<Vec<Quota>> {
        let quotas: Vec<Option<Quota>> = self
            .groups
            .iter()
            .zip(0..)
            .map(|(group, id)| compile_group(group, id, problems))
            .collect();
        quotas.into_iter().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[&'f LimitForm]> {
        self.groups.iter().map(Vec::as_slice)
    }
}

fn compile_group(group: &[&LimitForm], label: u32, problems: &mut Problems) -> Option<Quota> {
    let (first, others) = group.split_first()?;
    let mut agreed = true;
    for other in others {
        agreed &= agree(first, other, problems);
    }
    if !agreed {
        return None;
    }
    let scale = scale(group, first);
    let algorithm = algorithm(first, scale, problems)?;
    let capacity = count_capacity(algorithm);
    for form in group {
        if floor_units(form.max.value, scale).is_none_or(|units| units > capacity) {
            too_large(form, scale, capacity, problems);
            return None;
        }
    }
    let cost = match &first.cost.value {
        CostForm::Constant(cost) => Cost::Units(cost.to_units(scale).ok()?),
        CostForm::Arg(path) => Cost::Arg(path.clone()),
    };
    Some(Quota {
        wording: Wording::of(&first.counter, algorithm, scale),
        counter: first.counter.clone(),
        scope: first.scope.value,
        key: first.key.clone(),
        counting: Counting::by(algorithm),
        window_text: first
            .window
            .as_ref()
            .map(|(_, text)| text.clone())
            .unwrap_or_default(),
        cost,
        scale,
        identity: identity(first, scale),
        label,
    })
}

/// Whether two limits can share a count.
fn agree(first: &LimitForm, other: &LimitForm, problems: &mut Problems) -> bool {
    let mut agreed = true;
    let mut refuse = |what: &str| {
        let message = format!(
            "quota {} is given another {what} here than at {}",
            quote(&other.counter),
            quote(&first.pointer)
        );
        let help = "limits with the same `counter`, `window`, `scope` and `key` share one count; rename the counter of one";
        agreed = false;
        Diagnostic::new(Code::QuotaConflict, message).help(help)
    };
    if first.kind.value != other.kind.value {
        other.report(&other.kind, problems, refuse("algorithm"));
    } else if first.kind.value == Kind::Bucket {
        // What a bucket regains in a second follows from both numbers, so they are part of the algorithm.
        if first.max.value != other.max.value {
            other.report(&other.max, problems, refuse("max"));
        }
        let burst = |form: &LimitForm| form.burst.as_ref().map(|burst| burst.value);
        if burst(first) != burst(other) {
            let spot = other.burst.as_ref().unwrap_or(&other.max);
            other.report(spot, problems, refuse("burst"));
        }
    }
    let same_cost = match (&first.cost.value, &other.cost.value) {
        (CostForm::Constant(one), CostForm::Constant(two)) => one == two,
        (CostForm::Arg(one), CostForm::Arg(two)) => one == two,
        _ => false,
    };
    if !same_cost {
        other.report(&other.cost, problems, refuse("cost"));
    }
    if let (Some(one), Some(two)) = (&first.scale, &other.scale) {
        if one.value != two.value {
            other.report(two, problems, refuse("scale"));
        }
    }
    agreed
}

/// Decimals of the count. A constant cost says how many it needs; for an argument the author may say, and
/// otherwise it is as many as leave room for every max.
fn scale(group: &[&LimitForm], first: &LimitForm) -> u8 {
    if let CostForm::Constant(cost) = &first.cost.value {
        return cost.decimals();
    }
    if let Some(scale) = group.iter().find_map(|form| form.scale.as_ref()) {
        return scale.value;
    }
    let fits = |scale: u8, form: &LimitForm| {
        let capacity = algorithm(form, scale, &mut Problems::default()).map(count_capacity);
        let units = floor_units(form.max.value, scale);
        capacity
            .zip(units)
            .is_some_and(|(capacity, units)| units <= capacity)
    };
    // Where even whole numbers do not fit, the check against the capacity says so.
    let fit = |scale: &u8| group.iter().all(|form| fits(*scale, form));
    [4, 2].into_iter().find(fit).unwrap_or(0)
}

fn algorithm(form: &LimitForm, scale: u8, problems: &mut Problems) -> Option<Algorithm> {
    let window = form.window.as_ref().map(|(window, _)| *window);
    match (form.kind.value, window) {
        (Kind::Concurrency, _) => Some(Algorithm::Concurrency),
        (Kind::Fixed, Some(window)) => Some(Algorithm::Fixed(window)),
        (Kind::Sliding, Some(Window::Span(span))) => Some(Algorithm::Sliding(span)),
        (Kind::Bucket, Some(Window::Span(span))) => bucket(form, span, scale, problems),
        (_, Some(Window::Month) | None) => None,
    }
}

/// A bucket regains one unit every `interval`, so chosen that a full burst and all that is regained in less
/// than a window make no more than `max`.
fn bucket(
    form: &LimitForm,
    window_ns: u64,
    scale: u8,
    problems: &mut Problems,
) -> Option<Algorithm> {
    let Some(max) = floor_units(form.max.value, scale) else {
        too_large(form, scale, u64::MAX, problems);
        return None;
    };
    let burst = match &form.burst {
        None => Some(1.max(max / 2)),
        Some(burst) => floor_units(burst.value, scale),
    };
    let Some(burst) = burst.filter(|burst| (1..=max).contains(burst)) else {
        let message = "the burst of a token bucket is at least 1 and at most its `max`";
        let spot = form.burst.as_ref().unwrap_or(&form.max);
        form.report(spot, problems, Diagnostic::new(Code::BadBurst, message));
        return None;
    };
    let interval_ns = window_ns.div_ceil((max - burst).saturating_add(1));
    let algorithm = Algorithm::Bucket {
        window_ns,
        interval_ns,
        burst,
    };
    if count_capacity(algorithm) == 0 {
        let message = "an empty bucket of this size takes longer to fill than can be counted";
        let help = "choose a smaller `burst`, or `sliding_window`";
        let diagnostic = Diagnostic::new(Code::LimitTooLarge, message).help(help);
        let spot = form.burst.as_ref().unwrap_or(&form.max);
        form.report(spot, problems, diagnostic);
        return None;
    }
    Some(algorithm)
}

fn too_large(form: &LimitForm, scale: u8, capacity: u64, problems: &mut Problems) {
    let most = Decimal::from_units(capacity, scale);
    let message = format!(
        "a max of {} is more than this limit can count: {most}",
        form.max.value
    );
    let help = match &form.scale {
        Some(_) => "choose a smaller `scale`",
        None => "choose a smaller `max`, or a longer window",
    };
    let diagnostic = Diagnostic::new(Code::LimitTooLarge, message).help(help);
    form.report(&form.max, problems, diagnostic);
}

/// Whole units in `number`, rounded down: a max between two units admits what the lower one does.
pub(super) fn floor_units(number: Decimal, scale: u8) -> Option<u64> {
    match number.to_units(scale) {
        Ok(units) => Some(units),
        Err(UnitError::TooFine) => {
            let decimals = number.decimals();
            let units = number.to_units(decimals).ok()?;
            let factor = 10u64.checked_pow(u32::from(decimals.saturating_sub(scale)));
            Some(factor.map_or(0, |factor| units / factor))
        }
        Err(_) => None,
    }
}

/// The constant part of what a count's key is a hash of.
fn identity(form: &LimitForm, scale: u8) -> [u8; 16] {
    let scope = match form.scope.value {
        Scope::Grant => "grant",
        Scope::Session => "session",
        Scope::Server => "server",
        Scope::Global => "global",
    };
    let kind = match form.kind.value {
        Kind::Fixed => "fixed_window",
        Kind::Sliding => "sliding_window",
        Kind::Bucket => "token_bucket",
        Kind::Concurrency => "concurrency",
    };
    let window = match &form.window {
        None => String::new(),
        Some((Window::Month, _)) => "month".to_owned(),
        Some((Window::Span(span), _)) => span.to_string(),
    };
    // A path is never empty, so no key and any key differ.
    let key = form
        .key
        .as_ref()
        .map(ArgPath::to_string)
        .unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [
        "1",
        &form.counter,
        scope,
        kind,
        &window,
        &scale.to_string(),
        &key,
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut identity = [0; 16];
    identity
        .iter_mut()
        .zip(hash.finalize())
        .for_each(|(to, from)| *to = from);
    identity
}
