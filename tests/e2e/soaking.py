"""What is thrown at the sidecar in a soak, and the books that are kept of it.

Every message has a number of its own as its id, which the decision log repeats. So afterwards each
answer is held against its line, and not only their sums.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from counting import META, call_of, code_of, post, read_message

NAMES = 1_000_000
"""Names of tools that nobody has."""
KEYS = 200_000
"""Values of the argument that a limit counts by."""
ITEMS = 5
"""Notifications on a stream before its answer."""

TALLY = {"counter": "all", "window": "month", "max": 10**9}
WEIGHTS = {"free": 30, "unknown": 20, "limited": 15, "keyed": 15, "stream": 8, "list": 8}
WEIGHTS |= {"session": 2, "leave": 2}
EXPECTED = {
    "free": {"allowed"},
    "unknown": {"default-deny"},
    "limited": {"allowed", "limit-exceeded"},
    "keyed": {"allowed", "limit-exceeded"},
    "stream": {"allowed"},
    "list": {"allowed"},
    "session": {"allowed"},
}
"""What may be answered to each kind where nothing is injected."""
KINDS = tuple(WEIGHTS)
UNSENT, LOST, LEFT, FIRST_CODE = range(4)
"""The state of a message; from `FIRST_CODE` on it was answered, with that code."""


def policies() -> Iterator[dict[str, Any]]:
    """Versions of the policy that say the same of what has but one answer."""
    for number in itertools.count():
        keyed = {"counter": "keyed", "window": "5s", "max": 2, "key": "args.key"}
        limited = {"counter": "limited", "window": "2s", "max": (20, 40)[number % 2]}
        yield {
            "default": "deny",
            "hide": ["secret*"],
            "tools": {
                "free": {"limits": [TALLY]},
                "limited": {"limits": [limited]},
                "keyed": {"limits": [keyed]},
                "stream": {},
                f"version_{number % 8}": {},
            },
        }


class Books:
    """What became of each message, by its number.

    Attributes:
        states: of each message.
        kinds: of each, as places in `KINDS`.
        sent_s: when each was sent, in seconds since 1970.
        ended_s: when each was answered, or was not going to be.
        opened_s: when its connection was opened.
        wrong: what must not be, in words.
        arrived: how many of each tool the server saw.
    """

    def __init__(self) -> None:
        self.states = array("B")
        self.kinds = array("B")
        self.sent_s, self.ended_s, self.opened_s = array("d"), array("d"), array("d")
        self.wrong: list[str] = []
        self.arrived: Counter[str] = Counter()
        self.answers = 0
        self._codes: dict[str, int] = {}

    def send(self, kind: str, opened_s: float) -> int:
        """Enters a message; its number."""
        self.states.append(UNSENT)
        self.kinds.append(KINDS.index(kind))
        self.sent_s.append(time.time())
        self.ended_s.append(0.0)
        self.opened_s.append(opened_s)
        return len(self.states) - 1

    def end(self, number: int, state: int) -> None:
        """Enters that there is no answer."""
        self.states[number] = state
        self.ended_s[number] = time.time()

    def answer(self, number: int, code: str) -> None:
        """Enters an answer."""
        self.answers += 1
        self.end(number, FIRST_CODE + self._codes.setdefault(code, len(self._codes)))

    def code(self, number: int) -> str | None:
        """The code of a message's answer, if it had one."""
        state = self.states[number] - FIRST_CODE
        return None if state < 0 else list(self._codes)[state]

    def codes(self) -> Counter[str]:
        """How often each code was answered."""
        states = Counter(self.states)
        return Counter({code: states[FIRST_CODE + at] for code, at in self._codes.items()})

    def count(self, state: int) -> int:
        """How many messages are in a state."""
        return self.states.count(state)


def reply(books: Books) -> Any:
    """The server: what it makes of each head and body."""
    numbers = itertools.count()

    def answered(head: bytes, body: bytes) -> Iterable[bytes]:
        if head.startswith(b"DELETE"):
            yield b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
            return
        message = json.loads(body)
        method, id = message["method"], message["id"]
        name = message["params"].get("name", method)
        books.arrived[name] += 1
        result: dict[str, Any] = {"resultType": "complete", "content": []}
        more = b""
        if method == "tools/list":
            tools = [{"name": tool, "inputSchema": {}} for tool in ("free", "secret_one", "keyed")]
            result = {"resultType": "complete", "tools": tools}
        elif method == "initialize":
            more = b"mcp-session-id: session-%d\r\n" % next(numbers)
            version = message["params"]["protocolVersion"]
            about = {"name": "soaked", "version": "1"}
            result = {"protocolVersion": version, "capabilities": {}, "serverInfo": about}
        answer = json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()
        if name != "stream":
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n"
            yield head % (more, len(answer)) + b"\r\n" + answer
            return
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        yield head + b"transfer-encoding: chunked\r\n\r\n"
        told = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * 200}}
        for document in [json.dumps(told).encode()] * ITEMS + [answer]:
            event = b"event: message\r\ndata: " + document + b"\r\n\r\n"
            yield b"%x\r\n%b\r\n" % (len(event), event)
        yield b"0\r\n\r\n"

    return answered


