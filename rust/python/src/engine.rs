//! The engine for Python: one crossing per request.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySequence};
use smallvec::SmallVec;

use gateway_core::caller::Caller as CoreCaller;
use gateway_core::claims::Claims;
use gateway_core::counts::Phase;
use gateway_core::engine::{Beside, Engine as CoreEngine, Options, Outcome};
use gateway_core::exposition::lines;
use gateway_core::json::Bounds;
use gateway_core::time::Nanos;
use gateway_core::{explain, listing, usage};

use crate::approval::Approval;
use crate::clock;
use crate::decision::{Decided, Decision, Times};
use crate::limits::LimitTable;
use crate::log::DecisionLog;
use crate::pins::Pins;
use crate::policy::PolicySet;
use crate::spans::Spans;

/// Who asks, through which server and session.
#[pyclass(frozen, eq, hash, module = "gateway._core")]
#[derive(PartialEq, Eq, Hash)]
pub struct Caller(pub Arc<CoreCaller>);

#[pymethods]
impl Caller {
    #[new]
    #[pyo3(signature = (grant, *, server, session = None, revision = None))]
    fn new(
        grant: String,
        server: String,
        session: Option<String>,
        revision: Option<String>,
    ) -> Self {
        Self(Arc::new(CoreCaller::new(grant, server, session, revision)))
    }

    #[getter]
    fn grant(&self) -> &str {
        self.0.grant()
    }

    #[getter]
    fn server(&self) -> &str {
        self.0.server()
    }

    #[getter]
    fn session(&self) -> Option<&str> {
        self.0.session()
    }

    #[getter]
    fn revision(&self) -> Option<&str> {
        self.0.revision()
    }
}

/// The decision point of one grant on one server.
#[pyclass(frozen, module = "gateway._core")]
pub struct Engine(pub Arc<CoreEngine>);

/// The claims of header fields. `held` keeps the tuples alive whose bytes they borrow.
fn claims<'a, 'py>(
    headers: &Bound<'py, PySequence>,
    held: &'a mut SmallVec<[Bound<'py, PyAny>; 24]>,
) -> PyResult<Claims<'a>> {
    for field in headers.try_iter()? {
        held.push(field?);
    }
    let mut wrong = None;
    let fields = held.iter().map_while(|field| {
        let field = field.extract::<(&[u8], &[u8])>();
        field.map_err(|error| wrong = Some(error)).ok()
    });
    let claims = Claims::read(fields);
    wrong.map_or(Ok(claims), Err)
}

