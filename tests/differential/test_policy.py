"""Made policies and made calls: the engine decides as the executable specification does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from differential.made import bodies, callers, policies
from differential.sides import Core, Model, agree
from hostile import STATELESS, samples

START = 1_772_409_600_000_000_000  # 2026-03-02T00:00:00Z
LAWFUL = sorted(
    {s.body for s in samples() if s.code == "allowed" and len(s.body) < 400 and s.headers is None}
    | {STATELESS}
)
SPLICES = [
    *(b"", b'"', b"\\", b",", b"{", b"}", b"[", b"]", b":", b" ", b"\n", b"0", b"1", b"-", b"."),
    *(b"e9", b"\x00", b"\x80", b"\xc3", b"\xef\xbb\xbf", b"\\u0000", b"\\ud800", b"null", b"[]"),
    *(b"{}", b"1e999", b"NaN", b"/**/", b"{}{}", b'"name":"u",', b'"Name":"u",', b'"id":2,'),
]
READING_FAULTS = {
    "malformed-request", "duplicate-key", "number-out-of-range", "too-deep", "batch-not-allowed",
}  # fmt: skip


@given(policies(), st.lists(st.tuples(bodies(), callers()), min_size=1, max_size=6))
def test_engine_decides_as_specified(
    policy: str, calls: list[tuple[bytes, dict[str, str | None]]]
) -> None:
    model, core = Model(policy), Core(policy)
    for body, caller in calls:
        agree(model.decide(caller, body, now=START), core.decide(caller, body, now=START), body)


CASED = st.sampled_from(["a", "A", "ab", "Ab", "AB", "a*", "A*", "*b", "*B"])


@given(
    hide=st.lists(CASED, max_size=2, unique=True),
    listed=st.lists(CASED, max_size=3, unique=True),
    tool=st.sampled_from(["a", "A", "ab", "aB", "Ab", "AB", "axb"]),
)
def test_case_is_judged_alike(hide: list[str], listed: list[str], tool: str) -> None:
    tools = {name: {"action": "deny"} for name in listed}
    policy = json.dumps({"version": "1", "default": "allow", "hide": hide, "tools": tools})
    body = STATELESS.replace(b'"read"', f'"{tool}"'.encode())
    agree(Model(policy).decide({}, body), Core(policy).decide({}, body), body)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A lawful message with a few places changed."""
    body = draw(st.sampled_from(LAWFUL))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.sampled_from([0, 0, 1, 1, 2, 8])))
        piece = draw(st.one_of(st.sampled_from(SPLICES), st.just(body[at : at + 12])))
        body = body[:at] + piece + body[end:]
    return body


@given(damaged())
def test_damaged_messages_are_judged_alike(body: bytes) -> None:
    """A message with several faults may be refused for any of them."""
    policy = '{"version":"1","default":"allow"}'
    model, core = Model(policy).decide({}, body), Core(policy).decide({}, body)
    if {model["code"], core["code"]} <= READING_FAULTS:
        return
    agree(model, core, body)


@given(st.binary(max_size=200))
def test_any_bytes_are_judged_alike(body: bytes) -> None:
    policy = '{"version":"1","default":"allow"}'
    model, core = Model(policy).decide({}, body), Core(policy).decide({}, body)
    assert model["allowed"] == core["allowed"]


def test_the_samples_to_damage_are_lawful() -> None:
    model = Model('{"version":"1","default":"allow"}')
    assert all(model.decide({}, body)["allowed"] for body in LAWFUL)
    with pytest.raises(AssertionError):
        agree(model.decide({}, LAWFUL[0]), model.decide({}, b"{}"), b"")
