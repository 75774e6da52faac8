//! The decision log for Python: opened, told of what has no message, asked how it is, closed; and read back.

use std::fs::File;
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use gateway_core::time::Nanos;
use gateway_log::file::Rotation;
use gateway_log::verify::{Remark, Report, digits, verify};
use gateway_log::{Log, Options, Overflow, Target, Visit};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::clock;

/// A decision log that is open.
#[pyclass(frozen, module = "gateway._core")]
pub struct DecisionLog(pub Log);

fn present_ns() -> u64 {
    clock::now(None).0
}

/// Says it on standard error, where that can be written: the log's own trouble has nowhere else to go. `eprintln`
/// would panic where it cannot, and end the writer with the disk that both are on.
fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "interlock: WARNING: {message}");
}

#[pymethods]
impl DecisionLog {
    #[new]
    #[pyo3(signature = (
        path, *, on_overflow = "deny", include_args = Vec::new(), buffer_bytes = 8 << 20, rotate_bytes = None,
        rotate_s = None, keep = None, worker = None, about = Vec::new()
    ))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn new(
        path: PathBuf,
        on_overflow: &str,
        include_args: Vec<String>,
        buffer_bytes: usize,
        rotate_bytes: Option<u64>,
        rotate_s: Option<f64>,
        keep: Option<usize>,
        worker: Option<u32>,
        about: Vec<(String, String)>,
    ) -> PyResult<Self> {
        let overflow = match on_overflow {
            "deny" => Overflow::Deny,
            "drop" => Overflow::Drop,
            _ => return Err(PyValueError::new_err("on_overflow is `deny` or `drop`")),
        };
        let age = rotate_s.map(Duration::try_from_secs_f64).transpose();
        let age = age.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let target = if path.as_os_str() == "-" {
            let stdout = std::io::stdout();
            let file = File::from(stdout.as_fd().try_clone_to_owned()?);
            if stdout.is_terminal() {
                Target::Terminal(file)
            } else {
                Target::Stream(file)
            }
        } else {
            Target::Path(path)
        };
        let log = Log::open(Options {
            target,
            overflow,
            arguments: include_args,
            buffer_bytes,
            rotation: Rotation {
                bytes: rotate_bytes,
                age_ns: age.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
                keep,
            },
            worker,
            about,
            clock: present_ns,
            tell,
        })?;
        Ok(Self(log))
    }

    #[pyo3(signature = (code, *, method = None, grant = None, server = None, session = None))]
    fn request(
        &self,
        code: String,
        method: Option<String>,
        grant: Option<String>,
        server: Option<String>,
        session: Option<String>,
    ) -> bool {
        let at = Nanos(present_ns());
        self.0.visit(Visit {
            at,
            grant,
            server,
            session,
            method,
            code,
        })
    }

    fn event(&self, name: String, members: Vec<(String, String)>) {
        self.0.event(name, members);
    }

    #[getter]
    fn required(&self) -> bool {
        self.0.ledger().is_required()
    }

    #[getter]
    fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.0.stats();
        let told = PyDict::new(py);
        told.set_item("lines", stats.lines)?;
        told.set_item("bytes", stats.bytes)?;
        told.set_item("dropped", stats.lost)?;
        told.set_item("waiting_bytes", stats.waiting)?;
        Ok(told)
    }

    fn close(&self, py: Python<'_>, patience_s: f64) -> usize {
        let patience = Duration::try_from_secs_f64(patience_s).unwrap_or_default();
        py.detach(|| self.0.close(patience))
    }
}

/// Reads a log back.
#[pyfunction]
#[pyo3(signature = (path, expected = Vec::new()))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "what is extracted is ours to own"
)]
pub fn verify_log(
    py: Python<'_>,
    path: PathBuf,
    expected: Vec<String>,
) -> PyResult<Bound<'_, PyDict>> {
    let report = py.detach(|| verify(&path, &expected))?;
    let Report {
        lines,
        chains,
        problems,
        more_problems,
        notes,
        missing,
    } = report;
    let told = PyDict::new(py);
    told.set_item("lines", lines)?;
    let list = PyList::empty(py);
    for chain in chains {
        let row = PyDict::new(py);
        row.set_item("file", chain.file)?;
        row.set_item("worker", chain.worker)?;
        row.set_item("first_seq", chain.first)?;
        row.set_item("last_seq", chain.last.seq)?;
        row.set_item("last_hash", digits(&chain.last.hash))?;
        row.set_item("dropped", chain.lost)?;
        list.append(row)?;
    }
    told.set_item("chains", list)?;
    told.set_item("problems", remarks(py, problems)?)?;
    told.set_item("more_problems", more_problems)?;
    told.set_item("notes", remarks(py, notes)?)?;
    told.set_item("missing", missing)?;
    Ok(told)
}

fn remarks(py: Python<'_>, remarks: Vec<Remark>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for remark in remarks {
        let row = PyDict::new(py);
        row.set_item("file", remark.file)?;
        row.set_item("line", remark.line)?;
        row.set_item("message", remark.message)?;
        list.append(row)?;
    }
    Ok(list)
}
