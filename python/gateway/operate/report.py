"""What a process tells its operators, by topic: ready to be sent, and to be merged with others'.

INVARIANT: telling holds up no call for long: what grows with the policy is worded grant by grant,
and the event loop runs in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import orjson

from gateway._core import sum_expositions
from gateway.operate.family import text
from gateway.operate.metrics import ADDED_GAUGES, render
from gateway.operate.resources import resources

if TYPE_CHECKING:
    from gateway.operate.view import GatewayView, RouteView

Topic = Literal["ready", "stale", "policies", "limits", "metrics"]
"""`ready`: a list of the reasons why not. `stale`: what is in force though a file says otherwise:
`files` that cannot be used (`what`, `source`, `error`) and keys that await a `restart`. `policies`
and `limits`: a list of objects with `server`, `grant` and the rest. All are JSON, but for
`metrics`, which is Prometheus' text."""


async def tell(view: GatewayView, topic: Topic) -> bytes:
    """What this process has to say."""
    if topic == "ready":
        return _json(view.ready())
    if topic == "stale":
        failing = [one for one in view.reloads() if one.error is not None]
        files = [{"what": one.what, "source": one.source, "error": one.error} for one in failing]
        return _json({"files": files, "restart": list(view.awaits_restart())})
    if topic == "policies":
        return _json([_policy(route) for route in view.routes()])
    if topic == "metrics":
        return await render(view)
    rows = []
    for route in view.routes():
        who = {"server": route.server, "grant": route.grant}
        rows += [{**who, **usage} for usage in route.engine.usage(route.caller)]
        await asyncio.sleep(0)
    return _json(rows)


def merge(topic: Topic, told: Sequence[bytes], past: bytes = b"", counted: bytes = b"") -> bytes:
    """What several workers of the same settings have to say.

    A reason not to be ready, and a policy that could not be loaded, are told whoever has it. The
    limits are in a table that all share, so that one knows them all.

    Args:
        told: by each of them.
        past: what is kept of those that ended, from `retire`.
        counted: metrics of the process that asks them.
    """
    if topic == "metrics":
        own = b"".join(text(family) for family in resources())
        return sum_expositions([own, counted, *told], [past], ADDED_GAUGES)
    if topic == "limits":
        return told[0] if told else _json([])
    if topic == "stale":
        both = [orjson.loads(one) for one in told]
        files = {(one["what"], one["source"]): one for each in both for one in each["files"]}
        late = dict.fromkeys(key for each in both for key in each["restart"])
        return _json({"files": list(files.values()), "restart": list(late)})
    lists = [orjson.loads(one) for one in told]
    if topic == "ready":
        return _json(list(dict.fromkeys(reason for reasons in lists for reason in reasons)))
    policies: dict[tuple[str, str], dict[str, Any]] = {}
    for policy in (policy for one in lists for policy in one):
        known = policies.setdefault((policy["server"], policy["grant"]), policy)
        if known["last_error"] is None:
            policies[policy["server"], policy["grant"]] = (
                policy if policy["last_error"] is not None else known
            )
    return _json(list(policies.values()))


def retire(*metrics: bytes) -> bytes:
    """What stays of the metrics of processes that ended: their counts."""
    return sum_expositions([], metrics, ())


def _policy(route: RouteView) -> dict[str, Any]:
    policy = route.policy()
    return {
        "server": route.server,
        "grant": route.grant,
        "name": policy.name,
        "digest": policy.digest,
        "source": policy.source,
        "loaded_at": policy.loaded_at,
        "last_error": policy.last_error,
        "reloads": dict(policy.reloads),
    }


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
