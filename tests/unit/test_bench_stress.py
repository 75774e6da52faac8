"""bench/stress/: goals are told as they are, and the generator counts what has no answer."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.load.peers import built_c
from bench.stress import overload
from bench.stress.goals import Goal
from bench.stress.rig import Pairs, request

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b"


@pytest.mark.parametrize(
    ("figure", "bound", "least", "holds"),
    [
        (2.0, 2, False, True),
        (2.01, 2, False, False),
        (0.8, 0.8, True, True),
        (0.7, 0.8, True, False),
    ],
)
def test_a_goal_holds_up_to_its_bound(
    figure: float, bound: float, least: bool, holds: bool
) -> None:
    goal = Goal("x", figure, bound, least=least)
    assert goal.holds is holds
    assert str(goal).startswith("holds" if holds else "MISSES")


def test_a_goal_says_what_it_asks() -> None:
    assert str(Goal("wait", 12.34, 1000, "ms")) == "holds   wait: 12.3 ms (at most 1,000 ms)"
    assert str(Goal("share", 0.5, 1, least=True)) == "MISSES  share: 0.50 (at least 1)"


def test_that_nobody_was_served_is_told_and_meets_no_goal() -> None:
    fine = {
        "expected": 10, "answered": 10, "marked": 0, "p99_us": 100.0, "served_per_s": 5.0,
        "marked_p50_us": 0.0, "marked_p99_us": 0.0,
    }  # fmt: skip
    none = {**fine, "answered": 0, "p99_us": 0.0, "served_per_s": 0.0}
    case = overload.told([{"half": fine, "over": none, "after": fine}], 5.0)
    goals = {
        goal.title: goal for goal in overload.goals({"c": {"title": "", "service_s": 0, **case}})
    }
    assert [title for title, goal in goals.items() if goal.holds] == [
        ": p99 from 2 s after, of that before"
    ]
    assert goals[": p99 of served calls, of that at half load"].found == "without end"


def test_ratios_are_of_neighbouring_rounds_and_what_is_not_served_is_counted() -> None:
    pairs = Pairs()
    fine = {"expected": 10, "answered": 10, "marked": 0, "failed": 0, "p50_us": 10, "p99_us": 100}
    bad = {"expected": 10, "answered": 9, "marked": 2, "failed": 3, "p50_us": 20, "p99_us": 500}
    for _ in range(2):
        pairs.add(fine, bad)
    pairs.add(bad, fine)
    told = pairs.told()
    assert (told["p50_ratio"], told["p99_ratio"]) == (2, 5)
    assert told["not_served"] == 12


def test_a_call_may_go_to_another_path_with_more_fields() -> None:
    found = request(80, b"{}", b"x: y\r\n", b"/mcp/other")
    assert found.startswith(b"POST /mcp/other HTTP/1.1\r\nx: y\r\nHost: 127.0.0.1:80\r\n")
    assert found.endswith(b"\r\nContent-Length: 2\r\n\r\n{}")


@contextmanager
def answering(bodies: list[bytes | None]) -> Iterator[int]:
    """A server that answers its requests, one connection each, with these bodies, one after the
    other; None closes, and when there is no more it says nothing. Gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            for body in bodies:
                while not connection.recv(1 << 16):
                    connection, _ = listener.accept()
                if body is None:
                    connection.close()
                    connection, _ = listener.accept()
                else:
                    connection.sendall(ANSWER % (len(body), body))
            connection.recv(1 << 16)
            while connection.recv(1 << 16):
                pass
            connection.close()

        server = threading.Thread(target=serve)
        server.start()
        port: int = listener.getsockname()[1]
        yield port
        server.join()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_generator_counts_what_is_marked_and_what_has_no_answer(tmp_path: Path) -> None:
    file = tmp_path / "request"
    file.write_bytes(b"GET / HTTP/1.1\r\n\r\n")
    with answering([b"fine", b"refused", b"fine", None, b"fine"]) as port:
        # Ten requests fall due within a tenth of a second, on one connection.
        command = [built_c("openloop"), str(port), str(file), "100", "1", "0", "0.1", "refused"]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    found = json.loads(said.stdout)
    counts = {name: found[name] for name in ("expected", "answered", "marked", "failed", "closed")}
    assert counts == {"expected": 10, "answered": 4, "marked": 1, "failed": 0, "closed": 1}
    # What was not answered has waited until the generator's patience ended.
    assert found["p99_us"] > 1_900_000
    assert found["marked_p99_us"] < 1_000_000
