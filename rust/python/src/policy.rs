//! Policies for Python: text in, compiled object out.

use std::sync::Arc;

use pyo3::prelude::*;

use gateway_core::policy::{Diagnostic as Core, PolicySet as CoreSet, Severity};

use crate::errors::policy_error;

/// One problem found in a policy document.
#[pyclass(frozen, module = "gateway._core")]
pub struct Diagnostic(Core);

impl From<Core> for Diagnostic {
    fn from(core: Core) -> Self {
        Self(core)
    }
}

#[pymethods]
impl Diagnostic {
    #[getter]
    fn code(&self) -> &str {
        self.0.code
    }

    #[getter]
    fn severity(&self) -> &'static str {
        match self.0.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }

    #[getter]
    fn message(&self) -> &str {
        &self.0.message
    }

    #[getter]
    fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    #[getter]
    fn path(&self) -> &str {
        &self.0.pointer
    }

    #[getter]
    fn line(&self) -> u32 {
        self.0.line
    }

    #[getter]
    fn column(&self) -> u32 {
        self.0.column
    }

    fn __repr__(&self) -> String {
        let Core {
            code,
            message,
            line,
            column,
            ..
        } = &self.0;
        format!("<Diagnostic {line}:{column} {code}: {message}>")
    }
}

/// A compiled, immutable policy document.
#[pyclass(frozen, module = "gateway._core")]
pub struct PolicySet(pub Arc<CoreSet>);

#[pymethods]
impl PolicySet {
    #[staticmethod]
    #[pyo3(signature = (source, *, name))]
    fn parse(py: Python<'_>, source: &[u8], name: &str) -> PyResult<Self> {
        match CoreSet::parse(source, name) {
            Ok(set) => Ok(Self(Arc::new(set))),
            Err(diagnostics) => Err(policy_error(py, name, diagnostics)),
        }
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    #[getter]
    fn digest(&self) -> &str {
        self.0.digest()
    }

    #[getter]
    #[expect(clippy::unused_self, reason = "there is one language version so far")]
    fn language_version(&self) -> &'static str {
        "1"
    }

    #[getter]
    fn entries(&self) -> Vec<&str> {
        self.0.entries().map(|entry| &*entry.pointer).collect()
    }

    #[getter]
    fn warnings(&self) -> Vec<Diagnostic> {
        self.0
            .warnings()
            .iter()
            .cloned()
            .map(Diagnostic::from)
            .collect()
    }

    fn __repr__(&self) -> String {
        format!(
            "<PolicySet `{}` {}>",
            self.0.name(),
            self.0.digest().get(..12).unwrap_or_default()
        )
    }
}
