//! Documents for Python: their content as Python's own values, and where each part of it stands.

use std::fmt::Write as _;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList};

use gateway_core::policy::tree::{self, Data, Node, Place, Syntax};

use crate::policy::Diagnostic;

/// The value, if there is one; the places of keys and values by JSON pointer; and the problems.
pub type Read<'py> = (
    Option<Bound<'py, PyAny>>,
    Bound<'py, PyDict>,
    Vec<Diagnostic>,
);

/// Reads a document as a policy is read.
pub fn read<'py>(py: Python<'py>, source: &[u8], name: &str) -> PyResult<Read<'py>> {
    let (root, problems) = tree::read_all(source, Syntax::of(name, source));
    let places = PyDict::new(py);
    let value = match root {
        Some(root) => {
            let mut pointer = String::new();
            Some(grow(py, &root, root.place, &mut pointer, &places)?)
        }
        None => None,
    };
    let problems = problems.into_iter().map(Diagnostic::from).collect();
    Ok((value, places, problems))
}

/// The reader bounds the depth of a tree.
fn grow<'py>(
    py: Python<'py>,
    node: &Node,
    key: Place,
    pointer: &mut String,
    places: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let place = node.place;
    places.set_item(&*pointer, (key.line, key.column, place.line, place.column))?;
    let length = pointer.len();
    Ok(match &node.data {
        Data::Null | Data::Unread => py.None().into_bound(py),
        Data::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Data::Number(text) => number(py, text)?,
        Data::Text { text, .. } => text.into_pyobject(py)?.into_any(),
        Data::List(nodes) => {
            let list = PyList::empty(py);
            for (index, node) in nodes.iter().enumerate() {
                let _ = write!(pointer, "/{index}");
                list.append(grow(py, node, node.place, pointer, places)?)?;
                pointer.truncate(length);
            }
            list.into_any()
        }
        Data::Map(members) => {
            let dict = PyDict::new(py);
            for member in members {
                tree::push_key(pointer, &member.key);
                let value = grow(py, &member.value, member.place, pointer, places)?;
                dict.set_item(&*member.key, value)?;
                pointer.truncate(length);
            }
            dict.into_any()
        }
    })
}

/// An integer where it is written as one, else a float.
fn number<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let float = || py.get_type::<PyFloat>().call1((text,));
    if text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        float()
    } else {
        // Python reads no integer of thousands of digits.
        let whole = py.get_type::<PyInt>().call1((text,));
        whole.or_else(|_| float())
    }
}
