"""A process of the sidecar: table, gateway, listeners and signals, from start to drain.

INVARIANT: nothing listens before everything behind it is ready, and nothing behind a listener
closes before the listener has drained.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway import eventloop
from gateway._core import Engine, LimitTable
from gateway.app import Gateway, desk_of, telling_of_approvals
from gateway.decision_log import close_log, open_log, open_tracing
from gateway.enforcement import EnforcementPoint
from gateway.errors import StartError, table_problem
from gateway.operate.admin import MAX_CONNECTIONS, Ask, create_admin
from gateway.operate.report import tell
from gateway.pinning import LockSource
from gateway.policies import PolicySource, Watched, watch
from gateway.server import Listener, bind
from gateway.settings import Address, Settings

if TYPE_CHECKING:
    import socket

    from gateway._core import DecisionLog
    from gateway.config.source import ConfigSource
    from gateway.tracing import Tracing


SHARE_ATTEMPTS = 5


class Signals:
    """What the operating system asks of this process.

    Attributes:
        stop: SIGTERM or SIGINT came: drain.
        hurry: it came again: end the grace now.
    """

    def __init__(self, reload: Callable[[], object]) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask_to_stop)
        loop.add_signal_handler(signal.SIGHUP, reload)

    def ask_to_stop(self) -> None:
        """As SIGTERM does."""
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()


def run(settings: Settings, source: ConfigSource | None = None) -> int:
    """Serve with one process until told to stop; the exit code.

    Args:
        settings: checked.
        source: where they come from, if it is to be looked at again.

    Raises:
        PolicyError: a policy cannot be used; nothing was opened.
        StartError: a port, the state file or the decision log is not to be had.
        UpstreamError: a server that is needed at start is not.
    """
    log_to_stderr()
    return eventloop.run(_run(settings, source))


async def _run(settings: Settings, source: ConfigSource | None) -> int:
    table = open_table(settings)
    data, admin, settings = bind_all(settings)
    log = open_log(settings.log)
    tracing = open_tracing(settings, log)
    gateway = Gateway(settings, table=table, source=source, log=log, tracing=tracing)
    await gateway.start()
    signals = Signals(gateway.reload)
    fast = gateway.fast_path(data.getsockname()[:2])
    tls = None if gateway.tls is None else gateway.tls.context
    listener = Listener(gateway.data, data, fast=fast, tls=tls)
    await listener.start()
    operators = await serve_admin(partial(tell, gateway.admin_view), admin, settings)
    announce(settings)
    gateway.watch_files()
    with telling_of_approvals(settings) as gateway.deliveries:
        await signals.stop.wait()
        gateway.drain()
        await listener.drain(settings.grace_s, hurry=signals.hurry)
    await gateway.aclose(0)
    if operators is not None:
        await operators.drain(0)
    end_log(log, tracing)
    return 0


def end_log(log: DecisionLog | None, tracing: Tracing | None = None) -> None:
    """Write what waits, and say what could not be; the log first, which is the record."""
    lost = close_log(log)
    if lost:
        logging.getLogger("interlock.log").error("%d decisions could not be logged", lost)
    if tracing is not None:
        tracing.close()


def run_wrapped(settings: Settings) -> int:
    """Stand between a client on our standard input and output and a server that is our child.

    Returns:
        The server's exit code.

    Raises:
        PolicyError, StartError, UpstreamError: as `run` does.
    """
    log_to_stderr()
    return asyncio.run(_run_wrapped(settings))


async def _run_wrapped(settings: Settings) -> int:
    from gateway.downstream.stdio import wrap  # `run` has no use for it

    policy = settings.servers[0].policy
    assert policy is not None
    source = PolicySource(policy)
    lock = LockSource.of(settings.servers[0])
    policies, table = source.load(), share_table(settings)
    log = open_log(settings.log)
    desk = desk_of(settings)
    tracing = open_tracing(settings, log, "pipe")
    spans = None if tracing is None else tracing.spans
    engine = Engine(
        policies,
        table,
        shadow=settings.shadow,
        log=log,
        approvals=desk is not None,
        spans=spans,
    )
    watched: dict[Watched, Callable[[Any], object]] = {source: engine.install}
    if lock is not None:
        engine.pin(lock.pins)
        watched[lock] = engine.pin
    watching = asyncio.create_task(watch(watched))
    try:
        with telling_of_approvals(settings):
            return await wrap(settings, EnforcementPoint(engine, log, desk))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        if desk is not None:
            await desk.aclose()
        end_log(log, tracing)


def share_table(settings: Settings) -> LimitTable:
    """The limit table, as its owner or beside the instances that have it open already.

    Raises:
        StartError: it cannot be used.
    """
    attempt = 0
    while True:
        try:
            return open_table(settings)
        except StartError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
        try:
            return LimitTable.join(str(settings.state))
        except OSError as error:
            # Whoever had it may have left between the two attempts: then it is ours to own.
            attempt += 1
            if attempt == SHARE_ATTEMPTS:
                raise StartError(table_problem(error)) from error


def open_table(settings: Settings) -> LimitTable:
    """The limit table as its owner.

    Raises:
        StartError: its file cannot be made, is damaged, or has another owner.
    """
    if settings.state is None:
        return LimitTable(settings.slots)
    try:
        settings.state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LimitTable(settings.slots, path=str(settings.state))
    except OSError as error:
        raise StartError(table_problem(error)) from error


def bind_all(
    settings: Settings, *, shared: bool = False
) -> tuple[socket.socket, socket.socket | None, Settings]:
    """Bind both ports; also the settings with the ports that were free where 0 was asked for."""
    data = bind(settings.listen, shared=shared)
    settings = replace(settings, listen=Address(settings.listen.host, data.getsockname()[1]))
    if settings.admin is None:
        return data, None, settings
    admin = bind(settings.admin)
    return (
        data,
        admin,
        replace(settings, admin=Address(settings.admin.host, admin.getsockname()[1])),
    )


async def serve_admin(ask: Ask, sock: socket.socket | None, settings: Settings) -> Listener | None:
    """Open the operators' port, if there is to be one."""
    if sock is None:
        return None
    listener = Listener(create_admin(ask, settings), sock, most=MAX_CONNECTIONS)
    await listener.start()
    return listener


def announce(settings: Settings) -> None:
    """Print the line that says where the sidecar serves."""
    scheme = "http" if settings.tls is None else "https"
    base = f"{scheme}://{settings.listen}/mcp"
    several = len(settings.servers) > 1
    names = [f"/{server.name}" if several else "" for server in settings.servers]
    places = [f"mcp={base}{name}" for name in names]
    admin = "none" if settings.admin is None else f"http://{settings.admin}"
    sys.stderr.write(f"interlock ready: {' '.join(places)} admin={admin}\n")
    sys.stderr.flush()


def log_to_stderr() -> None:
    """Send what the modules log to standard error, one line each."""
    logging.basicConfig(format="interlock: %(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("interlock").setLevel(logging.INFO)
