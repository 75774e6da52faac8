//! An allowed message on the fast path, and the answer to it, for Python: one call for each arrival of bytes.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use gateway_core::caller::Caller as CoreCaller;
use gateway_core::engine::Outcome;
use gateway_core::http1::credentials::Fingerprint;
use gateway_core::http1::{Answering, Forward, Reason, State, Step};

use crate::decision::{Decided, Decision, Times};
use crate::engine::Caller;

/// An allowed message on its way, and the answer to it as it comes.
#[pyclass(module = "gateway._core")]
pub struct Exchange {
    tag: usize,
    token: Option<Fingerprint>,
    request: Py<PyBytes>,
    caller: Arc<CoreCaller>,
    decided: Arc<Decided>,
    /// Boxed, since Python's own allocation moves its content a few times.
    answering: Box<Answering>,
    /// The last step, if there was anything to say of it.
    step: Option<Box<Step>>,
}

const MORE: u8 = 0;
const DONE: u8 = 1;
const CLOSED: u8 = 2;
const ODD: u8 = 3;
const FAULT: u8 = 4;
const LOOK: u8 = 8;

type Fed<'py> = (u8, Option<Bound<'py, PyBytes>>);

impl Exchange {
    #[inline]
    pub(crate) fn new(py: Python<'_>, forward: Forward, times: Times) -> Self {
        Self {
            tag: forward.tag,
            token: forward.token,
            request: PyBytes::new(py, &forward.bytes).unbind(),
            decided: Arc::new(Decided::new(
                forward.decision,
                &forward.caller,
                forward.engine,
                times,
            )),
            caller: forward.caller,
            answering: Box::new(Answering::new(forward.asked)),
            step: None,
        }
    }

    fn stepped<'py>(&mut self, py: Python<'py>, step: Step, out: &[u8]) -> Fed<'py> {
        let look = !step.see.is_empty() || step.check.is_some();
        let state = match &step.state {
            State::More => MORE,
            State::Done { reusable } => {
                self.decided.note(Some(self.answering.status()), None);
                self.decided.settle(Outcome::Done, None);
                // What has to be looked at first may turn out to be no answer.
                if !look {
                    self.decided.record();
                }
                if *reusable { DONE } else { CLOSED }
            }
            State::Odd => ODD,
            State::Fault { .. } => FAULT,
        };
        if state != DONE && self.answering.status() != 0 {
            self.decided.note(Some(self.answering.status()), None);
        }
        self.step = (look || state == FAULT).then(|| Box::new(step));
        let out = (!out.is_empty()).then(|| PyBytes::new(py, out));
        (if look { state | LOOK } else { state }, out)
    }

    /// Ends the call: an answer of our own is all that becomes of it.
    fn fail(&self, code: &str) {
        self.decided.note(None, Some(code));
        self.decided.settle(Outcome::Unknown, None);
        self.decided.record();
    }
}

#[pymethods]
impl Exchange {
    #[classattr]
    const MORE: u8 = MORE;
    #[classattr]
    const DONE: u8 = DONE;
    #[classattr]
    const CLOSED: u8 = CLOSED;
    #[classattr]
    const ODD: u8 = ODD;
    #[classattr]
    const FAULT: u8 = FAULT;
    #[classattr]
    const LOOK: u8 = LOOK;

    #[getter]
    fn tag(&self) -> usize {
        self.tag
    }

    #[getter]
    fn token<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.token.map(|token| PyBytes::new(py, &token))
    }

    #[getter]
    fn request(&self, py: Python<'_>) -> Py<PyBytes> {
        self.request.clone_ref(py)
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.decided.core.kind.name()
    }

    #[getter]
    fn modern(&self) -> bool {
        !self.answering.asked().legacy
    }

    #[getter]
    fn session(&self) -> Option<String> {
        let session = self.answering.asked().session.as_deref()?;
        Some(session.iter().map(|byte| char::from(*byte)).collect())
    }

    #[getter]
    fn caller(&self) -> Caller {
        Caller(self.caller.clone())
    }

    fn feed<'py>(&mut self, py: Python<'py>, data: &Bound<'py, PyBytes>) -> Fed<'py> {
        let mut out = Vec::new();
        let step = self
            .answering
            .feed(&self.decided.engine, data.as_bytes(), &mut out);
        self.stepped(py, step, &out)
    }

    fn end<'py>(&mut self, py: Python<'py>) -> Fed<'py> {
        let step = self.answering.end();
        self.stepped(py, step, &[])
    }

    fn close(&mut self) {
        self.answering.close();
    }

    #[getter]
    fn started(&self) -> bool {
        self.answering.started()
    }

    #[getter]
    fn raw<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.answering.take_raw())
    }

    #[getter]
    fn seen<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        let messages = self.step.iter().flat_map(|step| &step.see);
        messages.map(|message| PyBytes::new(py, message)).collect()
    }

    #[getter]
    fn document<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let document = self.step.as_ref()?.check.as_deref()?;
        Some(PyBytes::new(py, document))
    }

    #[getter]
    fn fault(&self) -> Option<(&'static str, &str)> {
        let State::Fault { reason, message } = &self.step.as_ref()?.state else {
            return None;
        };
        let reason = match reason {
            Reason::Invalid => "invalid",
            Reason::Reset => "reset",
        };
        Some((reason, message.as_ref()))
    }

    fn give_back(&self) {
        self.decided.settle(Outcome::NotSent, None);
    }

    fn finish(&self) {
        self.decided.settle(Outcome::Unknown, None);
        self.decided.record();
    }

    #[getter]
    fn decision(&self) -> Decision {
        Decision(self.decided.clone())
    }

    #[pyo3(signature = (code, message, *, status))]
    fn refusal<'py>(
        &self,
        py: Python<'py>,
        code: &str,
        message: &str,
        status: u16,
    ) -> Bound<'py, PyBytes> {
        self.fail(code);
        let fault = self.decided.fault_of(code, message, status);
        PyBytes::new(py, &self.answering.refusal(&fault))
    }

    #[pyo3(signature = (code, message, *, status))]
    fn last_event<'py>(
        &self,
        py: Python<'py>,
        code: &str,
        message: &str,
        status: u16,
    ) -> Option<Bound<'py, PyBytes>> {
        self.fail(code);
        let fault = self.decided.fault_of(code, message, status);
        let event = self.answering.last_event(&fault)?;
        Some(PyBytes::new(py, &event))
    }
}
