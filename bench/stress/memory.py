"""Resident memory over a million calls, and over a hundred thousand live quotas."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench import message
from bench.load.clients import exchange, request
from bench.load.path import ALLOWED, POLICY, REFUSED
from bench.stress.goals import Goal
from bench.stress.rig import Pace, Result, Rig, running

if TYPE_CHECKING:
    from bench.load.path import Cores

TITLE = "Memory"
STEPS = 5
"""Samples over the calls of one kind."""
SLOTS = 1 << 18
TABLE_BYTES = SLOTS * 128
FEW_TABLE_BYTES = 16384 * 128
MB = 1_000_000


def measure(pace: Pace, cores: Cores) -> Result:
    """Calls that are refused and allowed, connections that come and go, and quotas.

    Returns:
        by kind the `calls`, `resident_bytes` at each step, the first after the warm-up, and their
        `growth`; and `table_bytes`, which are part of the former.
    """
    with running(cores, POLICY, server=None) as rig:
        found = {
            "refused": repeated(rig, REFUSED, pace.calls // 2),
            "allowed": repeated(rig, ALLOWED, pace.calls // 2),
            "connections": churned(rig, pace.calls // 50),
        }
    with running(cores, message.keyed(), server=None, options=("--slots", str(SLOTS))) as rig:
        found["quotas"] = keyed(rig, pace.calls // 10)
    return found


def told(calls: int, samples: list[int], table_bytes: int = FEW_TABLE_BYTES) -> Result:
    """For the result."""
    return {
        "calls": calls,
        "resident_bytes": samples,
        "growth": samples[-1] - samples[0],
        "table_bytes": table_bytes,
    }


def repeated(rig: Rig, body: bytes, calls: int) -> Result:
    """The same call over and over, on 32 connections; the first tenth is warm-up."""
    done, samples = 0, []
    for step in range(STEPS + 1):
        while done < calls * (0.1 + step / STEPS):
            done += rig.most(body, connections=32, seconds=1)["requests"]
        samples.append(rig.gateway.resident_bytes())
    return told(done, samples)


def churned(rig: Rig, count: int) -> Result:
    """A connection for each call; every other one leaves before its answer."""
    samples = []
    port = rig.gateway.port
    for _step in range(STEPS + 1):
        for i in range(count // STEPS):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                if i % 2:
                    connection.sendall(request(port, ALLOWED))
                else:
                    exchange(connection, port, ALLOWED)
        samples.append(rig.gateway.resident_bytes())
    return told(count // STEPS * (STEPS + 1), samples)


def keyed(rig: Rig, count: int) -> Result:
    """A quota for each call, all of which stay; then the same calls once more, which counts."""
    port, samples = rig.gateway.port, []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for _ in range(2):
            for user in range(count):
                exchange(connection, port, message.call("tool_0", user=user))
            samples.append(rig.gateway.resident_bytes())
    return told(2 * count, samples, TABLE_BYTES)


def goals(found: Result) -> Iterator[Goal]:
    """What should hold of a result."""
    for name, case in found.items():
        title = f"memory, {name}"
        beyond = max(case["resident_bytes"]) - case["table_bytes"]
        yield Goal(f"{title}: growth over {case['calls']:,} calls", case["growth"] / MB, 1, "MB")
        yield Goal(f"{title}: resident, without the table", beyond / MB, 40, "MB")
