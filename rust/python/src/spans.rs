//! What is to be traced, for Python: made with a sampling, emptied by whoever exports.

use std::time::Duration;

use gateway_core::trace::{Parent, Sampling};
use gateway_log::spans::Record;
use gateway_log::{Spans as Queue, spans};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::log::DecisionLog;

/// Spans that wait to be exported.
#[pyclass(frozen, module = "gateway._core")]
pub struct Spans(pub Queue);

#[pymethods]
impl Spans {
    #[new]
    #[pyo3(signature = (log, *, most, root, sampled, unsampled))]
    fn new(
        log: Option<&DecisionLog>,
        most: usize,
        root: u128,
        sampled: u128,
        unsampled: u128,
    ) -> Self {
        let sampling = Sampling {
            root,
            sampled,
            unsampled,
        };
        let log = log.map(|log| log.0.ledger());
        Self(Queue::new(log, sampling, most))
    }

    #[getter]
    fn made(&self) -> u64 {
        self.0.made()
    }

    fn take<'py>(&self, py: Python<'py>, patience_s: f64) -> PyResult<Option<Bound<'py, PyList>>> {
        let patience = Duration::try_from_secs_f64(patience_s).unwrap_or_default();
        let Some(records) = py.detach(|| self.0.take(patience)) else {
            return Ok(None);
        };
        let list = PyList::empty(py);
        for record in records {
            list.append(row(py, record)?)?;
        }
        Ok(Some(list))
    }

    fn close(&self) {
        self.0.close();
    }
}

fn row(py: Python<'_>, record: Record) -> PyResult<Bound<'_, PyDict>> {
    let spans::Record {
        span,
        started,
        ended,
        grant,
        server,
        session,
        method,
        tool,
        request_id,
        allowed,
        code,
        rule,
        limit,
        shadow,
        policy,
        end,
    } = record;
    let number = |digits: &[u8]| {
        let text = std::str::from_utf8(digits).unwrap_or_default();
        u128::from_str_radix(text, 16).unwrap_or_default()
    };
    let row = PyDict::new(py);
    row.set_item("trace_id", number(&span.trace))?;
    row.set_item("span_id", number(&span.id))?;
    row.set_item("parent_id", span.parent.map(|parent| number(&parent.id)))?;
    let recorded = span.parent.is_some_and(Parent::is_sampled);
    row.set_item("parent_sampled", recorded)?;
    row.set_item("started_ns", started.0)?;
    row.set_item("ended_ns", ended.0)?;
    row.set_item("grant", grant)?;
    row.set_item("server", server)?;
    row.set_item("session", session)?;
    row.set_item("method", method)?;
    row.set_item("tool", tool)?;
    row.set_item("request_id", request_id)?;
    row.set_item("allowed", allowed)?;
    row.set_item("code", code)?;
    row.set_item("rule", rule)?;
    let (counter, remaining) = limit.unzip();
    row.set_item("counter", counter)?;
    row.set_item("remaining", remaining.map(|left| left.to_string()))?;
    row.set_item("shadow", shadow)?;
    row.set_item("policy", policy)?;
    row.set_item("status", end.status)?;
    row.set_item("fault", end.fault.as_deref())?;
    Ok(row)
}
