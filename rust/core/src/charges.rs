//! From the entries that matched to the quotas that the call would use.
//!
//! INVARIANT: a quota is charged once a call, however many places name it; each place tests its own `max`.

use std::borrow::Cow;
use std::sync::OnceLock;

use smallvec::SmallVec;

use crate::caller::{Caller, Subject};
use crate::decision::{Code, ShadowDenial};
use crate::evaluate::Refusal;
use crate::json::{Kind, Value};
use crate::limit::{Algorithm, Charge, LimitTable, QuotaKey, Reading};
use crate::policy::condition::{ArgPath, Lookup};
use crate::policy::{Cost, Entry, LimitUse, Mode, PolicySet, Quota, QuotaId};

/// The charges of one call, and the places of the policy that asked for them.
#[derive(Default)]
pub struct Charges<'p> {
    /// What the table is asked to reserve.
    pub charges: SmallVec<[Charge<'p>; 4]>,
    /// For each charge, its places.
    pub places: SmallVec<[Places<'p>; 4]>,
}

/// The places of the policy that limit one quota.
pub struct Places<'p> {
    /// The quota's number in its policy.
    pub id: QuotaId,
    /// The quota.
    pub quota: &'p Quota,
    /// The enforced place with the least `max`.
    pub enforced: Option<&'p LimitUse>,
    /// The places in shadow mode.
    pub shadow: Vec<&'p LimitUse>,
}

impl<'p> Places<'p> {
    /// The place to speak of: the enforced one, else the shadow one.
    #[must_use]
    pub fn place(&self) -> Option<&'p LimitUse> {
        self.enforced.or(self.shadow.first().copied())
    }

    /// Pointers of the places in shadow mode that had no room for the call. A bucket has one size, so all of
    /// its places agree.
    pub fn full_shadows(
        &self,
        charge: &Charge<'_>,
        reading: &Reading,
    ) -> impl Iterator<Item = String> {
        let after = reading.used.saturating_add(charge.cost);
        let bucket = matches!(charge.counting.algorithm(), Algorithm::Bucket { .. });
        let full = move |place: &&&LimitUse| bucket || after > place.max;
        self.shadow
            .iter()
            .filter(full)
            .map(|place| place.pointer.clone())
    }
}

/// The keys of a policy's quotas as its first caller has them. An engine serves one grant, so they are most
/// callers' keys; those of others, of a second session say, are hashed each time.
#[derive(Debug)]
pub struct Keys(Box<[OnceLock<(Subject, QuotaKey)>]>);

impl Keys {
    /// None known yet. They are good for one table.
    #[must_use]
    pub fn new(policy: &PolicySet) -> Self {
        Self(policy.quotas().iter().map(|_| OnceLock::new()).collect())
    }

    fn get(&self, id: QuotaId, subject: &Subject, hash: impl Fn() -> QuotaKey) -> QuotaKey {
        let first = self.0.get(id.0 as usize);
        match first.map(|first| first.get_or_init(|| (*subject, hash()))) {
            Some((of, key)) if of == subject => *key,
            _ => hash(),
        }
    }
}

/// Who is asking what, for hashing quotas and reading costs.
pub struct Asking<'a> {
    /// The policy of the entries.
    pub policy: &'a PolicySet,
    /// The table that hashes keys.
    pub table: &'a LimitTable,
    /// Keys that it has hashed.
    pub keys: &'a Keys,
    /// Whose quotas.
    pub caller: &'a Caller,
    /// The arguments.
    pub root: Option<Value<'a>>,
    /// Every limit only records.
    pub all_shadow: bool,
}

