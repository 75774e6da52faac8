"""What is in flight is counted once each way, and the gates are told at the bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from gateway.denial import Refused
from gateway.downstream.load import Load
from gateway.enforcement import Traffic
from support.door import run

if TYPE_CHECKING:
    from gateway._core import Gate


class Told:
    """A gate that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[bool] = []

    def set_full(self, full: bool) -> None:
        self.told.append(full)


def filled(count: int, *, most: int = 2) -> tuple[Load, Told]:
    load, gate = Load(most), Told()
    load.gates.append(cast("Gate", gate))
    load.in_flight = count
    return load, gate


@pytest.mark.parametrize("ends", [None, ValueError("it failed")])
def test_whatever_is_counted_in_is_counted_out(ends: Exception | None) -> None:
    load, gate = filled(1)
    traffic = Traffic(in_flight=5)
    seen = []

    async def serving() -> None:
        seen.append((load.in_flight, traffic.in_flight, load.full))
        if ends is not None:
            raise ends

    async def work() -> None:
        if ends is None:
            await load.counted(traffic, serving())
        else:
            with pytest.raises(ValueError, match="it failed"):
                await load.counted(traffic, serving())

    run(work())
    assert seen == [(2, 6, True)]
    assert (load.in_flight, traffic.in_flight, load.full) == (1, 5, False)
    assert gate.told == [True, False]


def test_the_gates_are_told_once_and_eased_only_where_there_is_room() -> None:
    load, gate = filled(3)
    load.fill()
    load.fill()
    assert gate.told == [True]
    load.leave(Traffic(in_flight=1))
    assert (load.in_flight, load.full, gate.told) == (2, True, [True])
    load.leave(Traffic(in_flight=1))
    assert (load.in_flight, load.full, gate.told) == (1, False, [True, False])


def test_nothing_is_full_below_the_bound() -> None:
    load, gate = filled(1)
    load.fill()
    assert (load.full, gate.told) == (False, [])


@pytest.mark.parametrize(
    ("count", "draining", "asks", "tells"),
    [
        (2, False, None, None),
        (3, False, "overloaded", None),
        (4, False, "overloaded", None),
        (5, False, "overloaded", "overloaded"),
        (1, True, "draining", None),
        (5, True, "overloaded", "overloaded"),
    ],
)
def test_why_a_message_cannot_be_passed_on(
    count: int, draining: bool, asks: str | None, tells: str | None
) -> None:
    load, _ = filled(count)
    load.draining = draining
    assert load.unavailable("request") == load.unavailable("batch") == asks
    assert load.unavailable("notification") == load.unavailable("response") == tells


def test_only_twice_the_bound_is_too_much_to_read() -> None:
    load, _ = filled(3)
    load.check()
    load.in_flight = 4
    with pytest.raises(Refused) as refused:
        load.check()
    assert (refused.value.code, refused.value.close) == ("overloaded", True)
