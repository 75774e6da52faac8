//! What comes from a client on the fast path, for Python: one call for each arrival of bytes.

use std::cell::Cell;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use gateway_core::caller::Caller as CoreCaller;
use gateway_core::http1::credentials::Fingerprint;
use gateway_core::http1::{Intake as CoreIntake, Peer, Phase, Received};

use crate::clock;
use crate::decision::{Decided, Decision, Times};
use crate::engine::Caller;
use crate::exchange::Exchange;
use crate::gate::Gate;

/// The incoming half of one client's connection.
#[pyclass(module = "gateway._core")]
pub struct Intake {
    gate: Py<Gate>,
    core: CoreIntake,
}

#[pymethods]
impl Intake {
    #[new]
    fn new(gate: Py<Gate>) -> Self {
        Self {
            gate,
            core: CoreIntake::default(),
        }
    }

    fn receive<'py>(
        &mut self,
        py: Python<'py>,
        data: &Bound<'py, PyBytes>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let gate = self.gate.get();
        // Asked when a decision begins and when it is made.
        let times = Cell::new(Times::default());
        let clock = || {
            let read = clock::boottime_ns();
            times.set(Times {
                started: times.get().ended,
                ended: read,
            });
            clock::at(read)
        };
        let found = match self.core.receive(&gate.now(), data.as_bytes(), &clock) {
            Received::More => return Ok(py.None().into_bound(py)),
            Received::Answer(answer) => PyBytes::new(py, &answer).into_any(),
            Received::Forward(forward) => {
                let exchange = Exchange::new(py, forward, times.get());
                Bound::new(py, exchange)?.into_any()
            }
            Received::HandOver(request) => {
                let decided = request.decision.zip(request.engine);
                let decided = decided.zip(request.caller.as_ref());
                let decided = decided.map(|((core, engine), caller)| {
                    Decided::new(core, caller, engine, times.get())
                });
                let handed = HandedOver {
                    tag: request.tag.unwrap_or_default(),
                    token: request.token,
                    method: request.method,
                    target: request.target,
                    headers: request.headers,
                    body: request.body,
                    caller: request.caller,
                    decided: decided.map(Arc::new),
                };
                Bound::new(py, handed)?.into_any()
            }
            Received::TakeOver => {
                let raw = self.core.take_raw();
                Bound::new(py, Foreign { raw })?.into_any()
            }
            Received::Failed(answer) => Bound::new(py, Failed { answer })?.into_any(),
        };
        if self.core.is_empty() {
            return Ok(found);
        }
        Ok(PyTuple::new(py, [found])?.into_any())
    }

    #[pyo3(signature = (grant))]
    fn set_peer(&mut self, grant: Option<String>) {
        self.core.set_peer(match grant {
            Some(grant) => Peer::Grant(grant),
            None => Peer::Stranger,
        });
    }

    fn take_raw<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.core.take_raw())
    }

    #[getter]
    fn pending(&self) -> bool {
        !self.core.is_empty()
    }

    #[getter]
    fn stage(&self) -> &'static str {
        match self.core.phase() {
            Phase::Idle => "idle",
            Phase::Head => "head",
            Phase::Body { .. } => "body",
        }
    }

    #[getter]
    fn received(&self) -> usize {
        match self.core.phase() {
            Phase::Body { received } => received,
            Phase::Idle | Phase::Head => 0,
        }
    }
}

/// A whole request that the fast path does not serve.
#[pyclass(frozen, module = "gateway._core")]
pub struct HandedOver {
    #[pyo3(get)]
    tag: usize,
    token: Option<Fingerprint>,
    method: Vec<u8>,
    target: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    caller: Option<Arc<CoreCaller>>,
    decided: Option<Arc<Decided>>,
}

#[pymethods]
impl HandedOver {
    #[getter]
    fn token<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.token.map(|token| PyBytes::new(py, &token))
    }

    #[getter]
    fn method<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.method)
    }

    #[getter]
    fn target<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.target)
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let pair =
            |(name, value): &(Vec<u8>, Vec<u8>)| (PyBytes::new(py, name), PyBytes::new(py, value));
        self.headers.iter().map(pair).collect()
    }

    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.body)
    }

    #[getter]
    fn caller(&self) -> Option<Caller> {
        self.caller.clone().map(Caller)
    }

    #[getter]
    fn decision(&self) -> Option<Decision> {
        self.decided.clone().map(Decision)
    }
}

/// Everything that came and was not served.
#[pyclass(frozen, module = "gateway._core")]
pub struct Foreign {
    raw: Vec<u8>,
}

#[pymethods]
impl Foreign {
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.raw)
    }
}

/// The answer after which the connection must end.
#[pyclass(frozen, module = "gateway._core")]
pub struct Failed {
    answer: Vec<u8>,
}

#[pymethods]
impl Failed {
    #[getter]
    fn answer<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.answer)
    }
}
