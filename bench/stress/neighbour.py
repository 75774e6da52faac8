"""One session at ten times its limit beside one that keeps to its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from bench import message
from bench.stress.goals import Goal
from bench.stress.rig import Load, Pace, Pairs, Result, Rig, call, running

if TYPE_CHECKING:
    from bench.load.path import Cores

TITLE = "A noisy neighbour"
LIMIT = 100
"""Calls of `noisy` a second that each session may make."""
TIMES = 10
BUCKET = {
    "counter": "c",
    "algorithm": "token_bucket",
    "window": "minute",
    "max": 60 * LIMIT,
    "burst": LIMIT,
    "scope": "session",
}
POLICY = message.encode({"tools": {"quick": {}, "noisy": {"limits": [BUCKET]}}})
REFUSED = '"code":"limit-exceeded"'
CONNECTIONS = 32


def measure(pace: Pace, cores: Cores) -> Result:
    """Rounds without the noisy session and with it: `Pairs.told` of the legal one's calls, and what
    became of the `noisy` ones."""
    pairs, noise = Pairs(), []
    with running(cores, POLICY) as rig:
        legal = Load(call("quick"), pace.seconds, fields=session(rig), mark=REFUSED)
        noisy = Load(
            call("noisy"),
            pace.seconds + 1,
            rate=TIMES * LIMIT,
            connections=CONNECTIONS,
            fields=session(rig),
            mark=REFUSED,
        )
        rig.bear(legal)
        for _ in range(pace.rounds + 1):
            quiet = rig.bear(legal)
            with rig.under(noisy) as finish:
                pairs.add(quiet, rig.bear(legal))
                noise.append(finish())
    return {"noisy": noise, **pairs.told()}


def session(rig: Rig) -> bytes:
    """Opens one; the header line that names it."""
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "stress", "version": "1"},
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 42, "method": "initialize", "params": params})
    with closing(HTTPConnection("127.0.0.1", rig.gateway.port, timeout=10)) as connection:
        head = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        connection.request("POST", "/mcp", body, head)
        name = connection.getresponse().headers["Mcp-Session-Id"]
    return f"Mcp-Session-Id: {name}\r\n".encode()


def goals(found: Result) -> Iterator[Goal]:
    """What should hold of a result."""
    refused = sum(each["marked"] for each in found["noisy"])
    sent = sum(each["expected"] for each in found["noisy"])
    yield Goal(
        "noisy neighbour: p99 of the other's calls, of that without", found["p99_ratio"], 1.5
    )
    yield Goal("noisy neighbour: the other's calls not served", found["not_served"], 0)
    yield Goal("noisy neighbour: share of its calls refused", refused / sent, 0.75, least=True)
