"""What the fast path takes, h11 reads alike and the admission admits; what it sends, ASGI would.

The core may leave any request to others; what it serves must be what they would have served.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h11
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from gateway._core import (
    Caller,
    Engine,
    Exchange,
    Foreign,
    Gate,
    HandedOver,
    Intake,
    LimitTable,
    PolicySet,
)
from gateway.connection import MAX_HEAD_BYTES
from gateway.denial import Refused
from gateway.downstream.admission import Admission
from gateway.downstream.headers import for_upstream
from gateway.mcp import PROTOCOL_VERSION, SESSION_ID, is_modern, revision_name
from gateway.settings import Address, ServerSettings, Settings

if TYPE_CHECKING:
    from gateway.asgi import Headers

OWN = [(b"host", b"server:9"), (b"accept-encoding", b"identity"), (b"mcp-own", b"1")]
OWN_HEAD = b"POST /rpc HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % field for field in OWN)
MAX_BODY = 1000
SETTINGS = Settings(
    servers=(ServerSettings(name="s", url="http://server:9/rpc", policy=Path("p.json")),),
    listen=Address("127.0.0.1", 8080),
    max_body_bytes=MAX_BODY,
)
POLICY = b'{"version":"1","default":"deny","tools":{"look":{}}}'


def call(tool: str, meta: str = "{}") -> bytes:
    params = f'{{"name":"{tool}","arguments":{{}},"_meta":{meta}}}'
    return f'{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}'.encode()


MODERN = json.dumps(
    {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
)
BODIES = [
    *[call("look")] * 4,
    call("steal"),
    call("look", MODERN),
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}',
    b"",
    b"[]",
]
FIRST_LINES = [
    *[b"POST /mcp HTTP/1.1"] * 20,
    b"GET /mcp HTTP/1.1",
    b"POST /mcp?q HTTP/1.1",
    b"POST /mcp HTTP/1.0",
    b"POST http://a/mcp HTTP/1.1",
    b"HEAD /mcp HTTP/1.1",
    b"POST  /mcp HTTP/1.1",
]
HOSTS = [*[b"Host: 127.0.0.1:8080"] * 12, b"host:localhost:8080", b"Host: evil", b"X: y"]
TYPES = [*[b"Content-Type: application/json"] * 6, b"content-type: application/json; charset=utf-8"]
LINES = [
    b"Accept: application/json, text/event-stream",
    b"accept: */*",
    b"Accept: application/json;q=0",
    b"User-Agent: a/1 (b)",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Mcp-Session-Id: mine",
    b"mcp-session-id: theirs",
    b"MCP-Protocol-Version: 2025-06-18",
    b"MCP-Protocol-Version: 2026-07-28",
    b"Mcp-Method: tools/call",
    b"Mcp-Name: look",
    b"Mcp-Own: 2",
    b"Mcp-Param-X:\t1 \t",
    b"Cookie: a=b",
    b"Authorization: Bearer x",
    b"X-Mcp-A: 1",
    b"traceparent: 00-1-2-3",
]
ODD_LINES = [
    b"Connection: mcp-name",
    b"Origin: http://127.0.0.1:8080",
    b"Content-Encoding: gzip",
    b"Last-Event-ID: 1",
    b"Expect: 100-continue",
    b"Upgrade: h2c",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
]
EDITS = (b"", b"\r\n ", *(bytes([byte]) for byte in b"\r\n \t\0\x0b\x7f\x80:,0"))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request, mostly plain, with up to two edits anywhere."""
    body = draw(st.sampled_from(BODIES))
    framing = b"Content-Length: %d" % len(body)
    if draw(st.integers(0, 3)) == 0:
        framing = b"Transfer-Encoding: chunked"
        cut = draw(st.integers(0, len(body)))
        pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    needed = [draw(st.sampled_from(HOSTS)), draw(st.sampled_from(TYPES)), framing]
    more = draw(st.lists(st.sampled_from(LINES), max_size=5))
    more += draw(st.sampled_from([*[()] * 9, *[(line,) for line in ODD_LINES]]))
    lines = [draw(st.sampled_from(FIRST_LINES)), *draw(st.permutations([*needed, *more]))]
    request = b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(request) - 1))
        end = at + draw(st.integers(0, 1))
        request = request[:at] + draw(st.sampled_from(EDITS)) + request[end:]
    return request


class Asgi:
    """How hypercorn's parser and the door's checks take a request.

    Raises:
        h11.RemoteProtocolError: it is no HTTP/1.1.
        EOFError: it is incomplete.
    """

    def __init__(self, request: bytes) -> None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        parser.receive_data(request)
        head = self._next(parser)
        assert isinstance(head, h11.Request)
        self.method, self.target = head.method, head.target
        self.headers: Headers = [(name, value) for name, value in head.headers]
        self.body = b""
        while isinstance(data := self._next(parser), h11.Data):
            self.body += bytes(data.data)
        assert isinstance(data, h11.EndOfMessage)
        self.rest = parser.trailing_data[0]
        self.http_version = head.http_version.decode()

    @staticmethod
    def _next(parser: h11.Connection) -> object:
        found = parser.next_event()
        if found is h11.NEED_DATA:
            raise EOFError
        return found

    def admitted(self) -> dict[bytes, bytes]:
        """Header fields of a message that passes the admission.

        Raises:
            Refused: it does not.
        """
        admission = Admission(SETTINGS)
        scope: dict[str, Any] = {
            "http_version": self.http_version,
            "scheme": "http",
            "headers": self.headers,
            "server": ("127.0.0.1", 8080),
        }
        fields = admission.admit(scope)
        admission.admit_message(fields)
        assert self.method == b"POST"
        assert self.target == b"/mcp"
        assert len(self.body) <= MAX_BODY
        return fields


