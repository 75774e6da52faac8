//! From the written form to a [`PolicySet`]: names to indexes, limits to quotas, texts to labels.

use std::collections::HashMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::condition::Condition;
use super::diagnostic::{Diagnostic, Problems};
use super::document::{self, Document, EntryForm, Name};
use super::lint;
use super::names::{Folded, Names};
use super::quotas::{Groups, floor_units};
use super::rule_form::RuleForm;
use super::shape::Cursor;
use super::tree::{self, Syntax};
use super::{Entry, LimitUse, PolicySet, Quota, QuotaId, Rule};

pub(super) fn parse(source: &[u8], name: &str) -> Result<PolicySet, Vec<Diagnostic>> {
    let mut problems = Problems::default();
    let root = tree::read_into(source, Syntax::of(name, source), &mut problems);
    let document = root.and_then(|root| document::read(Cursor::root(&root), &mut problems));
    let compiled = document.and_then(|document| compile(&document, &mut problems));
    match compiled {
        Some(mut policy) if !problems.any_errors() => {
            name.clone_into(&mut policy.name);
            policy.digest = digest(source);
            policy.warnings = problems.into_sorted();
            Ok(policy)
        }
        _ => Err(problems.into_errors()),
    }
}

fn digest(source: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(source) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn compile(document: &Document, problems: &mut Problems) -> Option<PolicySet> {
    // Ids follow the document within `tools`, which is the order that look-ups answer in.
    let forms: Vec<&EntryForm> = document
        .tools
        .iter()
        .chain(&document.methods)
        .chain(&document.all_tools)
        .collect();
    let mut groups = Groups::default();
    let group_of: Vec<Vec<usize>> = forms
        .iter()
        .map(|form| form.limits.iter().map(|limit| groups.add(limit)).collect())
        .collect();
    groups.sort();
    let quotas: Vec<Quota> = groups.compile(problems)?;
    if problems.any_errors() {
        // Everything that can be wrong has been looked at; among it may be that the indexes would cost too much.
        return None;
    }
    let mut labels = Labels::default();
    let entries = forms
        .iter()
        .zip(&group_of)
        .map(|(form, groups)| entry(form, groups, &quotas, &mut labels))
        .collect::<Option<Vec<Entry>>>()?;
    let patterns = |forms: &'_ [EntryForm], from: usize| {
        let patterns = forms.iter().map(|form| form.name.pattern.clone());
        Names::new(patterns.zip(id(from)..))
    };
    let tools = patterns(&document.tools, 0);
    let methods = patterns(&document.methods, document.tools.len());
    let hidden = document.hide.iter().map(|name| name.pattern.clone());
    let hide = Names::new(hidden.zip(0..));
    let with_limits: Vec<_> = groups.iter().zip(&quotas).collect();
    lint::run(document, &with_limits, &tools, &hide, problems);
    let all = document
        .tools
        .iter()
        .map(|form| &form.name)
        .chain(&document.hide);
    Some(PolicySet {
        name: String::new(),
        digest: String::new(),
        warnings: Vec::new(),
        default: document.default,
        mode: document.mode,
        all_tools: document.all_tools.as_ref().map(|_| entries.len() - 1),
        entries,
        quotas,
        labels: labels.texts,
        folded: Folded::new(all.map(|name: &Name| &name.pattern)),
        tools,
        methods,
        hide,
        hide_pointers: document
            .hide
            .iter()
            .map(|name| name.pointer.clone())
            .collect(),
    })
}

/// The bounds on a document keep every count far below this type's.
fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn entry(
    form: &EntryForm,
    groups: &[usize],
    quotas: &[Quota],
    labels: &mut Labels,
) -> Option<Entry> {
    let mut limits = Vec::with_capacity(form.limits.len());
    for (limit, group) in form.limits.iter().zip(groups) {
        let scale = quotas.get(*group)?.scale;
        limits.push(LimitUse {
            pointer: limit.pointer.clone(),
            quota: QuotaId(id(*group)),
            max: floor_units(limit.max.value, scale)?,
            on_deny: limit.on_deny.clone(),
            mode: limit.mode,
        });
    }
    let rules = |forms: &[RuleForm]| forms.iter().map(rule).collect();
    Some(Entry {
        pointer: form.name.pointer.clone(),
        effect: form.effect,
        reason: form.reason.as_ref().map(|(reason, _)| reason.clone()),
        mode: form.mode,
        deny_if: rules(&form.deny_if),
        require: rules(&form.require),
        approval: rules(&form.approval),
        limits,
        label: labels.of(&form.label),
    })
}

fn rule(form: &RuleForm) -> Rule {
    let condition = |form: &super::rule_form::ConditionForm| Condition {
        path: form.path.clone(),
        op: form.op,
        operand: form.operand.clone(),
    };
    Rule {
        pointer: form.pointer.clone(),
        conditions: form.conditions.iter().map(condition).collect(),
        on_deny: form.on_deny.clone(),
        mode: form.mode,
    }
}

/// Texts, each once.
#[derive(Default)]
struct Labels {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Labels {
    fn of(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = id(self.texts.len());
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}
