//! The one place where the core's errors become Python exceptions.

use pyo3::exceptions::{PyBlockingIOError, PyOSError, PyValueError};
use pyo3::prelude::*;

use gateway_core::limit::OpenError;
use gateway_core::policy::{Diagnostic as Core, Severity};

use crate::policy::Diagnostic;

pyo3::create_exception!(
    gateway._core,
    PolicyError,
    PyValueError,
    "A policy document that cannot be used; `diagnostics` has every problem found, not the first."
);

/// The exception for a document with these problems.
pub fn policy_error(py: Python<'_>, name: &str, diagnostics: Vec<Core>) -> PyErr {
    let errors = diagnostics
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .count();
    let noun = if errors == 1 { "problem" } else { "problems" };
    let first = diagnostics.first().map_or_else(String::new, |problem| {
        format!(
            ": {name}:{}:{}: {}",
            problem.line, problem.column, problem.message
        )
    });
    let text = format!("{errors} {noun} in `{name}`{first}");
    let error = PolicyError::new_err(text);
    let diagnostics: Vec<Diagnostic> = diagnostics.into_iter().map(Diagnostic::from).collect();
    match error.value(py).setattr("diagnostics", diagnostics) {
        Ok(()) => error,
        Err(failed) => failed,
    }
}

/// A limit table that cannot be opened: `BlockingIOError` where another instance has it, so that a caller
/// can tell what will pass from what will not.
pub fn open_error(error: &OpenError) -> PyErr {
    let text = format!("{error}\nhelp: {}", error.help());
    match error {
        OpenError::Locked(_) => PyBlockingIOError::new_err(text),
        _ => PyOSError::new_err(text),
    }
}
