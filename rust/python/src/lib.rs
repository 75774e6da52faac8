//! `gateway._core`: the decision core for Python. Conversions only; the one thing it adds is the clock.
#![forbid(unsafe_code)]

mod approval;
mod clock;
mod decision;
mod document;
mod engine;
mod errors;
mod exchange;
mod gate;
mod limits;
mod log;
mod pins;
mod policy;
mod spans;
mod wire;

/// The decision core.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyDict};

    #[pymodule_export]
    use crate::approval::Approval;
    #[pymodule_export]
    use crate::decision::Decision;
    #[pymodule_export]
    use crate::engine::{Caller, Engine};
    #[pymodule_export]
    use crate::errors::PolicyError;
    #[pymodule_export]
    use crate::exchange::Exchange;
    #[pymodule_export]
    use crate::gate::Gate;
    #[pymodule_export]
    use crate::limits::LimitTable;
    #[pymodule_export]
    use crate::log::{DecisionLog, verify_log};
    #[pymodule_export]
    use crate::pins::Pins;
    #[pymodule_export]
    use crate::policy::{Diagnostic, PolicySet};
    #[pymodule_export]
    use crate::spans::Spans;
    #[pymodule_export]
    use crate::wire::{Failed, Foreign, HandedOver, Intake};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Version, target and build profile of the extension, for bug reports.
    #[pyfunction]
    fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let info = PyDict::new(py);
        info.set_item("version", env!("CARGO_PKG_VERSION"))?;
        info.set_item(
            "target",
            format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        )?;
        info.set_item(
            "profile",
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        )?;
        Ok(info)
    }

    /// One exposition for several processes.
    #[pyfunction]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is extracted is ours to own"
    )]
    fn sum_expositions<'py>(
        py: Python<'py>,
        present: Vec<Bound<'py, PyBytes>>,
        past: Vec<Bound<'py, PyBytes>>,
        added: Vec<Bound<'py, PyBytes>>,
    ) -> Bound<'py, PyBytes> {
        let [present, past, added] = [&present, &past, &added].map(|texts| {
            texts
                .iter()
                .map(PyBytesMethods::as_bytes)
                .collect::<Vec<_>>()
        });
        PyBytes::new(
            py,
            &gateway_core::exposition::sum::sum(&present, &past, &added),
        )
    }

    /// A document's value, where its parts stand, and what cannot be read of it.
    #[pyfunction]
    fn read_document<'py>(
        py: Python<'py>,
        source: &[u8],
        name: &str,
    ) -> PyResult<crate::document::Read<'py>> {
        crate::document::read(py, source, name)
    }

    /// The option that a text was probably meant to be.
    #[pyfunction]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is extracted is ours to own"
    )]
    fn did_you_mean(text: &str, options: Vec<String>) -> Option<String> {
        let options = options.iter().map(String::as_str);
        gateway_core::policy::did_you_mean(text, options).map(str::to_owned)
    }

    /// The SHA-256 of the token in the value of an Authorization field.
    #[pyfunction]
    fn fingerprint<'py>(py: Python<'py>, value: &[u8]) -> Option<Bound<'py, PyBytes>> {
        let token = gateway_core::http1::credentials::fingerprint(value)?;
        Some(PyBytes::new(py, &token))
    }

    /// Somebody's text as a message shows it.
    #[pyfunction]
    fn quote(text: &str) -> String {
        gateway_core::policy::quote(text)
    }

    /// The SHA-256 of a tool's definition in its canonical form, in hexadecimal.
    #[pyfunction]
    fn tool_digest(definition: &[u8]) -> PyResult<String> {
        gateway_core::canonical::digest_of(definition)
            .map(|digest| gateway_core::canonical::hexadecimal(&digest))
            .map_err(|fault| pyo3::exceptions::PyValueError::new_err(fault.to_string()))
    }

    /// The JSON Schema of the policy document, as JSON text.
    #[pyfunction]
    fn policy_schema() -> &'static str {
        gateway_core::policy::policy_schema()
    }
}
