"""The limits that are suggested for what a log says was called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway import PolicySet
from gateway.author.calllog import Logged
from gateway.author.document import Document, Node
from gateway.author.replay import Replay, Replayer
from gateway.author.suggest import WINDOWS_S, peak, suggest
from support.replaying import BEGIN, SECOND, line, policy, run

INSTANTS = st.lists(st.integers(0, 200), max_size=40).map(sorted)


@given(INSTANTS, st.integers(1, 90))
def test_a_peak_is_the_fullest_interval(instants: list[int], window: int) -> None:
    most = max((sum(a <= b < a + window for b in instants) for a in instants), default=0)
    assert peak(instants, window) == most


@given(
    st.lists(
        st.tuples(st.integers(0, 20_000), st.sampled_from("gh"), st.sampled_from("tu")),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from([1.0, 1.25, 2.0]),
)
def test_what_is_suggested_would_have_refused_nothing(
    made: list[tuple[int, str, str]], margin: float
) -> None:
    calls = [
        Logged(BEGIN + at * SECOND, 0, who, "s", None, tool, "tools/call", (), {}, "allowed", None)
        for at, who, tool in sorted(made)
    ]
    everything = {"version": "1", "default": "allow"}
    document = suggest(replayed(everything, calls).peaks, margin)
    again = replayed(document, calls)
    assert again.now == {"allowed": len(calls)}
    assert set(document["tools"]) == {tool for _, _, tool in made}
    for entry in document["tools"].values():
        rates = [one["max"] / WINDOWS_S[one["window"]] for one in entry["limits"]]
        assert rates == sorted(set(rates), reverse=True)


def replayed(document: dict[str, Any], calls: list[Logged]) -> Replay:
    policies = PolicySet.parse(json.dumps(document).encode(), name="p.json")
    return Replayer(policies, Node(Document("p.json", {}), document), slots=256).run(calls)


def test_a_suggestion_has_its_margin_and_knows_no_longer_windows(tmp_path: Path) -> None:
    lines = [line(at) for at in (0, 10, 20, 30, 3700)]
    done = run(tmp_path, {"version": "1", "default": "allow"}, *lines, options=("--suggest",))
    limits = json.loads(done.stdout)["tools"]["t"]["limits"]
    assert [(one["counter"], one["window"], one["max"]) for one in limits] == [
        ("t_minute", "minute", 5),
        ("t_hour", "hour", 5),
    ]
    # Calls that the policy refuses anyway, or that were refused, tell nothing of what is needed.
    refused = line(0, tool="u", effect="deny", code="default-deny", rule="/default")
    done = run(tmp_path, policy(t={}), line(0), refused, line(1, tool="v"), options=("--suggest",))
    assert set(json.loads(done.stdout)["tools"]) == {"t"}
