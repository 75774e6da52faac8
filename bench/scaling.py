"""What a second worker adds, where the proxy's processor is what is scarce.

INVARIANT: a worker has the same fixed share of a core whether it is alone or one of two, and load
and server have several times as much; so neither of them is what bounds the calls.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.load import peers
from bench.load.clients import Round, closed_loop
from bench.load.path import ALLOWED, POLICY, WARM_S, Cores, check, start, turns
from bench.load.peers import Missing
from bench.load.processes import written_bytes
from bench.load.shares import PERIOD_US, Share, shares

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

SHARE = 0.2
"""Of a core, for each worker: two of them, the load and the server take less than one core of
two."""
CONNECTIONS = 64
"""For each worker: a call costs more where one process has more connections, and that is not to
count for the second. The kernel deals them out by chance, of 128 half to each give or take six, so
that also the worker with fewer always has calls waiting; with 32 for both it may be left with eight
and be idle."""
ALONE, TOGETHER, CROWDED = "one worker", "two workers", "two workers in the share of one"


def measure(cores: Cores, *, rounds: int, seconds: int) -> dict[str, Any]:
    """One worker and two in turn, and for comparison two in the share of one.

    Returns:
        `share` of a core a worker, `period_us`, `connections` a worker, and `found`: by name the
        rounds, see `watched`. Where no shares can be given, `skipped`: why.
    """
    try:
        with shares((cores.proxy, cores.load), SHARE) as given, ExitStack() as stack:
            found = _rounds(stack, given, rounds, seconds)
    except Missing as error:
        return {"skipped": str(error)}
    return {"share": SHARE, "period_us": PERIOD_US, "connections": CONNECTIONS, "found": found}


def _rounds(
    stack: ExitStack, given: Sequence[Share], rounds: int, seconds: int
) -> dict[str, list[Round]]:
    everywhere = frozenset(share.cpu for share in given)
    server = start(stack, peers.echo, 0, everywhere)
    one = start(stack, lambda site: peers.interlock(site, POLICY), server.port, everywhere)
    two = start(
        stack, lambda site: peers.interlock(site, POLICY, "--workers", "2"), server.port, everywhere
    )
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
    for proxy in (one, two):
        check("interlock", proxy.port, [ALLOWED])
    first, second = given
    [alone] = one.pids()
    # The supervisor has nothing to do with a call, but what it takes is not to come for free.
    supervisor, *workers = two.pids()
    first.take([alone, supervisor])
    lent = {ALONE: [first], TOGETHER: [first, second], CROWDED: [first, first]}

    def load(name: str, for_s: int) -> Round:
        proxy, pids = (one, [alone]) if name == ALONE else (two, workers)
        for pid, share in zip(pids, lent[name], strict=True):
            share.take([pid])

        def loaded() -> Round:
            return closed_loop(
                proxy,
                [ALLOWED],
                folder,
                everywhere,
                connections=CONNECTIONS * len(pids),
                seconds=for_s,
            )

        return watched(loaded, pids, set(lent[name]))

    found: dict[str, list[Round]] = {name: [] for name in lent}
    for name in found:
        load(name, WARM_S)
    for name in turns(list(found), rounds):
        found[name].append(load(name, seconds))
    return found


def watched(load: Callable[[], Round], workers: Sequence[int], used: Collection[Share]) -> Round:
    """One round.

    Args:
        load: what is done in it.
        workers: process ids.
        used: the shares that they have.

    Returns:
        What `load` tells; `by_worker`, the part of all bytes that each wrote, which is its part of
        the calls, since those are all alike (None where the kernel does not tell); and `used_up`,
        in what part of the periods a share was used up, of the share where that is least: near 1
        if nothing else was scarce.
    """
    wrote = [written_bytes(pid) for pid in workers]
    before = {share: share.periods() for share in used}
    found = load()
    wrote = [written_bytes(pid) - earlier for pid, earlier in zip(workers, wrote, strict=True)]
    parts = []
    for share, (then, used_up_then) in before.items():
        now, used_up = share.periods()
        parts.append((used_up - used_up_then) / max(now - then, 1))
    total = sum(wrote)
    return {
        **found,
        "by_worker": [each / total for each in wrote] if total else None,
        "used_up": min(parts),
    }
