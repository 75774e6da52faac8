//! Pinned definitions for Python.

use std::sync::Arc;

use gateway_core::pins::{PinMode, Pins as CorePins};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The pinned tools of one server.
#[pyclass(frozen, module = "gateway._core")]
pub struct Pins(pub Arc<CorePins>);

#[pymethods]
impl Pins {
    #[staticmethod]
    #[pyo3(signature = (source, server, mode, before = None))]
    fn parse(source: &[u8], server: &str, mode: &str, before: Option<&Pins>) -> PyResult<Self> {
        let mode = match mode {
            "enforce" => PinMode::Enforce,
            "warn" => PinMode::Warn,
            _ => return Err(PyValueError::new_err("a mode is `enforce` or `warn`")),
        };
        let pins = CorePins::parse(source, server, mode)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        if let Some(before) = before {
            pins.succeed(&before.0);
        }
        Ok(Self(Arc::new(pins)))
    }

    #[getter]
    fn changed(&self) -> Vec<String> {
        self.0.changed()
    }

    #[getter]
    fn strange(&self) -> u64 {
        self.0.strange()
    }
}
