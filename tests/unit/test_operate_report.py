"""What a process tells, and several of them together."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from gateway.operate.report import Topic, merge, retire, tell
from support.operators import Gateway, busy, route, view


def told(topic: Topic, gateway: Gateway) -> bytes:
    return asyncio.run(tell(gateway, topic))


def merged(topic: Topic, *gateways: Gateway) -> Any:
    return orjson.loads(merge(topic, [told(topic, gateway) for gateway in gateways]))


def lines(text: bytes, name: str) -> set[str]:
    return {line for line in text.decode().splitlines() if line.startswith(name)}


def open_files(text: bytes) -> int:
    (line,) = lines(text, "process_open_fds")
    return int(line.split()[1])


def test_reasons_are_told_once() -> None:
    assert merged("ready", view(not_ready=("draining",)), view(not_ready=("draining", "x"))) == [
        "draining",
        "x",
    ]
    assert merged("ready", view(), view()) == []


def test_a_policy_that_failed_anywhere_is_told() -> None:
    bad, worse = busy(), busy()
    bad.last_error, worse.last_error = "cannot read it", "not this one either"
    (policy,) = merged("policies", view(), view(bad), view(), view(worse))
    assert policy["last_error"] == "cannot read it"
    assert (policy["server"], policy["grant"], policy["name"]) == (
        *("upwork", "default"),
        "policy.json",
    )


def test_policies_of_all_routes_are_told() -> None:
    found = merged("policies", view(route("a"), route("b")), view(route("b"), route("b", "ci")))
    assert [(row["server"], row["grant"]) for row in found] == [
        ("a", "default"),
        ("b", "default"),
        ("b", "ci"),
    ]


def test_one_knows_the_limits_of_all() -> None:
    (calls, few) = merged("limits", view(), view())
    assert (calls["server"], calls["grant"], calls["counter"]) == ("upwork", "default", "calls")
    assert (calls["used"], calls["remaining"], few["used"]) == (3, 27, 1)


def test_workers_that_say_nothing_are_not_heard() -> None:
    assert [orjson.loads(merge(topic, [])) for topic in ("ready", "policies", "limits")] == [[]] * 3


def test_counts_add_up_and_the_dead_keep_theirs() -> None:
    one, two = told("metrics", view()), told("metrics", view())
    past = retire(b"", told("metrics", view()))
    past = retire(past, told("metrics", view()))
    text = merge("metrics", [one, two], past)
    who = 'server="upwork",grant="default"'
    assert lines(text, "interlock_decisions_total") == {
        f'interlock_decisions_total{{{who},tool="search",effect="allow",code="allowed"}} 12',
        f'interlock_decisions_total{{{who},tool="other",effect="deny",code="default-deny"}} 4',
    }
    assert lines(text, "interlock_sessions") == {'interlock_sessions{server="upwork"} 2'}
    assert lines(text, "interlock_limit_slots") == {
        'interlock_limit_slots{state="used"} 0',
        'interlock_limit_slots{state="free"} 64',
    }
    assert len(lines(text, "process_start_time_seconds")) == 1
    supervisor = merge("metrics", [])
    assert open_files(text) == open_files(supervisor) + open_files(one) + open_files(two)


def test_what_is_stale_in_one_worker_is_told_once() -> None:
    bad = {"what": "policy", "source": "p.json", "error": "e"}
    told = [
        {"files": [], "restart": []},
        {"files": [bad], "restart": ["workers"]},
        {"files": [bad, {**bad, "source": "q.json"}], "restart": ["workers", "slots"]},
    ]
    merged = orjson.loads(merge("stale", [orjson.dumps(one) for one in told]))
    assert merged == {
        "files": [bad, {**bad, "source": "q.json"}],
        "restart": ["workers", "slots"],
    }
