//! What the scanner accepts, another reader reads likewise: the whole document, and what is decided on.

use gateway_core::json::{Bounds, Index, Kind, Value};
use gateway_core::message;
use serde_json::Value as Other;

/// Any bytes.
pub fn holds(data: &[u8]) {
    let mut index = Index::default();
    let Ok(value) = index.scan(data, &Bounds::default()) else {
        return;
    };
    let other: Other = serde_json::from_slice(data).expect("accepted here, refused there");
    same(value, &other);
    let Ok(message) = message::read(value) else {
        return;
    };
    let text = |of: &Other| of.as_str().map(str::to_owned);
    let method = message.method.map(|method| method.to_cow().into_owned());
    assert_eq!(method, text(&other["method"]));
    if method.as_deref() == Some("tools/call") {
        let name = message.target.map(|name| name.to_cow().into_owned());
        assert_eq!(name, text(&other["params"]["name"]));
    }
}

fn same(value: Value<'_>, other: &Other) {
    match (value.kind(), other) {
        (Kind::Object, Other::Object(members)) => {
            assert_eq!(value.members().count(), members.len(), "a key was lost");
            for (key, value) in value.members() {
                same(value, members.get(&*key.to_cow()).expect("the same keys"));
            }
        }
        (Kind::Array, Other::Array(elements)) => {
            assert_eq!(value.elements().count(), elements.len());
            value
                .elements()
                .zip(elements)
                .for_each(|(value, other)| same(value, other));
        }
        (Kind::String, Other::String(text)) => {
            assert_eq!(value.text().expect("a string").to_cow(), *text);
        }
        (Kind::Number, Other::Number(number)) => {
            let double: f64 = value.source().parse().expect("a number");
            assert!(double.is_finite());
            assert_eq!(number.as_f64(), Some(double));
        }
        (Kind::Bool, Other::Bool(boolean)) => assert_eq!(value.boolean(), Some(*boolean)),
        (Kind::Null, Other::Null) => {}
        (kind, other) => panic!("{kind:?} here, {other} there"),
    }
}
