"""Interlock: decides every MCP tool call before it reaches a server.

`create_app(settings)` is the sidecar as an ASGI application; `Engine`, `PolicySet`, `LimitTable`,
`Caller`, `Decision` and `PolicyError` are the decision engine by itself. Names are imported on
first use, so that `import gateway` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway._core import Caller, Decision, Engine, LimitTable, PolicyError, PolicySet
    from gateway.app import create_app
    from gateway.settings import Settings

__all__ = [
    "Caller",
    "Decision",
    "Engine",
    "LimitTable",
    "PolicyError",
    "PolicySet",
    "Settings",
    "create_app",
]

_HOMES = {"create_app": "gateway.app", "Settings": "gateway.settings"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module `gateway` has no attribute `{name}`")
    return getattr(import_module(_HOMES.get(name, "gateway._core")), name)
