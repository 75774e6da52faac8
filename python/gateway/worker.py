"""A worker: one of several processes that serve agents, started and asked by a supervisor.

INVARIANT: a worker does not outlive its supervisor: the end of the control channel is an order to
drain.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gateway import eventloop
from gateway._core import LimitTable
from gateway.app import Gateway
from gateway.decision_log import open_log, open_tracing
from gateway.errors import StartError
from gateway.operate.report import tell
from gateway.process import Signals, end_log, log_to_stderr
from gateway.server import Listener, bind

if TYPE_CHECKING:
    from gateway.config.source import ConfigSource
    from gateway.operate.report import Topic
    from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """What a supervisor tells a worker, over its standard input."""

    settings: Settings
    table: str
    """Path of the limit table to join."""
    number: int
    """Which of the workers it is, from 0."""
    source: ConfigSource | None = None
    """Where the settings come from, if it is to be looked at again."""


def main(control_fd: int) -> int:
    """Work until told to stop; the exit code."""
    # It comes from the process that started this one, over a pipe that nobody else can write to.
    order: Order = pickle.load(sys.stdin.buffer)
    log_to_stderr()
    try:
        eventloop.run(_work(order, socket.socket(fileno=control_fd)))
    except StartError as error:
        logging.getLogger("interlock.worker").error("%s", error)
        return 69
    return 0


async def _work(order: Order, channel: socket.socket) -> None:
    table = LimitTable.join(order.table)
    log = open_log(order.settings.log, worker=order.number)
    tracing = open_tracing(order.settings, log)
    gateway = Gateway(order.settings, table=table, source=order.source, log=log, tracing=tracing)
    data = bind(order.settings.listen, shared=True)
    fast = gateway.fast_path(data.getsockname()[:2])
    tls = None if gateway.tls is None else gateway.tls.context
    listener = Listener(gateway.data, data, fast=fast, tls=tls)
    await gateway.start()
    signals = Signals(gateway.reload)
    await listener.start()
    gateway.watch_files()
    reader, writer = await asyncio.open_connection(sock=channel)

    async def report() -> None:
        """Say that we serve, and then what is asked for: a topic a line. Each answer's length comes
        before it."""
        topic = "ready"
        try:
            while topic:
                told = await tell(gateway.admin_view, cast("Topic", topic))
                writer.writelines((b"%d\n" % len(told), told))
                await writer.drain()
                topic = (await reader.readline()).decode().strip()
        except ConnectionError:
            return
        finally:
            signals.stop.set()

    reporting = asyncio.create_task(report())
    await signals.stop.wait()
    gateway.drain()
    await listener.drain(order.settings.grace_s, hurry=signals.hurry)
    await gateway.aclose(0)
    end_log(log, tracing)
    reporting.cancel()
    writer.close()
