//! A decision for Python: a frozen view of the core's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use gateway_core::caller::Caller;
use gateway_core::counts::Phase;
use gateway_core::decimal::Decimal;
use gateway_core::decision::{Decision as Core, LimitReport};
use gateway_core::denial;
use gateway_core::engine::{Engine, Outcome};
use gateway_core::ledger::{End, Entry};
use gateway_core::message::Era;
use gateway_core::policy::Quota;
use gateway_core::time::Nanos;

use crate::clock;

/// When a decision was begun and when it was made, in nanoseconds since boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub started: u64,
    pub ended: u64,
}

/// What was decided of one message, and who settles it.
pub struct Decided {
    pub core: Arc<Core>,
    pub engine: Arc<Engine>,
    /// It was settled as not sent.
    given_back: AtomicBool,
    times: Times,
    /// Only where decisions are recorded, so that others need no lock and count nobody's holders.
    recording: Option<Box<Recording>>,
}

/// What a record needs besides the decision.
struct Recording {
    caller: Arc<Caller>,
    state: Mutex<State>,
}

/// What became of it so far.
#[derive(Default)]
struct State {
    end: End,
    recorded: bool,
}

impl Recording {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same for Python. Mostly nobody there asks for it, and then it is not made.
#[pyclass(frozen, module = "gateway._core")]
pub struct Decision(pub Arc<Decided>);

type Fields<'py> = Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>;
type Answer<'py> = (u16, Fields<'py>, Bound<'py, PyBytes>);

impl Decided {
    /// A refusal is recorded at once.
    pub fn new(core: Arc<Core>, caller: &Arc<Caller>, engine: Arc<Engine>, times: Times) -> Self {
        let recording = engine.options().ledger.as_ref().map(|_| {
            Box::new(Recording {
                caller: caller.clone(),
                state: Mutex::default(),
            })
        });
        let decided = Self {
            core,
            engine,
            given_back: AtomicBool::new(false),
            times,
            recording,
        };
        if !decided.core.allowed && !decided.core.held {
            decided.record();
        }
        decided
    }

    /// Remembers the server's status, and what kept the message from being served.
    pub fn note(&self, status: Option<u16>, fault: Option<&str>) {
        let Some(recording) = &self.recording else {
            return;
        };
        let mut state = recording.state();
        state.end.status = status.or(state.end.status);
        if let Some(fault) = fault {
            state.end.fault = Some(fault.into());
        }
    }

    /// Has the decision log told of it, once.
    pub fn record(&self) {
        let Some(recording) = &self.recording else {
            return;
        };
        self.engine.record(|| {
            let mut state = recording.state();
            if std::mem::replace(&mut state.recorded, true) {
                return None;
            }
            Some(Entry {
                decision: self.core.clone(),
                caller: recording.caller.clone(),
                at: clock::at(self.times.started),
                decide_ns: self.times.ended.saturating_sub(self.times.started),
                end: std::mem::take(&mut state.end),
            })
        });
    }

    /// Ends what is still reserved, and counts what the call took; once, and nothing of what was refused.
    pub fn settle(&self, outcome: Outcome, now_ns: Option<u64>) {
        if !self.core.allowed || self.core.is_settled() {
            return;
        }
        let passed = clock::boottime_ns();
        let now = now_ns.map_or_else(|| clock::at(passed), Nanos);
        if !self.engine.settle(&self.core, outcome, now) {
            return;
        }
        if outcome == Outcome::NotSent {
            // ORDERING: read by whoever settled; nothing else is published by it.
            self.given_back.store(true, Ordering::Relaxed);
        }
        let since = |then: u64| passed.saturating_sub(then);
        if let Some(recording) = &self.recording {
            recording.state().end.took_ns = Some(since(self.times.started));
        }
        // How long somebody listens says nothing of how long an answer takes.
        if self.core.method.as_deref() == Some("subscriptions/listen") {
            return;
        }
        let counts = self.engine.counts();
        counts
            .phase(Phase::Request)
            .observe(since(self.times.started));
        if outcome != Outcome::NotSent {
            counts
                .phase(Phase::Upstream)
                .observe(since(self.times.ended));
        }
    }

    /// The answer when the message could not be served.
    pub fn fault_of(&self, code: &str, message: &str, status: u16) -> denial::Answer {
        denial::fault(&self.core, code, message, status)
    }

