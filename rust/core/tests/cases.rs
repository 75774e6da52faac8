//! Runs the data cases of `tests/cases` that concern the policy language alone.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use gateway_core::policy::tree::{self, Data, Node, Syntax};
use gateway_core::policy::{Code, PolicySet};

/// Code, pointer, line, column.
type Found = (String, String, u32, u32);

fn cases(file: &str) -> Node {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases");
    let source = fs::read(folder.join(file)).expect("a case file");
    tree::read(&source, Syntax::Yaml).unwrap_or_else(|problems| panic!("{file}: {problems:#?}"))
}

fn text<'n>(node: &'n Node, key: &str) -> &'n str {
    let found = node.get(key).and_then(Node::text);
    found.unwrap_or_else(|| panic!("no `{key}` at line {}", node.place.line))
}

fn number(node: &Node, key: &str) -> u32 {
    match node.get(key).map(|node| &node.data) {
        Some(Data::Number(text)) => text.parse().expect("a small number"),
        _ => panic!("no `{key}` at line {}", node.place.line),
    }
}

fn expected(case: &Node) -> Vec<Found> {
    let list = case.get("diagnostics").expect("diagnostics");
    let found = |row: &Node| {
        let (code, pointer) = (text(row, "code"), text(row, "pointer"));
        (
            code.to_owned(),
            pointer.to_owned(),
            number(row, "line"),
            number(row, "column"),
        )
    };
    list.elements().iter().map(found).collect()
}

/// The errors of a policy that is refused, the warnings of one that loads.
fn reported(case: &Node) -> Vec<Found> {
    let name = format!("policy.{}", text(case, "format"));
    let problems = match PolicySet::parse(text(case, "source").as_bytes(), &name) {
        Ok(policy) => policy.warnings().to_vec(),
        Err(problems) => problems,
    };
    problems
        .into_iter()
        .map(|found| {
            (
                found.code.to_owned(),
                found.pointer,
                found.line,
                found.column,
            )
        })
        .collect()
}

#[test]
fn policy_errors() {
    let cases = cases("policy_errors.yaml");
    let mut wrong = Vec::new();
    for case in cases.elements() {
        let (expected, reported) = (expected(case), reported(case));
        if expected != reported {
            let name = text(case, "name");
            wrong.push(format!(
                "{name}:\n  expected {expected:?}\n  reported {reported:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.elements().len() >= 150, "some cases are gone");
}

/// A code without a case is one that nothing shows to be reported at all.
#[test]
fn every_code_has_a_case() {
    // These take documents too large for a file of cases; unit tests make them.
    let made_elsewhere = [
        Code::TooLarge,
        Code::TooDeep,
        Code::TooManyKeys,
        Code::TooManyRules,
        Code::TooManyProblems,
    ];
    let cases = cases("policy_errors.yaml");
    let shown: Vec<Found> = cases.elements().iter().flat_map(expected).collect();
    for code in Code::ALL {
        let has_case = shown.iter().any(|(shown, ..)| shown == code.slug());
        assert_eq!(has_case, !made_elsewhere.contains(code), "{}", code.slug());
    }
}
