"""A gateway as operators see it, with figures of a test's choosing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.operate.view import RouteData, Snapshot


def route(server: str = "upwork", grant: str = "default") -> RouteData:
    """A route on which a little has happened."""
    return {
        "server": server,
        "grant": grant,
        "policy": {
            "name": "policy.json",
            "digest": "ab" * 32,
            "source": f"/etc/{server}/policy.json",
            "loaded_at": 1000.5,
            "last_error": None,
            "reloads": {"success": 1, "failure": 0, "unchanged": 2},
        },
        "decisions": [("search", "allow", "allowed", 3), ("other", "deny", "default-deny", 1)],
        "shadow": [("/tools/search/limits/0", 2)],
        "decide": ([0] * 9 + [4] + [0] * 22, 2_400, 4),
        "usage": [
            {
                "rule": "/tools/search/limits/0",
                "counter": "calls",
                "window": "minute",
                "max": 30,
                "used": 3,
                "remaining": 27,
                "reset_ms": 100,
            },
        ],
        "in_flight": 2,
        "sessions": 1,
        "upstream_errors": {"connect": 1},
    }


def snapshot(*routes: RouteData, not_ready: tuple[str, ...] = ()) -> Snapshot:
    """A snapshot of those routes, or of one."""
    return {
        "not_ready": list(not_ready),
        "routes": list(routes) or [route()],
        "slots": 64,
        "used": 5,
    }
