"""A server that counts the tool calls it is given, and a crowd that wants more than it may.

Both speak just enough HTTP to keep connections alive and to be quick, so that a race is a race.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}

_RESULT = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"resultType": "complete", "content": [{"type": "text", "text": "spent"}]},
    }
).encode()

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


@contextlib.asynccontextmanager
async def speaking(
    reply: Callable[[bytes, bytes], Iterable[bytes]], port: int = 0
) -> AsyncIterator[str]:
    """A server by its URL, which writes what `reply` makes of each head and body that came whole.

    Args:
        reply: the answer, in pieces that are each waited for.
        port: where it listens; 0 picks a free one.
    """
    conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations[task] = writer
        task.add_done_callback(conversations.pop)
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while (message := await read_message(reader)) is not None:
                for piece in reply(*message):
                    writer.write(piece)
                    await writer.drain()

    server = await asyncio.start_server(converse, "127.0.0.1", port)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}/mcp"
        server.close()
        for writer in conversations.values():
            writer.close()
        await asyncio.gather(*conversations)


def serving(
    answer: Callable[[bytes], bytes],
) -> contextlib.AbstractAsyncContextManager[str]:
    """A server on a free port, by its URL, that answers each POST that came whole with JSON."""

    def reply(_: bytes, body: bytes) -> Iterable[bytes]:
        result = answer(body)
        yield _ANSWER % (len(result), result)

    return speaking(reply)


class CountingServer:
    """Answers every POST alike and counts those that came whole.

    Attributes:
        calls: How many there were.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._reached: dict[int, asyncio.Event] = {}

    def reached(self, calls: int) -> asyncio.Event:
        """An event that is set once there were that many."""
        return self._reached.setdefault(calls, asyncio.Event())

    def serve(self) -> contextlib.AbstractAsyncContextManager[str]:
        """Listens on a free port; yields the URL."""
        return serving(self._count)

    def _count(self, _: bytes) -> bytes:
        self.calls += 1
        if event := self._reached.get(self.calls):
            event.set()
        return _RESULT


class Crowd:
    """Clients, each with a connection it keeps, that call one after the other and all at once.

    Attributes:
        codes: How often each decision's code came back, `allowed` for a served call.
        lost: Calls whose connection ended before an answer.
    """

    def __init__(self, url: str, *, clients: int, calls: int) -> None:
        """Each client makes `calls` calls, lost ones among them."""
        self.codes: Counter[str] = Counter()
        self.lost = 0
        self._url = url
        self._clients = clients
        self._calls = calls
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        """Whoever has lost its connection makes no new one until `resume`."""
        self._open.clear()

    def resume(self, url: str) -> None:
        """New connections go to this URL."""
        self._url = url
        self._open.set()

    async def run(self) -> None:
        """Returns when every client has made its calls."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._client())

    async def _client(self) -> None:
        left = self._calls
        while left:
            await self._open.wait()
            try:
                reader, writer = await _connect(self._url)
            except ConnectionError:
                self.lost += 1
                left -= 1
                continue
            with contextlib.closing(writer):
                while left:
                    left -= 1
                    writer.write(post(urlsplit(self._url).netloc, call_of("spend")))
                    message = await read_message(reader)
                    if message is None:
                        self.lost += 1
                        break
                    head, body = message
                    assert body, head
                    self.codes[code_of(body)] += 1


def code_of(body: bytes) -> str:
    """The code in an answer, JSON or the last event of a stream: `allowed` where the server's own
    result came."""
    answer = json.loads(body.rpartition(b"data:")[2])
    if "error" in answer:
        return str(answer["error"].get("data", {}).get("code", answer))
    decision = answer["result"].get("_meta", {}).get("interlock/decision")
    return "allowed" if decision is None else str(decision["code"])


def call_of(tool: str, number: int = 1, **arguments: object) -> dict[str, Any]:
    """A call of a client without a session."""
    params = {"name": tool, "arguments": arguments, "_meta": META}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def post(host: str, message: Mapping[str, Any], *, session: str | None = None) -> bytes:
    """A message as an HTTP request, with the fields that go with it.

    Args:
        host: the listener's.
        session: of a client of the revisions that have them; `""` where it is about to open one.
    """
    body = json.dumps(message).encode()
    method, name = message["method"], message["params"].get("name")
    fields = [("mcp-session-id", session), ("mcp-protocol-version", "2025-06-18")]
    if session is None:
        fields = [("mcp-protocol-version", MODERN), ("mcp-method", method), ("mcp-name", name)]
    head = (
        f"POST /mcp HTTP/1.1\r\nhost: {host}\r\n"
        "accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n"
        + "".join(f"{field}: {value}\r\n" for field, value in fields if value)
        + f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    where = urlsplit(url)
    return await asyncio.open_connection(where.hostname, where.port)


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """Head and body of one message; None where the connection ends before it is whole."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        if fields.get(b"transfer-encoding") == b"chunked":
            return head, await _read_chunks(reader)
        return head, await reader.readexactly(int(fields.get(b"content-length", 0)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body