def engine() -> Engine:
    table = LimitTable(64)
    assert table.bind("session", "s", "mine", "default", 20250618)
    assert table.bind("session", "s", "theirs", "another", 20250618)
    return Engine(PolicySet.parse(POLICY, name="p.json"), table)


def written(answer: tuple[int, Headers, bytes]) -> bytes:
    """An answer as the door and h11 write it."""
    status, headers, body = answer
    fields = [*headers, (b"content-length", b"%d" % len(body))]
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"HTTP/1.1 %d \r\n%b\r\n%b" % (status, lines, body)


def sent(headers: Headers, session: str | None, body: bytes) -> bytes:
    """A request as an upstream writes it."""
    own = dict(OWN)
    passing = for_upstream(headers, session=session, resumes=False)
    fields = [pair for pair in passing if pair[0] not in own]
    fields.append((b"content-length", b"%d" % len(body)))
    return OWN_HEAD + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n" + body


@given(requests(), st.lists(st.integers(0, 900), max_size=3))
@example(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", [])
def test_what_the_core_serves_is_what_asgi_would(request: bytes, cuts: list[int]) -> None:
    deciding = engine()
    route = (b"/mcp", deciding, "default", "s", OWN_HEAD, [name for name, _ in OWN], 0, True)
    gate = Gate(hosts=[b"127.0.0.1:8080"], routes=[route], max_body_bytes=MAX_BODY)
    intake = Intake(gate)
    result, seen = None, b""
    for end in [*sorted(min(cut, len(request)) for cut in cuts), len(request)]:
        if result is None:
            result = intake.receive(request[len(seen) : end])
            seen = request[:end]
    if isinstance(result, tuple):  # something lies behind the message
        (result,) = result
    event(type(result).__name__)
    if isinstance(result, Foreign):
        assert result.raw == seen
        return
    if result is None:
        assert intake.pending is (request != b"")
        return
    asgi = Asgi(request)
    if isinstance(result, HandedOver):
        taken = (result.method, result.target, result.body)
        assert taken == (asgi.method, asgi.target, asgi.body)
        assert [(name, value.lower()) for name, value in result.headers] == [
            (name, value.lower()) for name, value in asgi.headers
        ]
        if result.decision is None:
            return
    fields = asgi.admitted()
    session = None if is_modern(fields.get(PROTOCOL_VERSION)) else fields.get(SESSION_ID)
    assert session in (None, b"mine")
    name = session.decode() if session is not None else None
    revision = revision_name(20250618) if name is not None else None
    caller = Caller("default", server="s", session=name, revision=revision)
    decision = deciding.decide(caller, asgi.body, asgi.headers)
    if isinstance(result, bytes):
        assert result == written(decision.answer())
    elif isinstance(result, Exchange):
        assert decision.allowed
        assert result.request == sent(asgi.headers, name, asgi.body)
        assert (result.caller, result.session) == (caller, name)
    else:
        assert isinstance(result, HandedOver)
        assert decision.allowed
        assert result.caller == caller


def test_all_outcomes_are_met() -> None:
    """The strategy's plain parts reach each outcome."""
    found = set()
    for body in BODIES:
        head = b"\r\n".join([FIRST_LINES[0], HOSTS[0], TYPES[0], b"Content-Length: %d" % len(body)])
        route = (b"/mcp", engine(), "default", "s", OWN_HEAD, [name for name, _ in OWN], 0, True)
        gate = Gate(hosts=[b"127.0.0.1:8080"], routes=[route], max_body_bytes=MAX_BODY)
        found.add(type(Intake(gate).receive(head + b"\r\n\r\n" + body)))
    assert found == {bytes, Exchange, HandedOver}


def test_a_refusal_is_not_asked_of_the_core() -> None:
    """The admission's words are the application's: the core hands such a request over."""
    body = call("look")
    head = b"POST /mcp HTTP/1.1\r\nHost: evil\r\nContent-Type: application/json\r\n"
    request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    route = (b"/mcp", engine(), "default", "s", OWN_HEAD, [name for name, _ in OWN], 0, True)
    gate = Gate(hosts=[b"127.0.0.1:8080"], routes=[route], max_body_bytes=MAX_BODY)
    result = Intake(gate).receive(request)
    assert isinstance(result, HandedOver)
    assert result.decision is None
    with pytest.raises(Refused) as refusal:
        Asgi(request).admitted()
    assert refusal.value.answer[0] == 403
