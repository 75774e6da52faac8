//! The fast path's codec for Python: one call for each arrival of bytes, in either direction.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use gateway_core::caller::Caller as CoreCaller;
use gateway_core::engine::Outcome;
use gateway_core::http1::credentials::{Credential, Credentials, Fingerprint};
use gateway_core::http1::{
    Answering, Gate as CoreGate, GateOptions, Intake as CoreIntake, Peer, Phase, Reason, Received,
    Route, State, Step,
};
use gateway_core::time::Nanos;

use crate::clock;
use crate::decision::{Decided, Decision, Times};
use crate::engine::{Caller, Engine};

const MAX_HEAD_BYTES: usize = 32 * 1024;

/// What one listener's fast path is sure of.
#[pyclass(frozen, module = "gateway._core")]
pub struct Gate {
    options: GateOptions,
    open: ArcSwap<CoreGate>,
    /// The same without a route, so that everything is handed over.
    closed: ArcSwap<CoreGate>,
    draining: AtomicBool,
}

type RouteOf<'py> = (
    Vec<u8>,
    Bound<'py, Engine>,
    String,
    String,
    Vec<u8>,
    Vec<Vec<u8>>,
    usize,
    bool,
);

type TokenOf = (Fingerprint, String, Option<f64>);

/// What a token stands for.
fn credential(grant: String, until: Option<f64>) -> PyResult<Credential> {
    let until = until.map(|seconds| {
        Duration::try_from_secs_f64(seconds)
            .ok()
            .and_then(|since| u64::try_from(since.as_nanos()).ok())
            .map(Nanos)
            .ok_or_else(|| PyValueError::new_err("an end is in seconds since 1970"))
    });
    Ok(Credential {
        grant,
        until: until.transpose()?,
    })
}

fn open(
    options: &GateOptions,
    routes: Vec<RouteOf<'_>>,
    tokens: Vec<TokenOf>,
    learns: bool,
) -> PyResult<Arc<CoreGate>> {
    let mut gate = CoreGate::new(options.clone());
    for (path, engine, grant, server, head, own_names, tag, anonymous) in routes {
        let engine = engine.get().0.clone();
        let route = Route {
            engine,
            grant,
            server,
            head,
            own_names,
            tag,
        };
        gate.add_route(path, route, anonymous);
    }
    let mut credentials = Credentials::new(learns);
    for (token, grant, until) in tokens {
        credentials.add(token, credential(grant, until)?);
    }
    gate.set_credentials(credentials);
    Ok(Arc::new(gate))
}

#[pymethods]
impl Gate {
    #[new]
    #[pyo3(signature = (*, hosts, routes, max_body_bytes = 1_048_576, tokens = Vec::new(), learns = false))]
    fn new(
        hosts: Option<Vec<Vec<u8>>>,
        routes: Vec<RouteOf<'_>>,
        max_body_bytes: usize,
        tokens: Vec<TokenOf>,
        learns: bool,
    ) -> PyResult<Self> {
        let options = GateOptions {
            max_head_bytes: MAX_HEAD_BYTES,
            max_body_bytes,
            hosts,
        };
        Ok(Self {
            open: ArcSwap::new(open(&options, routes, tokens, learns)?),
            closed: ArcSwap::from_pointee(CoreGate::new(options.clone())),
            options,
            draining: AtomicBool::new(false),
        })
    }

    #[pyo3(signature = (*, routes, tokens = Vec::new(), learns = false))]
    fn install(
        &self,
        routes: Vec<RouteOf<'_>>,
        tokens: Vec<TokenOf>,
        learns: bool,
    ) -> PyResult<()> {
        self.open
            .store(open(&self.options, routes, tokens, learns)?);
        Ok(())
    }

    #[pyo3(signature = (token, grant, *, until = None))]
    fn learn(&self, token: Fingerprint, grant: String, until: Option<f64>) -> PyResult<()> {
        let credential = credential(grant, until)?;
        let open = self.open.load();
        open.credentials()
            .learn(token, credential, clock::now(None));
        Ok(())
    }

    fn drain(&self) {
        // ORDERING: nothing else is published by it.
        self.draining.store(true, Ordering::Relaxed);
    }
}

impl Gate {
    fn now(&self) -> Guard<Arc<CoreGate>> {
        // ORDERING: as in `drain`.
        if self.draining.load(Ordering::Relaxed) {
            self.closed.load()
        } else {
            self.open.load()
        }
    }
}

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
                let exchange = Exchange {
                    tag: forward.tag,
                    token: forward.token,
                    request: PyBytes::new(py, &forward.bytes).unbind(),
                    decided: Arc::new(Decided::new(
                        forward.decision,
                        &forward.caller,
                        forward.engine,
                        times.get(),
                    )),
                    caller: forward.caller,
                    answering: Box::new(Answering::new(forward.asked)),
                    step: None,
                };
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
