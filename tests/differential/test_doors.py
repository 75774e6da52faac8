"""The fast path and the ASGI door are one door: the same bytes to both come to the same.

Each case is said to two complete sidecars (`support.doors`). `HYPOTHESIS_PROFILE=slow`
looks longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from differential.replies import (
    CALL,
    CAPPED,
    CUT,
    ERROR,
    LISTING,
    NOTED,
    REPLIES,
    RESULT,
    STATELESS,
    STREAM,
    WHOLE,
    counted,
)
from differential.said import bare, cut, post
from differential.talks import ADMITTED, TALKS, one
from hostile import samples
from support import framing
from support.doors import HIDING, OPEN, Doors, Outcome, Run, Say, looping
from support.inputs import INPUTS, SMUGGLING
from support.raw_server import Script, plainly

if TYPE_CHECKING:
    from pathlib import Path

    from support.doors import Talk

Compare = Callable[..., Outcome]

GET = bare(b"GET", b"Accept: text/event-stream")

CUT_STEP = 1 if os.environ.get("HYPOTHESIS_PROFILE") == "slow" else 4
"""How finely the places are tried at which an answer breaks off."""


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


@pytest.fixture(scope="module", name="run")
def fixture_run() -> Iterator[Run]:
    with looping() as run:
        yield run


@pytest.fixture(scope="module")
def compare(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compare]:
    policy = tmp_path_factory.mktemp("doors") / "policy.json"
    policy.write_bytes(HIDING)
    pair = Pair(run, policy)
    yield pair
    pair.close()


@pytest.fixture(scope="module", params=["hiding", "open"])
def answered(
    request: pytest.FixtureRequest, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Compare]:
    """As `compare`, once where answers are filtered and once where they are not."""
    policy = tmp_path_factory.mktemp(request.param) / "policy.json"
    policy.write_bytes(HIDING if request.param == "hiding" else OPEN)
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


@pytest.mark.parametrize("name", REPLIES)
def test_answers(answered: Compare, name: str) -> None:
    request, steps = REPLIES[name]
    answered(one(request), script=lambda asked: steps)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("name", CUT)
def test_answers_that_break_off(answered: Compare, name: str, end: str) -> None:
    data = CUT[name]
    for at in range(len(data), -1, -CUT_STEP):
        answered(one(LISTING), script=lambda asked, at=at: [data[:at], end])


@pytest.mark.parametrize("leaves", ["close", "half"])
@pytest.mark.parametrize("request_", [CALL, CAPPED, NOTED, STATELESS, GET], ids=range(5))
@pytest.mark.parametrize("begun", [0, 30, -40])
@pytest.mark.parametrize("answer", [counted(RESULT), STREAM, counted(ERROR, status=b"404 x")])
def test_a_client_that_leaves(
    answered: Compare, request_: bytes, leaves: str, begun: int, answer: bytes
) -> None:
    steps = [answer[:begun], "wait", answer[begun:]]
    answered([Say((request_,), 0, leaves)], script=lambda asked: steps)


PLACES = st.lists(st.integers(0, 3000), max_size=6)
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(suppress_health_check=SHARED)
@given(said=st.lists(st.sampled_from(ADMITTED), min_size=1, max_size=4), at=PLACES)
def test_any_requests_cut_anywhere(compare: Compare, said: list[bytes], at: list[int]) -> None:
    compare([Say(cut(b"".join(said), *at), len(said))])


@settings(suppress_health_check=SHARED)
@given(
    request=st.sampled_from([CALL, LISTING, NOTED, STATELESS]),
    answer=st.sampled_from([data for data in WHOLE.values() if len(data) < 5000]),
    at=PLACES,
    length=st.none() | st.integers(0, 1000),
    end=st.sampled_from(["", "close", "reset"]),
)
def test_any_answer_cut_anywhere(
    answered: Compare, request: bytes, answer: bytes, at: list[int], length: int | None, end: str
) -> None:
    pieces = cut(answer[:length], *at)
    steps = [*pieces, end or ("close" if length is not None else "")]
    answered(one(request), script=lambda asked: steps)
