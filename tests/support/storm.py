"""A storm: clients that leave when they like, a server that answers as it likes, from one seed.

Whatever happens, a call is sent to the server once at most, and none that the policy denies; an
answer reaches the client whose call it answers, and no other; no hidden tool is in it; and when all
is quiet nothing is in flight, and every call that the server saw is charged.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from support.raw_server import document, plainly, turns
from support.transcript import Transcript

if TYPE_CHECKING:
    from support.doors import Side
    from support.raw_server import Asked

NAME = b"door.test:80"
ANSWER_S = 20.0
"""Bound on an answer that must come; reached only by a failing seed."""
POLICY = {
    "version": "1",
    "default": "allow",
    "hide": ["secret*"],
    "tools": {
        "counted": {
            "limits": [
                {"counter": "counted", "window": "day", "max": 1_000_000},
                {"counter": "open", "algorithm": "concurrency", "max": 1000},
            ]
        },
        "denied": {"action": "deny"},
    },
}
TOOLS = ("counted", "counted", "counted", "other", "denied", "secret_two")
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
ASKS = b'data: {"jsonrpc":"2.0","id":"s1","method":"sampling/createMessage","params":{}}\n\n'

Pieces = list["bytes | str"]
Mischief = Callable[[random.Random, bytes], Pieces]


def chunked(*parts: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def event(body: bytes) -> bytes:
    return b"data: " + body + b"\n\n"


def broken(rng: random.Random, data: bytes, end: str) -> Pieces:
    return [data[: rng.randrange(len(data))], end]


SERVERS: tuple[Mischief, ...] = (
    lambda rng, body: [document(body)],
    lambda rng, body: [document(body)],
    lambda rng, body: [document(body)],
    lambda rng, body: [EVENTS + chunked(ASKS, event(body)[:9], event(body)[9:])],
    lambda rng, body: [EVENTS + b"\r\n" + event(body), "close"],
    lambda rng, body: [document(body) + document(b"{}")],
    lambda rng, body: [document(body, b"connection: close\r\n"), "close"],
    lambda rng, body: [document(body, b"content-encoding: identity\r\n")],
    lambda rng, body: [b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + document(body)],
    lambda rng, body: [b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n", body, "close"],
    lambda rng, body: [b"HTTP/1.1 500 Oh\r\ncontent-length: 3\r\n\r\nbad"],
    lambda rng, body: [b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"],
    lambda rng, body: [b"what\r\n\r\n"],
    lambda rng, body: [document(body.replace(b'"id": ', b'"id": 9'))],
    lambda rng, body: [document(body.replace(b'"x": "', b'"x": "' + b"y" * 100_000))],
    lambda rng, body: broken(rng, document(body), "close"),
    lambda rng, body: broken(rng, document(body), "reset"),
    lambda rng, body: broken(rng, EVENTS + chunked(ASKS, event(body)), "close"),
    lambda rng, body: ["reset"],
)


class Storm:
    """One seed's weather over one sidecar.

    Args:
        side: open, under `POLICY`.
    """

    def __init__(self, side: Side, seed: int) -> None:
        self.counted = 0
        """Calls of `counted` that the server saw."""
        self._side = side
        self._rng = random.Random(seed)
        self._sent = 0
        self._seen: set[int] = set()
        self._failures: list[object] = []
        side.server.script = self._answer

    async def blow(self, rounds: int) -> None:
        """Let clients come and go, and look whether all is well.

        Raises:
            AssertionError: it is not.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._failures.append(context))
        for _ in range(rounds):
            self._side.server.left.set()
            clients = [self._client() for _ in range(self._rng.randrange(1, 6))]
            async with asyncio.timeout(ANSWER_S):
                await asyncio.gather(*clients)
        await self._calm()
        assert not self._failures, self._failures[:2]

    async def _calm(self) -> None:
        """Nothing stays behind, and nothing was free."""
        door = cast("Any", self._side.gateway.data)
        port = self._side.port_of_wires
        async with asyncio.timeout(ANSWER_S):
            while door.load.in_flight or (port is not None and port.passages):
                await turns()
        (route,) = self._side.gateway.routes()
        used = {usage["counter"]: usage["used"] for usage in route.engine.usage(route.caller)}
        assert route.in_flight == 0
        assert used["open"] == 0
        assert cast("int", used["counted"]) >= self.counted

    def _answer(self, asked: Asked) -> Pieces:
        """What the server does."""
        try:
            message = json.loads(asked.body)
        except ValueError:
            return list(plainly(asked))
        if "id" not in message:
            return list(plainly(asked))
        id, tool = message["id"], message["params"]["name"]
        if id in self._seen or tool in ("denied", "secret_two"):
            self._failures.append(f"call {id} of `{tool}` was sent twice, or at all")
        self._seen.add(id)
        self.counted += tool == "counted"
        tools = [{"name": "secret_one"}, {"name": "shown"}]
        result = {"x": f"for {id}.", "content": [], "tools": tools}
        body = json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()
        pieces = self._rng.choice(SERVERS)(self._rng, body)
        return [part for piece in pieces for part in self._cut(piece)]

    def _cut(self, data: bytes | str) -> Pieces:
        """The same in pieces, at random."""
        if isinstance(data, str):
            return [data]
        ends = sorted(
            self._rng.randrange(len(data) + 1) for _ in range(self._rng.choice((0, 0, 1, 3)))
        )
        starts = [0, *ends]
        return [data[a:b] for a, b in zip(starts, [*ends, len(data)], strict=True) if a < b]

    async def _client(self) -> None:
        rng = self._rng
        reader, writer = await asyncio.open_connection("127.0.0.1", self._side.port)
        transcript, got, asked = Transcript(), bytearray(), list[int]()
        try:
            for _ in range(rng.randrange(1, 6)):
                requests = [self._request(asked) for _ in range(rng.choice((1, 1, 1, 2, 3, 6)))]
                for piece in self._cut(b"".join(requests)):
                    writer.write(cast("bytes", piece))
                    await turns(rng.randrange(3))
                leaving = rng.random()
                if leaving < 0.16:
                    (writer.transport.abort if leaving < 0.08 else writer.write_eof)()
                    await turns(rng.randrange(4))
                    break
                if leaving > 0.8:
                    continue  # and ask more, behind what is not answered yet
                while transcript.finals < len(asked):
                    piece = await reader.read(65536)
                    if not piece:
                        return
                    got += piece
                    transcript.take(got)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
            self._judge(transcript, asked)

    def _request(self, asked: list[int]) -> bytes:
        rng = self._rng
        self._sent += 1
        asked.append(self._sent)
        tool = rng.choice(TOOLS)
        call: dict[str, Any] = {"jsonrpc": "2.0", "id": self._sent, "method": "tools/call"}
        call["params"] = {"name": tool, "arguments": {}}
        fields = b""
        kind = rng.randrange(12)
        if kind < 5:
            call["params"]["_meta"] = META
            fields = (
                b"mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: %b\r\n"
            )
            fields %= tool.encode()
        elif kind == 5:
            call["params"]["task"] = {}
        elif kind == 6:
            del call["id"]
        elif kind == 7:
            fields = b"x-field: y\r\n"
        body = json.dumps(call).encode()
        if kind == 8:
            body += b","
        head = b"POST /mcp HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\n" % NAME
        if kind == 9:
            return head + chunked(body[:40], body[40:])
        return head + fields + b"content-length: %d\r\n\r\n%b" % (len(body), body)

    def _judge(self, transcript: Transcript, asked: list[int]) -> None:
        """Whether what a client read is its own."""
        finals = [answer for answer in transcript.answers() if answer.status >= 200]
        assert len(finals) <= len(asked), "an answer to nothing"
        for id, answer in zip(asked, finals, strict=False):
            assert b"secret_one" not in answer.body, "a hidden tool was shown"
            foreign = set(re.findall(rb"for (\d+)\.", answer.body)) - {b"%d" % id}
            assert not foreign, f"the answer to {foreign} reached the client of {id}"


async def storm(side: Side, seed: int, rounds: int) -> Storm:
    """One seed, from the opening of the sidecar to its end.

    Raises:
        AssertionError: something did not hold.
    """
    await side.open()
    try:
        weather = Storm(side, seed)
        with suppress(ConnectionError):
            await weather.blow(rounds)
        return weather
    finally:
        await side.close()
