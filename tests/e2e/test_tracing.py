"""Spans of what is decided reach a real collector, through every door; and none of it is waited
for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import interlock
from gateway.errors import SettingsError
from support.collector import Collector, collector
from support.process import (
    HEADERS,
    WAIT_S,
    Sidecar,
    Upstream,
    request,
    sidecar,
    tools_call,
    until,
    upstream,
)
from support.program import environment

pytestmark = pytest.mark.e2e

POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {"buy": {"limits": [{"counter": "spent", "window": "day", "max": 5}]}, "look": {}},
}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SERVER = 2
"""Of the kinds of spans."""
DOORS = pytest.mark.parametrize("door", [(), ("--no-fast-path",)], ids=["fast", "asgi"])


@contextmanager
def traced(
    tmp_path: Path, *arguments: str, url: str, **env: str
) -> Iterator[tuple[Sidecar, Upstream]]:
    """A sidecar that exports to this place, and its server."""
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))
    told = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "NO_PROXY": "127.0.0.1",
        **env,
    }
    with (
        upstream() as server,
        sidecar(
            *("--policy", str(policy), "--upstream", server.url, "--state", "memory"),
            *("--log", str(tmp_path / "log.jsonl"), "--otel", *arguments),
            env=told,
        ) as running,
    ):
        yield running, server


def ask(running: Sidecar, tool: str, traceparent: str | None = None, id: Any = 1) -> str:
    """Call a tool; the decision's code."""
    headers = HEADERS if traceparent is None else {**HEADERS, "traceparent": traceparent}
    body = json.dumps(tools_call(tool, id=id)).encode()
    return request(running.mcp, "POST", "/mcp", body, headers).decision


def lines(tmp_path: Path, count: int) -> list[dict[str, Any]]:
    """So many decisions of the log, once they are there."""

    def read() -> list[dict[str, Any]]:
        found = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
        return [line for line in found if "event" not in line]

    until(lambda: len(read()) >= count, "the log's lines")
    return read()


def sent(server: Upstream, name: str) -> list[str | None]:
    """What the server got in this field, request by request."""
    return [fields.get(name) for fields in server.headers]


@DOORS
def test_a_span_for_each_request_with_its_decision(tmp_path: Path, door: tuple[str, ...]) -> None:
    with collector() as taken, traced(tmp_path, *door, url=taken.url) as (running, server):
        assert ask(running, "buy", TRACEPARENT, id="a-1") == "allowed"
        assert ask(running, "steal", TRACEPARENT) == "default-deny"
        assert ask(running, "look") == "allowed"
        until(lambda: len(taken.spans) == 3, "three spans")
        bought, stolen, looked = taken.spans
        logged = lines(tmp_path, 3)
        assert [(line["trace_id"], line["span_id"]) for line in logged] == [
            (span.trace_id, span.span_id) for span in taken.spans
        ]
        assert (bought.trace_id, bought.parent_id) == (TRACE, PARENT)
        assert (stolen.trace_id, stolen.parent_id) == (TRACE, PARENT)
        assert (looked.trace_id != TRACE, looked.parent_id) == (True, "")
        assert {span.kind for span in taken.spans} == {SERVER}
        assert {span.service for span in taken.spans} == {"interlock"}
        assert [span.error for span in taken.spans] == [False, True, False]
        assert [span.name for span in taken.spans] == [
            *("tools/call buy", "tools/call steal", "tools/call look"),
        ]
        assert bought.attributes == {
            "mcp.method.name": "tools/call",
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "buy",
            "jsonrpc.request.id": "a-1",
            "network.transport": "tcp",
            "interlock.effect": "allow",
            "interlock.code": "allowed",
            "interlock.grant": "default",
            "interlock.server": "default",
            "interlock.counter": "spent",
            "interlock.remaining": "4",
            "interlock.policy": logged[0]["policy"],
            "interlock.upstream_status": 200,
        }
        assert stolen.attributes["error.type"] == stolen.attributes["interlock.code"]
        assert stolen.attributes["interlock.code"] == "default-deny"
        for span, line in zip(taken.spans, logged, strict=True):
            took_ms = line["duration_ms"] or line["decide_us"] / 1000
            assert span.took_ns / 1e6 == pytest.approx(took_ms, abs=0.01)
        assert sent(server, "traceparent") == [
            f"00-{TRACE}-{bought.span_id}-01",
            f"00-{looked.trace_id}-{looked.span_id}-01",
        ]
        told = running.get("/metrics").body.decode()
        assert "interlock_spans_total 3.0\n" in told or "interlock_spans_total 3\n" in told
        until(lambda: b"spans_exported_total 3" in running.get("/metrics").body, "the count")
        assert running.stop() == 0


@DOORS
def test_a_trace_that_its_client_does_not_record_is_not_recorded(
    tmp_path: Path, door: tuple[str, ...]
) -> None:
    with collector() as taken, traced(tmp_path, *door, url=taken.url) as (running, server):
        assert ask(running, "look", TRACEPARENT[:-2] + "00") == "allowed"
        assert ask(running, "look", TRACEPARENT) == "allowed"
        until(lambda: len(taken.spans) == 1, "the second span")
        (line, _) = lines(tmp_path, 2)
        assert sent(server, "traceparent")[0] == f"00-{TRACE}-{line['span_id']}-00"
        assert line["span_id"] != PARENT
        assert running.stop() == 0
    assert len(taken.spans) == 1


