"""Who reads an allowed message with another parser reads the same: Python's json, orjson, Node.js.

`INTERLOCK_ENVELOPES` says how many messages are made; those that the core lets pass are compared.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from differential.test_policy import LAWFUL, SPLICES
from gateway import Caller, Engine, LimitTable, PolicySet
from hostile import ALLOW_ALL

MESSAGES = int(os.environ.get("INTERLOCK_ENVELOPES", "20000"))
FETCHED = Path(__file__).parents[2] / ".cache" / "e2e" / "npm" / "node_modules" / ".bin" / "node"
READER = """
const lines = require("fs").readFileSync(0, "latin1").trim().split("\\n")
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const read = line => JSON.parse(strict.decode(Buffer.from(line, "base64")))
process.stdout.write(lines.map(line => JSON.stringify(read(line)) + "\\n").join(""))
"""
"""Fails on the first text that is none or no JSON."""


def damaged(draw: random.Random) -> bytes:
    """A lawful message with a few places changed."""
    body = draw.choice(LAWFUL)
    for _ in range(draw.randint(1, 3)):
        at = draw.randint(0, len(body))
        end = at + draw.choice([0, 0, 1, 1, 2, 8])
        body = body[:at] + draw.choice([*SPLICES, body[at : at + 12]]) + body[end:]
    return body


@pytest.fixture(scope="module")
def allowed() -> list[bytes]:
    """Those that pass, each once, from a seed that is always the same."""
    draw = random.Random(1)
    engine = Engine(PolicySet.parse(ALLOW_ALL.encode(), name="p.json"), LimitTable())
    caller = Caller("default", server="default")
    found: dict[bytes, None] = {}
    for _ in range(MESSAGES):
        body = damaged(draw)
        if engine.decide(caller, body).allowed:
            found[body] = None
    assert len(found) >= min(MESSAGES // 40, 5_000)
    return list(found)


def doubled(value: Any) -> Any:
    """The same with every number as the double that all these readers can hold."""
    if isinstance(value, dict):
        return {name: doubled(member) for name, member in value.items()}
    if isinstance(value, list):
        return [doubled(member) for member in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose names must differ, or else readers differ on what it says."""
    found = dict(members)
    assert len(found) == len(members)
    return found


def read(body: bytes) -> Any:
    """What Python's own reader makes of it."""
    return doubled(json.loads(body.decode(), object_pairs_hook=pairs))


def test_orjson_reads_the_same(allowed: list[bytes]) -> None:
    differ = [body for body in allowed if doubled(orjson.loads(body)) != read(body)]
    assert not differ, differ[:3]


def test_node_reads_the_same(allowed: list[bytes]) -> None:
    node = shutil.which("node") or (str(FETCHED) if FETCHED.exists() else None)
    if node is None:
        pytest.skip("Node.js is not installed, and none was fetched by tests/e2e/setup.sh")
    lines = b"\n".join(map(base64.b64encode, allowed))
    done = subprocess.run([node, "-e", READER], input=lines, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-1000:]
    told = [doubled(json.loads(line)) for line in done.stdout.splitlines()]
    both = zip(allowed, told, strict=True)
    differ = [(body, theirs) for body, theirs in both if theirs != read(body)]
    assert not differ, differ[:3]