impl<'a> Asking<'a> {
    /// Collects the charges of all limits of these entries into `out`, in the order of the policy.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with `cost-invalid` or `indeterminate` where an enforced limit cannot read its argument.
    pub fn collect(
        &self,
        entries: &[&'a Entry],
        shadow: &mut Vec<ShadowDenial>,
        out: &mut Charges<'a>,
    ) -> Result<(), Refusal> {
        for place in entries.iter().flat_map(|entry| &entry.limits) {
            let enforce = place.mode == Mode::Enforce && !self.all_shadow;
            match self.charge(place, enforce, out) {
                Ok(()) => {}
                Err(code) if !enforce => {
                    shadow.push(ShadowDenial {
                        rule: place.pointer.clone(),
                        code,
                    });
                }
                Err(code) => return Err(unreadable(self.policy.quota(place.quota), place, code)),
            }
        }
        Ok(())
    }

    fn charge(
        &self,
        place: &'a LimitUse,
        enforce: bool,
        out: &mut Charges<'a>,
    ) -> Result<(), Code> {
        let known = out
            .places
            .iter()
            .position(|places| places.id == place.quota);
        let max = Some(place.max);
        let Some(at) = known else {
            let quota = self.policy.quota(place.quota);
            let (key, cost) = (self.key(place.quota, quota)?, self.cost(quota)?);
            out.charges.push(Charge {
                key,
                counting: &quota.counting,
                cost,
                max: max.filter(|_| enforce),
                shadow_max: max.filter(|_| !enforce),
                label: quota.label,
            });
            out.places.push(Places {
                id: place.quota,
                quota,
                enforced: enforce.then_some(place),
                shadow: if enforce { Vec::new() } else { vec![place] },
            });
            return Ok(());
        };
        if let (Some(charge), Some(places)) = (out.charges.get_mut(at), out.places.get_mut(at)) {
            let tightest = if enforce {
                &mut charge.max
            } else {
                &mut charge.shadow_max
            };
            let is_tighter = tightest.is_none_or(|tightest| place.max < tightest);
            if is_tighter {
                *tightest = max;
            }
            match enforce {
                true if is_tighter => places.enforced = Some(place),
                true => {}
                false => places.shadow.push(place),
            }
        }
        Ok(())
    }

    fn cost(&self, quota: &Quota) -> Result<u64, Code> {
        match &quota.cost {
            Cost::Units(units) => Ok(*units),
            Cost::Arg(path) => match path.resolve(self.root) {
                Lookup::Found(value) => match value.decimal() {
                    Some(Ok(number)) => number.to_units(quota.scale).map_err(|_| Code::CostInvalid),
                    _ => Err(Code::CostInvalid),
                },
                Lookup::Absent | Lookup::Opaque => Err(Code::CostInvalid),
            },
        }
    }

    /// The identity of the count: what the quota of this id means, and whose it is.
    ///
    /// # Errors
    ///
    /// [`Code::Indeterminate`] where the argument that the quota goes by cannot be read exactly.
    #[inline]
    pub fn key(&self, id: QuotaId, quota: &Quota) -> Result<QuotaKey, Code> {
        let subject = self.caller.subject(quota.scope);
        let hash = |value: Option<&[u8]>| self.table.quota_key(subject, &quota.identity, value);
        match &quota.key {
            None => Ok(self.keys.get(id, subject, || hash(None))),
            Some(path) => Ok(hash(Some(&self.key_value(path)?))),
        }
    }

    /// An argument's value in one spelling, so that `1`, `1.0` and `1e0` share a quota and `"1"` does not.
    fn key_value(&self, path: &ArgPath) -> Result<Cow<'a, [u8]>, Code> {
        let value = match path.resolve(self.root) {
            Lookup::Absent => return Ok(Cow::Borrowed(b"absent")),
            Lookup::Opaque => return Err(Code::Indeterminate),
            Lookup::Found(value) => value,
        };
        match value.kind() {
            Kind::Null => Ok(Cow::Borrowed(b"null")),
            Kind::Bool if value.boolean() == Some(true) => Ok(Cow::Borrowed(b"true")),
            Kind::Bool => Ok(Cow::Borrowed(b"false")),
            Kind::Number => match value.decimal() {
                Some(Ok(number)) => Ok(Cow::Owned(format!("n{number}").into_bytes())),
                _ => Err(Code::Indeterminate),
            },
            Kind::String => match value.text() {
                Some(text) => Ok(Cow::Owned([b"s", text.to_cow().as_bytes()].concat())),
                None => Err(Code::Indeterminate),
            },
            Kind::Array | Kind::Object => Err(Code::Indeterminate),
        }
    }
}

fn unreadable(quota: &Quota, place: &LimitUse, code: Code) -> Refusal {
    let message = match (&place.on_deny, code, &quota.cost) {
        (Some(text), _, _) => text.clone(),
        (None, Code::CostInvalid, Cost::Arg(path)) => {
            format!(
                "`{path}` must be a number from 0 on, exact, with at most {} decimals: the limit `{}` counts it",
                quota.scale, quota.counter
            )
        }
        _ => format!(
            "the argument that the limit `{}` goes by cannot be read exactly",
            quota.counter
        ),
    };
    Refusal {
        code,
        rule: place.pointer.clone(),
        message,
    }
}
