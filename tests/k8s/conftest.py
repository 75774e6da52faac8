"""Leaves these tests out where what renders charts has no build, and says so."""

from __future__ import annotations

from importlib.util import find_spec

MISSING = [
    name
    for name in ("cel_expr_python", "helm_python", "kubernetes_validate")
    if not find_spec(name)
]
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header() -> str | None:
    """Told at the top of every run in which the tests are left out."""
    return f"tests/k8s are left out: no {', '.join(MISSING)} here" if MISSING else None
