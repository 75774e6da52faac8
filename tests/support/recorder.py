"""A server that keeps every byte it was sent, and a client that sends any bytes."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

WAIT_S = 20.0
"""Bound on every wait; reached only by a failing test."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    head: bytes
    body: bytes

    @property
    def fields(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return [(name.lower(), value.strip()) for name, _, value in pairs]


Answering = Callable[[Received, socket.socket], bytes]


@dataclass
class Recorder:
    """What the server saw, and how it answers."""

    port: int
    received: list[Received] = field(default_factory=list)
    answering: Answering | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def bodies(self) -> list[bytes]:
        return [each.body for each in self.received]

    def _serve(self, client: socket.socket) -> None:
        held = b""
        with client, suppress(OSError):
            while True:
                while b"\r\n\r\n" not in held:
                    held += (piece := client.recv(1 << 16))
                    if not piece:
                        return
                head, _, held = held.partition(b"\r\n\r\n")
                length = int(found[1]) if (found := _LENGTH.search(head)) else 0
                while len(held) < length:
                    held += client.recv(1 << 16)
                request = Received(head, held[:length])
                held = held[length:]
                self.received.append(request)
                client.sendall((self.answering or plain)(request, client))


def plain(request: Received, client: socket.socket | None = None) -> bytes:
    """An empty result with the id of the request."""
    message = json.loads(request.body) if request.body else {}
    result = {"jsonrpc": "2.0", "id": message.get("id"), "result": {"content": []}}
    return answer(json.dumps(result).encode())


def answer(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    """A whole HTTP answer."""
    head = [f"HTTP/1.1 {status}", "content-type: application/json", *fields]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body


@contextmanager
def recording() -> Iterator[Recorder]:
    """Serve on a free loopback port until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        recorder = Recorder(listener.getsockname()[1])

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=recorder._serve, args=(client,), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield recorder
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(WAIT_S)


def talk(place: str, data: bytes, answers: int) -> list[int]:
    """Send bytes on a connection of their own; the statuses of this many final answers, or of all
    that come before the connection ends."""
    host, _, port = place.rpartition(":")
    with socket.create_connection((host, int(port)), WAIT_S) as wire:
        wire.sendall(data)
        source = wire.makefile("rb")
        statuses: list[int] = []
        with suppress(ConnectionError):
            while len(statuses) < answers and (line := source.readline()):
                status = int(line.split()[1])
                length = 0
                while (name := source.readline().lower()) not in (b"\r\n", b""):
                    if name.startswith(b"content-length:"):
                        length = int(name.partition(b":")[2])
                source.read(0 if data.startswith(b"HEAD ") else length)
                if status >= 200:
                    statuses.append(status)
        return statuses
