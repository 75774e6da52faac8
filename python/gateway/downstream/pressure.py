"""What a client that does not read may hold of ours: little memory, here and in the kernel, and
that not for long.

INVARIANT: of an answer that nobody takes no more is kept than one piece and two small buffers.
"""

from __future__ import annotations

import asyncio
import socket
import struct

WAITING_BYTES = 16 * 1024
"""Written and not taken by the kernel, at which a connection's client counts as slow."""
UNSENT_BYTES = 64 * 1024
"""Taken by the kernel and not yet sent, at which it takes no more. By itself it would take 3 MB for
a client that reads nothing, which counts as this process's where memory is bounded by cgroup."""
_NO_LINGER = struct.pack("ii", 1, 0)


def restrain_kernel(listener: socket.socket) -> None:
    """Bound what the kernel keeps for each connection that is accepted here."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def restrain(transport: asyncio.WriteTransport) -> None:
    """Bound what the event loop keeps for a connection before it says that its client is slow."""
    transport.set_write_buffer_limits(high=WAITING_BYTES)


def reset(transport: asyncio.WriteTransport) -> None:
    """Close at once a connection whose client takes nothing, with all that it did not take.

    Closed as usual the kernel would keep on offering that, for minutes.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and transport.get_write_buffer_size():  # it is not closed yet
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
