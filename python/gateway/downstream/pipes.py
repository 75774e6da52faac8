"""Our own standard input and output as lines, whatever they are: pipes, sockets, terminals, files.

INVARIANT: memory is bounded in both directions: a line longer than the bound is cut while it is
read, and whoever writes waits for the reader.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.upstream.clock import within

if TYPE_CHECKING:
    from gateway.upstream.clock import Clock

_CHUNK_BYTES = 1 << 16
_FLUSH_S = 1.0


class Input:
    """Lines from a file descriptor, which stays open."""

    def __init__(self, fd: int, max_bytes: int) -> None:
        """`max_bytes`: a longer line comes cut to one byte more, which shows that it was."""
        self._fd = fd
        self._keep = max_bytes + 1
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._partial = bytearray()
        self._ready: list[bytes] = []
        self._ended = False
        self._pump: asyncio.Task[None] | None = None
        self._transport: asyncio.BaseTransport | None = None

    async def open(self) -> None:
        """Begin to read."""
        if not _pollable(self._fd):
            # A file or a terminal cannot be waited for; a thread that never ends with us can.
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(loop,), daemon=True).start()
            return
        reader = asyncio.StreamReader(_CHUNK_BYTES)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader),
            os.fdopen(os.dup(self._fd), "rb", buffering=0),
        )
        self._pump = asyncio.create_task(self._copy(reader))

    async def line(self) -> bytes | None:
        """The next line without its LF; None after the last."""
        while not self._ready:
            if self._ended:
                return None
            chunk = await self._chunks.get()
            if chunk:
                self._split(chunk)
            else:
                self._ended = True
                if self._partial:
                    self._ready.append(bytes(self._partial))
        return self._ready.pop(0)

    def close(self) -> None:
        """Read no more."""
        if self._pump is not None:
            self._pump.cancel()
        if self._transport is not None:
            self._transport.close()
            os.set_blocking(self._fd, True)

    def _split(self, chunk: bytes) -> None:
        first, *rest = chunk.split(b"\n")
        for piece in rest:
            self._grow(first)
            self._ready.append(bytes(self._partial))
            self._partial.clear()
            first = piece
        self._grow(first)

    def _grow(self, piece: bytes) -> None:
        self._partial += piece[: max(0, self._keep - len(self._partial))]

    async def _copy(self, reader: asyncio.StreamReader) -> None:
        chunk = b"-"
        while chunk:
            try:
                chunk = await reader.read(_CHUNK_BYTES)
            except OSError:
                chunk = b""
            await self._chunks.put(chunk)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        chunk = b"-"
        # The loop may be gone before the file is read.
        with suppress(RuntimeError):
            while chunk:
                try:
                    chunk = os.read(self._fd, _CHUNK_BYTES)
                except OSError:
                    chunk = b""
                work = self._chunks.put(chunk)
                try:
                    asyncio.run_coroutine_threadsafe(work, loop).result()
                except BaseException:
                    work.close()
                    raise


class Output(asyncio.BaseProtocol):
    """Lines to a file descriptor, which stays open."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._transport: asyncio.WriteTransport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()

    async def open(self) -> None:
        """Get ready to write."""
        if _pollable(self._fd):
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.connect_write_pipe(
                lambda: self, os.fdopen(os.dup(self._fd), "wb", buffering=0)
            )

    async def write(self, line: bytes) -> bool:
        """Write one line whole; False if nobody reads any more."""
        if self._lost.is_set():
            return False
        if self._transport is None:
            return self._write_at_once(line + b"\n")
        self._transport.write(line + b"\n")
        while not self._writable.is_set():
            await self._writable.wait()
        return not self._lost.is_set()

    async def close(self, clock: Clock) -> None:
        """Write out what is held, unless nobody reads it."""
        if self._transport is not None:
            self._transport.close()
            try:
                async with within(clock, _FLUSH_S):
                    await self._lost.wait()
            except TimeoutError:
                self._transport.abort()
                await self._lost.wait()
            os.set_blocking(self._fd, True)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()
        self._writable.set()

    def _write_at_once(self, data: bytes) -> bool:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self._lost.set()
            return False
        return True


def _pollable(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
