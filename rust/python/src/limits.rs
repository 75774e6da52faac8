//! The limit table for Python.

use std::os::fd::{AsFd, IntoRawFd};
use std::path::Path;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use gateway_core::decimal::Decimal;
use gateway_core::limit::{Algorithm, LimitTable as Core, Window};

use crate::clock;
use crate::errors::open_error;

/// How long the owner of a session or task id is remembered after its last use.
const IDLE_NS: u64 = 24 * 3600 * 1_000_000_000;

/// Counts of every limit: atomics in a mapped file, shared by worker processes, outliving policies.
#[pyclass(frozen, module = "gateway._core")]
pub struct LimitTable(pub Arc<Core>);

/// How a count is kept, for people.
fn words(algorithm: Algorithm) -> String {
    let seconds = |ns: u64| format!("{} s", Decimal::from_units(ns, 9));
    match algorithm {
        Algorithm::Fixed(Window::Span(ns)) => format!("fixed window of {}", seconds(ns)),
        Algorithm::Fixed(Window::Month) => "fixed window of a month".to_owned(),
        Algorithm::Sliding(ns) => format!("sliding window of {}", seconds(ns)),
        Algorithm::Bucket {
            window_ns, burst, ..
        } => {
            format!("token bucket of {}, burst {burst}", seconds(window_ns))
        }
        Algorithm::Concurrency => "concurrency".to_owned(),
    }
}

#[pymethods]
impl LimitTable {
    #[new]
    #[pyo3(signature = (slots = 16384, *, path = None))]
    fn new(slots: usize, path: Option<&str>) -> PyResult<Self> {
        let table = match path {
            None => Core::anonymous(slots)?,
            Some(path) => Core::open(Path::new(path), slots, clock::now(None))
                .map_err(|error| open_error(&error))?,
        };
        Ok(Self(Arc::new(table)))
    }

    #[staticmethod]
    fn join(path: &str) -> PyResult<Self> {
        let table = Core::join(Path::new(path)).map_err(|error| open_error(&error))?;
        Ok(Self(Arc::new(table)))
    }

    #[staticmethod]
    #[pyo3(signature = (slots = 16384))]
    fn shared(slots: usize) -> PyResult<(Self, i32)> {
        let table = Core::anonymous(slots)?;
        let descriptor = table.as_fd().try_clone_to_owned()?.into_raw_fd();
        Ok((Self(Arc::new(table)), descriptor))
    }

    #[getter]
    fn slots(&self) -> usize {
        self.0.slots()
    }

    #[getter]
    fn used(&self) -> usize {
        self.0.used()
    }

    #[pyo3(signature = (now_ns = None))]
    fn evict_idle(&self, now_ns: Option<u64>) -> usize {
        self.0.evict_idle(clock::now(now_ns))
    }

    #[pyo3(signature = (kind, server, id, grant, payload = 0, *, now_ns = None))]
    fn bind(
        &self,
        kind: &str,
        server: &str,
        id: &str,
        grant: &str,
        payload: u64,
        now_ns: Option<u64>,
    ) -> bool {
        let key = self.0.binding_key(kind, server, id.as_bytes());
        let owner = self.0.owner_word(grant);
        self.0
            .bind(key, owner, payload, clock::now(now_ns), IDLE_NS)
            .is_ok()
    }

    #[pyo3(signature = (kind, server, id, grant, *, now_ns = None))]
    fn owned(
        &self,
        kind: &str,
        server: &str,
        id: &str,
        grant: &str,
        now_ns: Option<u64>,
    ) -> Option<u64> {
        let key = self.0.binding_key(kind, server, id.as_bytes());
        let binding = self.0.owner(key, clock::now(now_ns))?;
        (binding.owner == self.0.owner_word(grant)).then_some(binding.payload)
    }

    fn unbind(&self, kind: &str, server: &str, id: &str) {
        self.0
            .unbind(self.0.binding_key(kind, server, id.as_bytes()));
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.0.stats();
        let row = PyDict::new(py);
        row.set_item("slots", stats.slots)?;
        row.set_item("used", stats.used)?;
        row.set_item("insert_refusals", stats.insert_refusals)?;
        row.set_item("evictions", stats.evictions)?;
        row.set_item("clock_floor_ns", stats.clock_floor.0)?;
        Ok(row)
    }

    fn dump<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for entry in self.0.entries(clock::now(None)) {
            let row = PyDict::new(py);
            row.set_item("fingerprint", format!("{:016x}", entry.fingerprint))?;
            row.set_item("algorithm", words(entry.algorithm))?;
            row.set_item("label", entry.label)?;
            row.set_item("used", entry.used)?;
            list.append(row)?;
        }
        Ok(list)
    }
}