fn named(phase: &str) -> PyResult<Phase> {
    let found = Phase::ALL.into_iter().find(|known| known.name() == phase);
    found.ok_or_else(|| PyValueError::new_err("a phase is `decide`, `request` or `upstream`"))
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (
        policies, table, *, shadow = false, max_body_bytes = 1_048_576, max_depth = 64, denials = "result",
        log = None, approvals = false, spans = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "each has its name in Python")]
    fn new(
        policies: &PolicySet,
        table: &LimitTable,
        shadow: bool,
        max_body_bytes: usize,
        max_depth: usize,
        denials: &str,
        log: Option<&DecisionLog>,
        approvals: bool,
        spans: Option<&Spans>,
    ) -> PyResult<Self> {
        let protocol_denials = match denials {
            "result" => false,
            "protocol" => true,
            _ => return Err(PyValueError::new_err("denials is `result` or `protocol`")),
        };
        let bounds = Bounds {
            max_bytes: max_body_bytes,
            max_depth,
            ..Bounds::default()
        };
        let options = Options {
            shadow,
            bounds,
            protocol_denials,
            // Spans have a log of their own, to which they pass on.
            ledger: spans
                .map(|spans| spans.0.ledger())
                .or_else(|| log.map(|log| log.0.ledger())),
            approvals,
        };
        Ok(Self(Arc::new(CoreEngine::new(
            policies.0.clone(),
            table.0.clone(),
            options,
        ))))
    }

    #[getter]
    fn policies(&self) -> PolicySet {
        PolicySet(self.0.policy())
    }

    #[getter]
    fn filters(&self) -> bool {
        self.0.filters()
    }

    #[pyo3(signature = (pins))]
    fn pin(&self, pins: Option<&Pins>) {
        self.0.pin(pins.map(|pins| pins.0.clone()));
    }

    fn install(&self, policies: &PolicySet) {
        self.0.install(policies.0.clone());
    }

    #[pyo3(signature = (caller, body, headers = None, *, approval = None, full = false, now_ns = None))]
    fn decide(
        &self,
        caller: &Caller,
        body: &Bound<'_, PyBytes>,
        headers: Option<&Bound<'_, PySequence>>,
        approval: Option<&Approval>,
        full: bool,
        now_ns: Option<u64>,
    ) -> PyResult<Decision> {
        let mut held = SmallVec::new();
        let claims = headers.map(|headers| claims(headers, &mut held));
        let claims = claims.transpose()?;
        let started = clock::boottime_ns();
        let now = now_ns.map_or_else(|| clock::at(started), Nanos);
        let approval = approval.map(|approval| &approval.0);
        let beside = Beside { approval, full };
        let body = body.as_bytes();
        let core = self
            .0
            .decide_beside(&caller.0, body, claims.as_ref(), now, beside);
        let ended = clock::boottime_ns();
        let times = Times { started, ended };
        let took = ended.saturating_sub(started);
        if !core.held {
            self.0.counts().observe(&core, took);
        }
        let decided = Decided::new(core, &caller.0, self.0.clone(), times);
        Ok(Decision(Arc::new(decided)))
    }

    #[pyo3(signature = (decision, outcome, *, status = None, fault = None, now_ns = None))]
    #[expect(
        clippy::unused_self,
        reason = "a decision knows its engine; the caller need not"
    )]
    fn settle(
        &self,
        decision: &Decision,
        outcome: &str,
        status: Option<u16>,
        fault: Option<&str>,
        now_ns: Option<u64>,
    ) -> PyResult<()> {
        let outcome = match outcome {
            "done" => Outcome::Done,
            "unknown" => Outcome::Unknown,
            "not-sent" => Outcome::NotSent,
            _ => {
                return Err(PyValueError::new_err(
                    "outcome is `done`, `unknown` or `not-sent`",
                ));
            }
        };
        decision.0.note(status, fault);
        decision.0.settle(outcome, now_ns);
        decision.0.record();
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "as above")]
    fn record(&self, decision: &Decision) {
        decision.0.record();
    }

    fn filter_list<'py>(
        &self,
        py: Python<'py>,
        caller: &Caller,
        body: Bound<'py, PyBytes>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let _ = caller;
        let Some(hiding) = self.0.hiding() else {
            return Ok(body);
        };
        match listing::filter(&hiding, body.as_bytes()) {
            Ok(None) => Ok(body),
            Ok(Some(filtered)) => Ok(PyBytes::new(py, &filtered)),
            Err(fault) => Err(PyValueError::new_err(fault.to_string())),
        }
    }

    #[pyo3(signature = (caller, body, *, now_ns = None))]
    fn explain(&self, caller: &Caller, body: &[u8], now_ns: Option<u64>) -> String {
        explain::explain(&self.0, &caller.0, body, clock::now(now_ns))
    }

    fn counters(&self) -> Vec<(String, &'static str, &'static str, u64)> {
        let totals = self.0.totals().into_iter();
        totals
            .map(|(label, code, count)| (label, code.effect(), code.slug(), count))
            .collect()
    }

    fn shadow_counters(&self) -> Vec<(String, u64)> {
        self.0.counts().shadow_totals()
    }

    #[pyo3(signature = (caller, *, now_ns = None))]
    fn usage<'py>(
        &self,
        py: Python<'py>,
        caller: &Caller,
        now_ns: Option<u64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for usage in usage::usage(&self.0, &caller.0, clock::now(now_ns)) {
            let row = PyDict::new(py);
            row.set_item("rule", usage.rule)?;
            row.set_item("counter", usage.counter)?;
            row.set_item("window", usage.window)?;
            row.set_item("scope", usage.scope)?;
            row.set_item("max", usage.max)?;
            row.set_item("used", usage.used)?;
            row.set_item("remaining", usage.remaining)?;
            row.set_item("reset_ms", usage.reset_ms)?;
            list.append(row)?;
        }
        Ok(list)
    }

    fn observe(&self, phase: &str, duration_ns: u64) -> PyResult<()> {
        self.0.counts().phase(named(phase)?).observe(duration_ns);
        Ok(())
    }

    fn histogram(&self, phase: &str) -> PyResult<(Vec<u64>, u64, u64)> {
        Ok(self.0.counts().phase(named(phase)?).read())
    }

    fn decision_lines<'py>(&self, py: Python<'py>, caller: &Caller) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &lines::decisions(&self.0, &caller.0))
    }

    #[pyo3(signature = (caller, *, now_ns = None))]
    fn usage_lines<'py>(
        &self,
        py: Python<'py>,
        caller: &Caller,
        now_ns: Option<u64>,
    ) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &lines::usage(&self.0, &caller.0, clock::now(now_ns)))
    }

    #[pyo3(signature = (caller, *, now_ns = None))]
    fn usage_ratios(&self, caller: &Caller, now_ns: Option<u64>) -> Vec<(String, f64)> {
        let ratios = usage::ratios(&self.0, &caller.0, clock::now(now_ns));
        ratios.into_iter().collect()
    }
}
