"""bench/load/: what is sent, and how what the tools and the kernel say is read."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path

import pytest

from bench import message
from bench.baseline import PlainLimiter
from bench.load.clients import instructions, last_json, request
from bench.load.path import SCENARIOS, per_event, turns
from bench.load.peers import ANSWER
from bench.load.processes import cpu_seconds, family, resident_bytes, stat_fields
from bench.load.secure import certificate, trust
from gateway import Caller, Engine, LimitTable, PolicySet

PERF = "12345,,instructions:u,1000,100.00,,\n"
REFUSED = "<not supported>,,instructions,0,100.00,,\n"


def test_a_call_has_the_size_that_is_asked_for() -> None:
    for size in (330, 331, 10_000):
        assert len(message.call("tool_1", size)) == size
    with pytest.raises(ValueError, match="takes"):
        message.call("tool_1", 100)


def test_the_policy_decides_the_calls_as_the_scenarios_need_it() -> None:
    engine = Engine(PolicySet.parse(message.policy(100), name="p.json"), LimitTable())
    caller = Caller("bench", server="s")
    decided = {
        name: [engine.decide(caller, body).allowed for body in scenario.bodies]
        for name, scenario in SCENARIOS.items()
    }
    assert decided.pop("refused") == [False]
    assert decided.pop("mixed") == [False, *[True] * 9]
    assert all(all(each) for each in decided.values())


def test_the_plain_limiter_decides_as_the_engine_does() -> None:
    policy = message.policy(3).replace(b"2000000000", b"2")
    engine = Engine(PolicySet.parse(policy, name="p.json"), LimitTable())
    limiter = PlainLimiter(policy)
    caller = Caller("bench", server="s")
    for tool in ("tool_0", "tool_x", "tool_0", "tool_0", "tool_1"):
        body = message.call(tool)
        assert limiter.decide("bench", body) == engine.decide(caller, body).allowed, tool


def test_the_servers_answer_is_the_answer_to_the_call() -> None:
    assert json.loads(ANSWER)["id"] == json.loads(message.call("tool_0"))["id"]
    assert 280 <= len(ANSWER) <= 300


def test_a_request_has_a_head_and_a_body() -> None:
    head, _, body = request(8080, b"{}").partition(b"\r\n\r\n")
    assert b"Host: 127.0.0.1:8080" in head
    assert b"Content-Length: 2" in head
    assert body == b"{}"


def test_what_perf_counted_is_read() -> None:
    assert instructions(PERF) == 12_345
    assert instructions("# started\n\n" + PERF) == 12_345


@pytest.mark.parametrize("said", [REFUSED, "", "12345,,cycles:u,1000,100.00,,\n"])
def test_what_perf_could_not_count_is_nothing(said: str) -> None:
    assert instructions(said) is None


def test_the_last_line_of_a_load_generator_counts() -> None:
    assert last_json('Running 1s test\n{"requests": 1}\n{"requests": 2}\n') == {"requests": 2}


def test_clients_take_the_proxies_certificate_and_no_other() -> None:
    assert certificate() == certificate()
    assert trust().cert_store_stats()["x509"] == 1
    assert trust().verify_mode == ssl.CERT_REQUIRED


def test_turns_rotate() -> None:
    assert "".join(turns("abc", 4)) == "abcbcacababc"


def test_costs_are_shared_among_events() -> None:
    found = {"requests": 10, "cpu_us": 100.0, "instructions": 50.0}
    assert per_event(found, 200) == {
        "requests": 10,
        "events": 200,
        "cpu_us": 5.0,
        "instructions": 2.5,
    }
    assert per_event({**found, "instructions": None}, 200)["instructions"] is None


def test_a_process_name_may_hold_anything() -> None:
    assert stat_fields("7 (a) R 1 (b)) S 1 7")[:2] == ["S", "1"]


def test_this_process_is_measured() -> None:
    pid = os.getpid()
    assert pid in family(os.getppid())
    assert family(pid)[0] == pid
    assert cpu_seconds(pid) > 0
    assert 1 << 20 < resident_bytes(pid) < 1 << 40
    assert Path(f"/proc/{pid}").exists()
