"""The fast path and the ASGI door are one door: the same bytes to both come to the same.

Each case is said to two complete sidecars (`support.doors`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

from differential.said import post
from differential.talks import TALKS, one
from hostile import samples
from support import framing
from support.doors import HIDING, Doors, Outcome, Say, looping
from support.inputs import INPUTS, SMUGGLING
from support.raw_server import Script, plainly

if TYPE_CHECKING:
    from pathlib import Path

    from support.doors import Talk

Compare = Callable[..., Outcome]


class Pair:
    """Both doors for many cases; new ones after one that failed, since their counts differ then."""

    def __init__(self, run: Callable[..., object], policy: Path) -> None:
        self._run = run
        self._policy = policy
        self._doors: Doors | None = None

    def __call__(self, *talks: Talk, script: Script = plainly) -> Outcome:
        async def compare() -> Outcome:
            if self._doors is None:
                self._doors = Doors(self._policy)
                await self._doors.open()
            return await self._doors.compare(*talks, script=script)

        try:
            return self._run(compare())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._doors is not None:
            self._run(self._doors.close())
            self._doors = None


@pytest.fixture(scope="module")
def compare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compare]:
    policy = tmp_path_factory.mktemp("doors") / "policy.json"
    policy.write_bytes(HIDING)
    with looping() as run:
        pair = Pair(run, policy)
        yield pair
        pair.close()


def in_tens(names: Sequence[str], count: int = 20) -> list[Sequence[str]]:
    return [names[at : at + count] for at in range(0, len(names), count)]


@pytest.mark.parametrize("name", TALKS)
def test_lawful_oddities(compare: Compare, name: str) -> None:
    compare(TALKS[name])


@pytest.mark.parametrize("name", framing.REFUSED)
def test_framing_that_is_refused(compare: Compare, name: str) -> None:
    data, statuses = framing.REFUSED[name]
    outcome = compare([Say((data,), len(statuses))])
    assert [answer.status for answer in outcome.answers][: len(statuses)] == statuses
    assert not outcome.asked


@pytest.mark.parametrize("name", framing.PASSED)
def test_framing_that_passes(compare: Compare, name: str) -> None:
    data, statuses, bodies = framing.PASSED[name]
    outcome = compare([Say((data,), len(statuses))])
    assert [a.status for a in outcome.answers if a.status >= 200] == statuses
    assert [asked.body for asked in outcome.asked] == bodies


@pytest.mark.parametrize("name", framing.UNFINISHED)
def test_framing_that_does_not_end(compare: Compare, name: str) -> None:
    assert not compare([Say((framing.UNFINISHED[name],), 0)]).asked


SAMPLES = {sample.name: sample for sample in samples()}
SHORT = [name for name, sample in SAMPLES.items() if len(sample.body) < 1 << 20]


@pytest.mark.parametrize("names", in_tens(SHORT), ids=lambda names: names[0])
def test_hostile_messages(compare: Compare, names: Sequence[str]) -> None:
    def said(name: str) -> bytes:
        sample = SAMPLES[name]
        return post(sample.body, *(b"%b: %b" % field for field in sample.headers or []))

    compare([Say((said(name),)) for name in names])


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - set(SHORT)))
def test_hostile_messages_that_are_too_long(compare: Compare, name: str) -> None:
    compare(one(post(SAMPLES[name].body)))


@pytest.mark.parametrize("names", in_tens([*INPUTS, *SMUGGLING]), ids=lambda names: names[0])
def test_hostile_inputs(compare: Compare, names: Sequence[str]) -> None:
    inputs = {**INPUTS, **SMUGGLING}
    compare(*(one(post(inputs[name])) for name in names))
