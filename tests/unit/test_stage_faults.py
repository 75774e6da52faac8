"""A failure in any stage of a request is a refusal: nothing is forwarded, nothing stays charged.

Gateways have been walked through because an exception on the way to a decision was caught and the
request went on with what was there by default (CVE-2026-12773). Here every stage fails in turn, by
an ordinary exception and by one that is none, as a panic of the core is.
"""

from __future__ import annotations

import pytest

from gateway._core import Caller
from gateway.downstream import forwarding, http
from gateway.downstream.admission import Admission
from gateway.downstream.forwarding import Forwarder
from gateway.downstream.http import Callers, HttpDoor
from gateway.downstream.load import Load
from gateway.downstream.relay import Relay
from gateway.enforcement import EnforcementPoint
from gateway.identity import GrantIdentity
from support.door import Rig, call, run

POLICY = b"""{"version": "1", "default": "deny", "tools": {"t": {"limits": [
    {"counter": "calls", "window": "day", "max": 5},
    {"counter": "running", "algorithm": "concurrency", "max": 5}]}}}"""

BEFORE = [
    (Admission, "admit"),
    (GrantIdentity, "identify"),
    (Load, "check"),
    (Admission, "admit_message"),
    (http, "read_body"),
    (http, "is_modern"),
    (HttpDoor, "_session"),
    (HttpDoor, "_point"),
    (Callers, "get"),
    (EnforcementPoint, "decide"),
]
"""Stages until a decision is there."""

BETWEEN = [
    (Forwarder, "message"),
    (Load, "unavailable"),
    (forwarding, "check_claims"),
    (Relay, "__init__"),
    (Forwarder, "_pass_on"),
]
"""Stages between the decision and the server."""


class Panic(BaseException):
    """What a panic of the core is in Python: no `Exception`."""


def used(rig: Rig) -> float:
    """Units of both limits that are in use."""
    caller = Caller("default", server="default")
    return sum(float(row["used"] or 0) for row in rig.engine.usage(caller))


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, KeyError, Panic])
@pytest.mark.parametrize(("where", "name"), BEFORE + BETWEEN, ids=lambda v: str(v).split(".")[-1])
def test_a_stage_that_fails_forwards_nothing(
    where: object, name: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("injected")

    rig = Rig(policy=POLICY)
    monkeypatch.setattr(where, name, fail)
    reply = run(rig.client.post(call("t")))
    assert rig.upstream.seen == []
    assert reply.status >= 400 or reply.code == "internal-error"
    monkeypatch.undo()
    # Some stages are those that would give the charge back: then it stays, which is safe.
    assert used(rig) == (0 if name not in ("message", "_pass_on") else 2)
    assert run(rig.client.post(call("t"))).json["result"]
    assert len(rig.upstream.seen) == 1


def test_every_stage_is_one_that_a_call_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    gone_through = set()
    for where, name in BEFORE + BETWEEN:
        real = getattr(where, name)

        def note(*args: object, real: object = real, name: str = name, **kwargs: object) -> object:
            gone_through.add(name)
            return real(*args, **kwargs)  # type: ignore[operator]

        monkeypatch.setattr(where, name, note)
    rig = Rig(policy=POLICY)
    assert run(rig.client.post(call("t"))).status == 200
    assert len(rig.upstream.seen) == 1
    assert gone_through == {name for _, name in BEFORE + BETWEEN}
