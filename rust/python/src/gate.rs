//! What a listener's fast path is sure of, for Python: replaced whole, so that no request sees half of a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use gateway_core::http1::credentials::{Credential, Credentials, Fingerprint};
use gateway_core::http1::{Gate as CoreGate, GateOptions, Route};
use gateway_core::time::Nanos;

use crate::clock;
use crate::engine::Engine;

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
            full: Arc::default(),
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

    fn set_full(&self, full: bool) {
        // ORDERING: as in `drain`.
        self.options.full.store(full, Ordering::Relaxed);
    }

    fn drain(&self) {
        // ORDERING: nothing else is published by it.
        self.draining.store(true, Ordering::Relaxed);
    }
}

impl Gate {
    /// The core's, as it is for whoever comes now.
    pub(crate) fn now(&self) -> Guard<Arc<CoreGate>> {
        // ORDERING: as in `drain`.
        if self.draining.load(Ordering::Relaxed) {
            self.closed.load()
        } else {
            self.open.load()
        }
    }
}