class Crowd:
    """Clients that call at a rate, and connections on which nothing is ever asked.

    Args:
        url: the sidecar's.
        rate: messages a second, all clients together.
    """

    def __init__(self, url: str, books: Books, *, clients: int, idle: int, rate: float) -> None:
        self._where = urlsplit(url)
        self._books = books
        self._rng = random.Random(1)
        self._pause_s = 1 / rate
        self._due = 0.0
        self._over = asyncio.Event()
        tasks = [self._caller() for _ in range(clients)] + [self._idler() for _ in range(idle)]
        self._tasks = [asyncio.create_task(task) for task in tasks]

    async def leave(self) -> None:
        """Ends all connections, once what is under way was answered."""
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def _pace(self) -> None:
        """Until the next message is due, or all is over."""
        now = asyncio.get_running_loop().time()
        self._due = max(self._due + self._pause_s, now)
        if self._due > now:
            await self._wait(self._due - now)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await asyncio.open_connection(self._where.hostname, self._where.port)
        except OSError:
            await self._wait(0.05)  # its listener is gone, and another not there yet
            return None

    async def _idler(self) -> None:
        over = asyncio.create_task(self._over.wait())
        while not self._over.is_set():
            if (streams := await self._connect()) is None:
                continue
            with contextlib.closing(streams[1]), contextlib.suppress(ConnectionError):
                reading = asyncio.create_task(streams[0].read())
                await asyncio.wait({over, reading}, return_when=asyncio.FIRST_COMPLETED)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _caller(self) -> None:
        while not self._over.is_set():
            opened_s = time.time()
            if (streams := await self._connect()) is None:
                continue
            with contextlib.closing(streams[1]):
                talk = _Talk(*streams, self._where.netloc, self._books, opened_s)
                while not self._over.is_set():
                    await self._pace()
                    (kind,) = self._rng.choices(KINDS, list(WEIGHTS.values()))
                    if not await talk.about(kind, self._rng):
                        break


class _Talk:
    """One connection's messages, one after the other."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: str,
        books: Books,
        opened_s: float,
    ) -> None:
        self._reader, self._writer, self._host = reader, writer, host
        self._books, self._opened_s = books, opened_s

    async def about(self, kind: str, rng: random.Random) -> bool:
        """Says something of a kind; whether the connection is still good."""
        if kind == "session":
            return await self._session()
        number = self._books.send(kind, self._opened_s)
        if kind == "unknown":
            message = call_of(f"unknown-{rng.randrange(NAMES)}", number)
        elif kind == "keyed":
            message = call_of("keyed", number, key=f"key-{rng.randrange(KEYS)}")
        elif kind == "list":
            message = {"jsonrpc": "2.0", "id": number, "method": "tools/list"}
            message["params"] = {"_meta": META}
        else:
            message = call_of("free" if kind == "leave" else kind, number)
        if kind == "leave":
            self._writer.write(post(self._host, message))
            self._books.end(number, LEFT)
            self._writer.transport.abort()
            return False
        return await self._ask(number, message) is not None

    async def _session(self) -> bool:
        params = {"protocolVersion": "2025-06-18", "capabilities": {}}
        params["clientInfo"] = {"name": "soak", "version": "1"}
        number = self._books.send("session", self._opened_s)
        opening = {"jsonrpc": "2.0", "id": number, "method": "initialize", "params": params}
        head = await self._ask(number, opening, session="")
        if head is None:
            return False
        name = b"mcp-session-id: "
        named = [line for line in head.split(b"\r\n") if line.lower().startswith(name)]
        if not named:
            return True  # the server was away
        session = named[0][len(name) :].decode()
        number = self._books.send("session", self._opened_s)
        call = {"jsonrpc": "2.0", "id": number, "method": "tools/call"}
        call["params"] = {"name": "free", "arguments": {}}
        if await self._ask(number, call, session=session) is None:
            return False
        head_of_end = f"DELETE /mcp HTTP/1.1\r\nhost: {self._host}\r\nmcp-session-id: {session}\r\n"
        self._writer.write(f"{head_of_end}mcp-protocol-version: 2025-06-18\r\n\r\n".encode())
        return await read_message(self._reader) is not None

    async def _ask(
        self, number: int, message: dict[str, Any], session: str | None = None
    ) -> bytes | None:
        """The head of the answer; None if there is none."""
        self._writer.write(post(self._host, message, session=session))
        found = await read_message(self._reader)
        if found is None:
            self._books.end(number, LOST)
            return None
        head, body = found
        self._books.answer(number, code_of(body))
        if b'"id":%d,' % number not in body.replace(b" ", b""):
            self._books.wrong.append(f"message {number} was answered: {body[:200]!r}")
        if b"secret" in body:
            self._books.wrong.append(f"message {number} was shown a hidden tool")
        return head
