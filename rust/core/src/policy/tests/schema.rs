//! The schema and the reader say the same.

use crate::policy::condition::Op;
use crate::policy::document::{ACTIONS, ALL_TOOLS_KEYS, DOCUMENT_KEYS, EFFECTS, ENTRY_KEYS, MODES};
use crate::policy::limit_form::{KINDS, LIMIT_KEYS, RATE_KEYS, SCOPES};
use crate::policy::policy_schema;
use crate::policy::rule_form::{CONDITION_KEYS, RULE_KEYS};
use crate::policy::tree::{self, Data, Node, Syntax};

/// The schema lists the same keys and words as the reader.
#[test]
fn the_schema_agrees_with_the_reader() {
    let schema = tree::read(policy_schema().as_bytes(), Syntax::Json).expect("the schema is JSON");
    let keys = |node: &Node| -> Vec<String> {
        let Some(Data::Map(members)) = node.get("properties").map(|node| &node.data) else {
            panic!("properties");
        };
        let mut keys: Vec<String> = members
            .iter()
            .map(|member| member.key.to_string())
            .collect();
        keys.sort();
        keys
    };
    let sorted = |keys: &[&str]| {
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort();
        keys
    };
    let def = |name: &str| {
        schema
            .get("$defs")
            .and_then(|defs| defs.get(name))
            .expect("a definition")
    };
    assert_eq!(keys(&schema), sorted(DOCUMENT_KEYS));
    assert_eq!(keys(def("entry")), sorted(ENTRY_KEYS));
    assert_eq!(keys(def("allTools")), sorted(ALL_TOOLS_KEYS));
    assert_eq!(keys(def("rule")), sorted(RULE_KEYS));
    assert_eq!(keys(def("condition")), sorted(CONDITION_KEYS));
    assert_eq!(keys(def("limit")), sorted(LIMIT_KEYS));
    let short = def("rateLimit")
        .get("anyOf")
        .and_then(|any| any.elements().get(1))
        .expect("an object");
    assert_eq!(keys(short), sorted(RATE_KEYS));
    let words = |node: &Node, key: &str| -> Vec<String> {
        let words = node
            .get("properties")
            .and_then(|node| node.get(key)?.get("enum"))
            .expect("words");
        words
            .elements()
            .iter()
            .filter_map(|word| Some(word.text()?.to_owned()))
            .collect()
    };
    let options =
        |names: Vec<&str>| -> Vec<String> { names.into_iter().map(str::to_owned).collect() };
    assert_eq!(
        words(def("condition"), "op"),
        options(Op::ALL.iter().map(|op| op.name()).collect())
    );
    let names = SCOPES.iter().map(|(name, _)| *name).collect();
    assert_eq!(words(def("limit"), "scope"), options(names));
    let names = KINDS.iter().map(|(name, _)| *name).collect();
    assert_eq!(words(def("limit"), "algorithm"), options(names));
    let names = ACTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(words(def("entry"), "action"), options(names));
    let modes = def("mode")
        .get("enum")
        .map(Node::elements)
        .unwrap_or_default();
    let modes: Vec<&str> = modes.iter().filter_map(Node::text).collect();
    assert!(MODES.iter().map(|(name, _)| *name).eq(modes));
    let names = EFFECTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(words(&schema, "default"), options(names));
}
