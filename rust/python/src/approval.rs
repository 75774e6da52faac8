//! What people have said of a call, for Python.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::approval::{Approval as Core, Standing};
use gateway_core::time::Nanos;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A request for approval of one call.
#[pyclass(frozen, module = "gateway._core")]
pub struct Approval(pub Arc<Core>);

#[pymethods]
impl Approval {
    #[new]
    #[pyo3(signature = (state, *, policy, id = None, by = None, until_s = None, remark = None))]
    fn new(
        state: &str,
        policy: String,
        id: Option<String>,
        by: Option<String>,
        until_s: Option<f64>,
        remark: Option<String>,
    ) -> PyResult<Self> {
        let standing = Standing::ALL
            .into_iter()
            .find(|known| known.name() == state)
            .ok_or_else(|| {
                PyValueError::new_err("a state is `pending`, `approved`, `denied` or `unavailable`")
            })?;
        let until = until_s.map(|seconds| {
            Duration::try_from_secs_f64(seconds)
                .ok()
                .and_then(|since| u64::try_from(since.as_nanos()).ok())
                .map(Nanos)
                .ok_or_else(|| PyValueError::new_err("an end is in seconds since 1970"))
        });
        Ok(Self(Arc::new(Core {
            standing,
            policy,
            id,
            by,
            until: until.transpose()?,
            remark,
        })))
    }
}
