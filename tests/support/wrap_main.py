"""`wrap` by itself, as a process: `python wrap_main.py POLICY COMMAND [ARG...]`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway._core import Engine, LimitTable, PolicySet
from gateway.downstream.stdio import wrap
from gateway.enforcement import EnforcementPoint
from gateway.settings import ServerSettings, Settings


def main() -> int:
    policy, *command = sys.argv[1:]
    source = Path(policy)
    policies = PolicySet.parse(source.read_bytes(), name=source.name)
    server = ServerSettings(name="parts", policy=source, command=tuple(command))
    point = EnforcementPoint(Engine(policies, LimitTable(64)))
    return asyncio.run(wrap(Settings(servers=(server,)), point))


if __name__ == "__main__":
    sys.exit(main())
