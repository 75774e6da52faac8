"""What a proxy adds to the latency of a call: open loop, at rates that nginx can serve."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.load import peers
from bench.load.clients import Round, closed_loop, open_loop
from bench.load.path import ALLOWED, POLICY, WARM_S, Cores, check, running, turns

SLOW = 500.0
"""Requests a second, on one connection, when it is to find everybody idle."""
SHARES = (0.5, 0.8)
CONNECTIONS = 32


def measure(cores: Cores, *, rounds: int, seconds: int) -> dict[str, Any]:
    """All rounds at all rates.

    Returns:
        `nginx_rate`, requests a second that nginx serves in a closed loop; and `loads`: each with
        `title`, `rate`, `connections`, and by name of a proxy its `rounds`, see `open_loop`.

    Raises:
        Missing: a program that is needed is not there.
    """
    with (
        running(peers.peers(POLICY), peers.echo, cores) as (_, proxies, missing),
        tempfile.TemporaryDirectory(prefix="bench-") as name,
    ):
        folder = Path(name)

        def flat_out(proxy: str) -> float:
            found = closed_loop(
                proxies[proxy],
                [ALLOWED],
                folder,
                [cores.load],
                connections=CONNECTIONS,
                seconds=WARM_S,
            )
            return float(found["requests"] / found["seconds"])

        for proxy in proxies:
            check(proxy, proxies[proxy].port, [ALLOWED])
            flat_out(proxy)
        most = sorted(flat_out("nginx") for _ in range(3))[1]
        loads = [("one call at a time", SLOW, 1)]
        loads += [(f"{share:.0%} of what nginx can", most * share, CONNECTIONS) for share in SHARES]
        found: list[dict[str, Any]] = []
        for title, rate, connections in loads:
            measured: dict[str, list[Round]] = {proxy: [] for proxy in proxies}
            for proxy in turns(list(proxies), rounds):
                measured[proxy].append(
                    open_loop(
                        proxies[proxy].port,
                        ALLOWED,
                        folder,
                        cores.load,
                        rate=rate,
                        connections=connections,
                        seconds=seconds,
                    )
                )
            found.append(
                {"title": title, "rate": rate, "connections": connections, "proxies": measured}
            )
        return {"nginx_rate": most, "missing": missing, "loads": found}
