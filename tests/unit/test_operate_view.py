"""Snapshots add up to what one process would have told."""

from __future__ import annotations

import orjson
import pytest

from gateway.operate.view import merge, retire
from support.operators import route, snapshot


def test_counts_add_up_and_what_is_shared_does_not() -> None:
    other = route()
    other["decisions"] = [("search", "allow", "allowed", 4), ("search", "deny", "hidden", 1)]
    other["upstream_errors"] = {"connect": 1, "reset": 2}
    (merged,) = merge([snapshot(), snapshot(other)])["routes"]
    assert sorted(merged["decisions"]) == [
        ("other", "deny", "default-deny", 1),
        ("search", "allow", "allowed", 7),
        ("search", "deny", "hidden", 1),
    ]
    assert merged["shadow"] == [("/tools/search/limits/0", 4)]
    assert merged["decide"][0][9] == 8
    assert merged["decide"][1:] == (4_800, 8)
    assert merged["in_flight"] == 4
    assert merged["sessions"] == 2
    assert merged["upstream_errors"] == {"connect": 2, "reset": 2}
    assert merged["usage"] == route()["usage"]


def test_routes_stay_apart() -> None:
    merged = merge([snapshot(route("a"), route("b")), snapshot(route("b"), route("b", "ci"))])
    assert [(r["server"], r["grant"]) for r in merged["routes"]] == [
        ("a", "default"),
        ("b", "default"),
        ("b", "ci"),
    ]


def test_a_policy_that_failed_anywhere_is_told() -> None:
    bad = route()
    bad["policy"]["last_error"] = "cannot read it"
    assert merge([snapshot(), snapshot(bad)])["routes"][0]["policy"]["last_error"] is not None


def test_reasons_are_told_once() -> None:
    merged = merge([snapshot(not_ready=("draining",)), snapshot(not_ready=("draining", "x"))])
    assert merged["not_ready"] == ["draining", "x"]


def test_nothing_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="no snapshot"):
        merge([])


def test_the_dead_keep_their_counts_and_do_nothing() -> None:
    dead = retire(snapshot(not_ready=("draining",)))
    assert dead["not_ready"] == []
    assert dead["routes"][0]["decisions"] == route()["decisions"]
    assert dead["routes"][0]["in_flight"] == dead["routes"][0]["sessions"] == 0


def test_a_snapshot_survives_the_way_between_processes() -> None:
    sent = snapshot()
    assert merge([orjson.loads(orjson.dumps(sent))]) == merge([sent])
