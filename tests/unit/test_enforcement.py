"""The enforcement point by itself."""

from __future__ import annotations

import asyncio

import pytest

from gateway._core import Caller, Engine, LimitTable, PolicySet
from gateway.denial import Refused
from gateway.enforcement import EnforcementPoint
from gateway.errors import UpstreamError
from support.door import ALLOW, SettlingEngine, run

BODY = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}'


def point(policy: bytes = ALLOW) -> tuple[EnforcementPoint, SettlingEngine, Caller]:
    engine = SettlingEngine(Engine(PolicySet.parse(policy, name="p.json"), LimitTable()))
    return EnforcementPoint(engine), engine, Caller("g", server="s")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        (None, "done"),
        (UpstreamError("connect", "x", sent=False), "not-sent"),
        (UpstreamError("reset", "x", sent=True), "unknown"),
        (RuntimeError(), "unknown"),
        (asyncio.CancelledError(), "unknown"),
    ],
    ids=["well", "not sent", "sent", "defect", "cancelled"],
)
def test_a_message_is_settled_once_by_how_it_ended(
    ends: BaseException | None, outcome: str
) -> None:
    async def served() -> None:
        if ends is not None:
            raise ends

    async def main() -> None:
        enforcing, engine, caller = point()
        decision = enforcing.decide(caller, BODY)
        serving = enforcing.settle_by(decision, served())
        if ends is None:
            await serving
        else:
            with pytest.raises(type(ends)):
                await serving
        assert engine.outcomes == [outcome]

    run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError()])
def test_what_is_not_a_failed_decision_goes_its_way(error: BaseException) -> None:
    enforcing, engine, caller = point()

    def decide(*_: object, **__: object) -> None:
        raise error

    engine.decide = decide  # type: ignore[attr-defined]
    with pytest.raises(type(error)):
        enforcing.decide(caller, BODY)
    assert enforcing.failures == 0


def test_arguments_of_a_wrong_type_refuse_too() -> None:
    enforcing, engine, caller = point()

    def decide(*_: object, **__: object) -> None:
        raise TypeError

    engine.decide = decide  # type: ignore[attr-defined]
    with pytest.raises(Refused):
        enforcing.decide(caller, BODY)
    assert enforcing.failures == 1


def test_there_is_a_filter_only_where_something_is_hidden() -> None:
    enforcing, _, caller = point()
    assert enforcing.filter_for(caller) is None
    hiding, _, caller = point(b'{"version":"1","default":"allow","hide":["x"]}')
    assert hiding.filter_for(caller) is not None
