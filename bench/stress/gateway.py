"""Interlock with settings that no option has: `python -m bench.stress.gateway --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.process import run
from gateway.settings import Address, ServerSettings, Settings
from gateway.validation import check


def main() -> int:
    """Serve until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m bench.stress.gateway", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True, help="the server's port")
    parser.add_argument("--hostile", type=int, help="another server's port, behind /mcp/hostile")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--slots", type=int, default=16384)
    parser.add_argument("--no-fast-path", action="store_true")
    options = parser.parse_args()
    ports = {"default": options.upstream}
    if options.hostile is not None:
        ports["hostile"] = options.hostile
    settings = Settings(
        servers=tuple(
            ServerSettings(name=name, policy=options.policy, url=f"http://127.0.0.1:{port}/mcp")
            for name, port in ports.items()
        ),
        listen=Address("127.0.0.1", options.port),
        admin=Address("127.0.0.1", 0),
        slots=options.slots,
        fast_path=not options.no_fast_path,
    )
    check(settings)
    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