@DOORS
def test_switched_off_a_trace_passes_as_it_is(tmp_path: Path, door: tuple[str, ...]) -> None:
    with collector() as taken:
        disabled = {"OTEL_SDK_DISABLED": "true"}
        with traced(tmp_path, *door, url=taken.url, **disabled) as (running, server):
            assert ask(running, "look", TRACEPARENT) == "allowed"
            assert ask(running, "look") == "allowed"
            assert sent(server, "traceparent") == [TRACEPARENT, None]
            assert lines(tmp_path, 2)[0]["span_id"] == PARENT
            assert b"\ninterlock_spans_total 0" in running.get("/metrics").body
            assert running.stop() == 0
    assert taken.spans == []


def test_what_a_client_may_not_choose_is_not_sent_twice(tmp_path: Path) -> None:
    """A field that is no traceparent, and a place in a trace that only the message names."""
    with collector() as taken, traced(tmp_path, url=taken.url) as (running, server):
        message = tools_call("look")
        message["params"]["_meta"] = {"traceparent": TRACEPARENT}
        body = json.dumps(message).encode()
        answer = request(running.mcp, "POST", "/mcp", body, {**HEADERS, "traceparent": "00-x-y-01"})
        assert answer.decision == "allowed"
        until(lambda: len(taken.spans) == 1, "the span")
        (span,) = taken.spans
        assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
        assert sent(server, "traceparent") == [f"00-{TRACE}-{span.span_id}-01"]
        # The message itself is what was decided, byte for byte.
        assert server.calls[0]["params"]["_meta"]["traceparent"] == TRACEPARENT
        assert running.stop() == 0


def test_the_samplers_of_the_library_hold_upstream_too(tmp_path: Path) -> None:
    ratio = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    with collector() as taken, traced(tmp_path, url=taken.url, **ratio) as (running, server):
        for _ in range(64):
            assert ask(running, "look") == "allowed"
        told = [str(value).split("-") for value in sent(server, "traceparent")]
        recorded = {trace for _, trace, _, flags in told if flags == "01"}
        assert 0 < len(recorded) < 64, "0.5 ** 63"
        until(lambda: len(taken.spans) == len(recorded), "the spans")
        assert {span.trace_id for span in taken.spans} == recorded
        assert running.stop() == 0


def test_a_collector_that_does_not_answer_holds_up_nothing(tmp_path: Path) -> None:
    small = {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "32"}
    with collector() as taken, traced(tmp_path, url=taken.url, **small) as (running, server):
        taken.go_on.clear()
        assert ask(running, "look") == "allowed"
        assert taken.asked.wait(WAIT_S)
        slowest = 0.0
        for _ in range(300):
            began = time.monotonic()
            assert ask(running, "look") == "allowed"
            assert ask(running, "steal") == "default-deny"
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 2, "no time limit of the exporter's is in it"
        assert len(server.calls) == 301
        metrics = running.get("/metrics").body.decode()
        made = re.search(r"^interlock_spans_total (\d+)", metrics, re.M)
        assert made is not None
        assert int(made[1]) == 601
        assert re.search(r"^interlock_spans_exported_total 0", metrics, re.M)
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 8, "the collector gets two seconds at the end"


def test_a_collector_that_is_not_there_holds_up_nothing(tmp_path: Path) -> None:
    with traced(tmp_path, url="http://127.0.0.1:9") as (running, server):
        for _ in range(20):
            assert ask(running, "look") == "allowed"
            assert ask(running, "steal") == "default-deny"
        assert len(server.calls) == 20
        assert running.get("/readyz").status == 200
        assert running.stop() == 0


def test_several_workers_export_each_its_own(tmp_path: Path) -> None:
    two = ("--workers", "2")
    with collector() as taken, traced(tmp_path, *two, url=taken.url) as (running, _):
        for _ in range(20):
            assert ask(running, "look") == "allowed"
        until(lambda: len(taken.spans) == 20, "the spans")
        until(lambda: b"spans_exported_total 20" in running.get("/metrics").body, "the sum")
        assert running.stop() == 0
    assert len({span.span_id for span in taken.spans}) == 20


def test_what_waits_at_the_end_is_exported(tmp_path: Path) -> None:
    late = {"OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with collector() as taken, traced(tmp_path, url=taken.url, **late) as (running, _):
        assert ask(running, "look") == "allowed"
        assert running.stop() == 0
    assert len(taken.spans) == 1


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"no module named {name}")

    monkeypatch.setattr("importlib.util.find_spec", missing)
    arguments = ["run", "--otel", "--policy", str(policy), "--upstream", "http://127.0.0.1:9/mcp"]
    with pytest.raises(SettingsError) as caught:
        CliRunner().invoke(interlock, arguments, catch_exceptions=False)
    (problem,) = caught.value.problems
    assert "the OpenTelemetry SDK is not installed" in problem.message
    assert "interlock[otel]" in (problem.help or "")


def spans_of(taken: Collector) -> set[tuple[str, Any]]:
    return {(span.name, span.attributes["network.transport"]) for span in taken.spans}


def test_wrap_exports_too(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))
    echo = (
        "import json,sys\n"
        "for line in sys.stdin:\n"
        "    answer={'jsonrpc':'2.0','id':json.loads(line)['id'],'result':{}}\n"
        "    print(json.dumps(answer),flush=True)"
    )
    with collector() as taken:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "gateway", "wrap", "--policy", str(policy), "--otel"),
                *("--state", "memory", "--", sys.executable, "-c", echo),
            ],
            input="".join(json.dumps(tools_call(tool)) + "\n" for tool in ("look", "steal")),
            env=environment({"OTEL_EXPORTER_OTLP_ENDPOINT": taken.url, "NO_PROXY": "127.0.0.1"}),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert done.stdout.count("\n") == 2, done.stderr
    assert spans_of(taken) == {("tools/call look", "pipe"), ("tools/call steal", "pipe")}