    fn report(&self) -> Option<(&LimitReport, &Quota)> {
        self.core
            .limits
            .first()
            .map(|report| (report, self.core.policy.quota(report.quota)))
    }
}

impl Drop for Decided {
    /// Dropped unsettled: it stays charged, but it is no longer running. How long that took says nothing of a call.
    fn drop(&mut self) {
        if self.core.allowed && !self.core.is_settled() {
            // A time is for what is given back only, and nothing is.
            self.engine.settle(&self.core, Outcome::Unknown, Nanos(0));
        }
        if !self.core.held {
            self.record();
        }
    }
}

fn number(py: Python<'_>, value: Decimal) -> PyResult<Py<PyAny>> {
    let text = value.to_string();
    match text.parse::<u64>() {
        Ok(whole) => whole.into_py_any(py),
        Err(_) => text.parse::<f64>().unwrap_or(f64::NAN).into_py_any(py),
    }
}

fn fields<'py>(py: Python<'py>, headers: Vec<(&'static str, String)>) -> Fields<'py> {
    headers
        .into_iter()
        .map(|(name, value)| {
            (
                PyBytes::new(py, name.as_bytes()),
                PyBytes::new(py, value.as_bytes()),
            )
        })
        .collect()
}

fn answer(py: Python<'_>, answer: denial::Answer) -> Answer<'_> {
    (
        answer.status,
        fields(py, answer.headers),
        PyBytes::new(py, answer.body.as_bytes()),
    )
}

#[pymethods]
impl Decision {
    #[getter]
    fn allowed(&self) -> bool {
        self.0.core.allowed
    }

    #[getter]
    fn code(&self) -> &'static str {
        self.0.core.code.slug()
    }

    #[getter]
    fn held(&self) -> bool {
        self.0.core.held
    }

    #[getter]
    fn approved(&self) -> bool {
        self.0.core.allowed && self.0.core.approval.is_some()
    }

    #[getter]
    fn given_back(&self) -> bool {
        // ORDERING: as where it is set.
        self.0.given_back.load(Ordering::Relaxed)
    }

    #[getter]
    fn rule(&self) -> Option<&str> {
        self.0.core.rule.as_deref()
    }

    #[getter]
    fn message(&self) -> &str {
        &self.0.core.message
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.0.core.kind.name()
    }

    #[getter]
    fn modern(&self) -> bool {
        self.0.core.era == Era::Modern
    }

    #[getter]
    fn method(&self) -> Option<&str> {
        self.0.core.method.as_deref()
    }

    #[getter]
    fn target(&self) -> Option<&str> {
        self.0.core.target.as_deref()
    }

    #[getter]
    fn request_id<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0
            .core
            .request_id
            .as_deref()
            .map(|id| PyBytes::new(py, id))
    }

    #[getter]
    fn progress_token<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0
            .core
            .progress_token
            .as_deref()
            .map(|token| PyBytes::new(py, token))
    }

    #[getter]
    fn counter(&self) -> Option<&str> {
        self.0.report().map(|(_, quota)| quota.counter.as_str())
    }

    #[getter]
    fn limit(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0
            .report()
            .map(|(report, quota)| number(py, report.limit(quota)))
            .transpose()
    }

    #[getter]
    fn window(&self) -> Option<&str> {
        self.0
            .report()
            .map(|(_, quota)| quota.window_text.as_str())
            .filter(|text| !text.is_empty())
    }

    #[getter]
    fn remaining(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0
            .report()
            .map(|(report, quota)| number(py, report.remaining(quota)))
            .transpose()
    }

    #[getter]
    fn retry_after_ms(&self) -> Option<u64> {
        self.0.core.retry_after_ms()
    }

    #[getter]
    fn shadowed(&self) -> bool {
        self.0.core.allowed && !self.0.core.shadow.is_empty()
    }

    #[getter]
    fn shadow(&self) -> Vec<(&str, &'static str)> {
        self.0
            .core
            .shadow
            .iter()
            .map(|denial| (denial.rule.as_str(), denial.code.slug()))
            .collect()
    }

    #[getter]
    fn traceparent<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let told = self.0.core.traceparent();
        told.map(|told| PyBytes::new(py, &told))
    }

    #[getter]
    fn policy(&self) -> &str {
        self.0.core.policy.digest()
    }

    fn limit_headers<'py>(&self, py: Python<'py>) -> Fields<'py> {
        fields(py, denial::limit_headers(&self.0.core))
    }

    fn answer<'py>(&self, py: Python<'py>) -> PyResult<Answer<'py>> {
        if self.0.core.allowed {
            return Err(PyValueError::new_err("an allowed message has no refusal"));
        }
        Ok(answer(
            py,
            denial::answer(&self.0.core, self.0.engine.options().protocol_denials),
        ))
    }

    #[pyo3(signature = (code, message, *, status))]
    fn fault<'py>(&self, py: Python<'py>, code: &str, message: &str, status: u16) -> Answer<'py> {
        answer(py, self.0.fault_of(code, message, status))
    }

    fn __repr__(&self) -> String {
        let Core {
            code,
            method,
            target,
            ..
        } = &*self.0.core;
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        format!(
            "<Decision {code} {} {}>",
            or_dash(method.as_deref()),
            or_dash(target.as_deref())
        )
    }
}
