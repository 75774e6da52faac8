"""What servers answer: by name, a request and the steps of the server's answer to it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

from differential.said import call, message, modern, post, routed
from support.broken import BROKEN
from support.shapes import LIST, SHAPES

Steps = Sequence["bytes | str"]
Reply = tuple[bytes, Steps]

CALL = post(call("t"))
LISTING = post(message("tools/list"))
NOTED = post(message("notifications/initialized", id=None))
STATELESS = post(modern("tools/call", {"name": "t"}), *routed("tools/call", b"Mcp-Name: t"))
CAPPED = post(call("paid", amount=1))
RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
ERROR = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}'
NOTICE = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}'
ASKS = b'{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}'
TOLD = b'{"jsonrpc":"2.0","method":"notifications/x","params":{"tools":[{"name":"secret"}]}}'
JSON, EVENTS = b"application/json", b"text/event-stream"
LONG = 70_000


def head(kind: bytes | None, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [
        b"HTTP/1.1 " + status,
        *([b"content-type: " + kind] if kind else []),
        *fields,
        b"",
        b"",
    ]
    return b"\r\n".join(lines)


def counted(
    body: bytes, *fields: bytes, kind: bytes | None = JSON, status: bytes = b"200 OK"
) -> bytes:
    """A whole answer with its length."""
    return head(kind, *fields, b"content-length: %d" % len(body), status=status) + body


def coded(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def chunked(*pieces: bytes, kind: bytes = JSON, fields: Sequence[bytes] = ()) -> bytes:
    """A whole answer in chunks."""
    return head(kind, *fields, b"transfer-encoding: chunked") + coded(*pieces)


def event(data: bytes, end: bytes = b"\n") -> bytes:
    return b"data: " + data + end + end


def streamed(*events: bytes) -> bytes:
    """A whole event stream."""
    return chunked(b"".join(events), kind=EVENTS)


def each_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def result(text: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"text": text}}).encode()


def _documents() -> dict[str, bytes]:
    """JSON documents in answer to a call with the id 1."""
    ids: dict[str, bytes] = {
        "another id": b"2",
        "a string": b'"1"',
        "a null": b"null",
        "true": b"true",
        "a fraction": b"1.0",
        "an exponent": b"1e0",
        "an object": b"{}",
        "two": b'1,"id":2',
        "twice the same": b'1,"id":1',
    }
    found = {f"id {name}": RESULT.replace(b'"id":1', b'"id":' + v) for name, v in ids.items()}
    found |= {f"error, id {n}": ERROR.replace(b'"id":1', b'"id":' + v) for n, v in ids.items()}
    return found | {
        "a result": RESULT,
        "an error": ERROR,
        "no id": RESULT.replace(b'"id":1,', b""),
        "an error without an id": ERROR.replace(b'"id":1,', b""),
        "an array": b"[" + RESULT + b"]",
        "an empty array": b"[]",
        "a string": b'"x"',
        "nothing": b"",
        "blanks": b"  \r\n",
        "blanks around": b" \n" + RESULT + b"\n ",
        "no JSON": b"{",
        "two documents": RESULT + RESULT,
        "a mark": b"\xef\xbb\xbf" + RESULT,
        "UTF-16": RESULT.decode().encode("utf-16"),
        "no UTF-8": RESULT.replace(b"[]", b'["\xff"]'),
        "a lone surrogate": RESULT.replace(b"[]", b'["\\ud83d"]'),
        "a number beyond range": RESULT.replace(b"[]", b"[1e999]"),
        "NaN": RESULT.replace(b"[]", b"[NaN]"),
        "a key twice": RESULT.replace(b"[]", b'[],"content":[1]'),
        "an escaped id": RESULT.replace(b'"id"', b'"\\u0069d"'),
        "deep": RESULT.replace(b"[]", b"[" * 600 + b"]" * 600),
        "very deep": RESULT.replace(b"[]", b"[" * 100_000),
        "a request": ASKS,
        "a request with the id": ASKS.replace(b"7", b"1"),
        "a notification": NOTICE,
        "a result that asks": RESULT.replace(b'"id"', b'"method":"x","id"'),
        "a list": LIST.encode(),
        "a long one": result("x" * LONG),
        "a long one to another": result("x" * LONG).replace(b'"id": 1', b'"id": 2'),
        "one at the bound": result("")[:-3] + b"x" * (65536 - len(result(""))) + result("")[-3:],
        "one over the bound": result("")[:-3] + b"x" * (65537 - len(result(""))) + result("")[-3:],
        "a task": b'{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t"}}}',
    }


def _heads() -> dict[str, bytes]:
    """Answers whose heads differ."""
    found: dict[str, bytes] = {}
    fields = {
        "a session": b"mcp-session-id: s",
        "an impossible session": b"mcp-session-id: \xff",
        "an empty session": b"mcp-session-id:",
        "a cookie": b"set-cookie: a=b",
        "fields that pass": b"etag: x\r\ncache-control: no-cache\r\nRetry-After: 1\r\nAllow: POST",
        "a version": b"MCP-Protocol-Version: 2025-11-25",
        "rate limits of its own": b'RateLimit: "x";r=1',
        "close": b"connection: close",
        "close in a list": b"Connection: keep-alive, Close",
        "keep-alive": b"connection: keep-alive\r\nkeep-alive: timeout=5",
        "an upgrade": b"connection: upgrade\r\nupgrade: x",
        "identity": b"content-encoding: identity",
        "no coding": b"content-encoding:",
        "an unknown coding": b"content-encoding: br",
        "a folded field": b"x: a\r\n b",
        "a field without a colon": b"x",
        "a blank before the colon": b"x : y",
        "a value above ASCII": b"x: \xff",
        "a NUL": b"x: \0",
        "a bare CR": b"x: a\rb",
        "the length twice": b"content-length: %d" % len(RESULT),
        "another length": b"content-length: 3",
        "a trailer": b"trailer: x",
        "many fields": b"\r\n".join(b"x-%d: y" % n for n in range(80)),
        "a long field": b"x: " + b"y" * 60_000,
        "a field too long": b"x: " + b"y" * 70_000,
        "an empty field": b"etag:",
        "blanks": b"etag: \t x \t ",
    }
    for name, field in fields.items():
        found[f"head with {name}"] = counted(RESULT, field)
    kinds = {
        "a charset": b"application/json; charset=utf-8",
        "a charset in quotes": b'application/json;charset="UTF-8"',
        "another charset": b"application/json; charset=utf-16",
        "a parameter": b"application/json; v=1",
        "two charsets": b"application/json; charset=utf-8; charset=utf-8",
        "capitals": b"Application/JSON",
        "none": b"",
        "html": b"text/html",
        "a suffix": b"application/problem+json",
        "events for JSON": EVENTS,
    }
    for name, kind in kinds.items():
        found[f"type {name}"] = counted(RESULT, kind=kind)
    found["no type"] = counted(RESULT, kind=None)
    found["two types"] = counted(RESULT, b"content-type: text/event-stream")
    for status in (b"200 ", b"200", b"201 Made", b"202 Taken", b"203 x", b"204 None", b"205 x"):
        found[f"status {status.decode()}"] = counted(RESULT, status=status)
    for status in (b"301 x", b"304 x", b"307 x", b"400 x", b"401 x", b"403 x", b"404 x", b"405 x"):
        found[f"status {status.decode()}"] = counted(ERROR, status=status)
    for status in (b"409 x", b"429 x", b"500 x", b"502 x", b"503 x", b"599 x", b"600 x", b"99 x"):
        found[f"status {status.decode()}"] = counted(ERROR, status=status)
    found["status 204 without a body"] = head(None, status=b"204 x")
    found["status 404 without a body"] = counted(b"", kind=None, status=b"404 x")
    found["HTTP/1.0"] = counted(RESULT).replace(b"1.1", b"1.0", 1)
    found["HTTP/2"] = counted(RESULT).replace(b"1.1", b"2.0", 1)
    found["HTTP/1.1 in small letters"] = counted(RESULT).replace(b"HTTP", b"http", 1)
    found["lines that end in LF"] = counted(RESULT).replace(b"\r\n", b"\n")
    found["an empty line before"] = b"\r\n" + counted(RESULT)
    for count in (1, 8, 9):
        before = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * count
        found[f"after {count} hints"] = before + counted(RESULT)
    found["after a continuation"] = b"HTTP/1.1 100 Go on\r\n\r\n" + counted(RESULT)
    found["after another protocol"] = b"HTTP/1.1 101 x\r\nupgrade: y\r\n\r\n" + counted(RESULT)
    return found


def _bodies() -> dict[str, bytes]:
    """Framing."""
    small = zlib.compressobj(wbits=31)
    packed = small.compress(RESULT) + small.flush()
    return {
        "chunks": chunked(RESULT[:9], RESULT[9:]),
        "a chunk": chunked(RESULT),
        "chunks of one byte": chunked(*each_byte(RESULT)),
        "no chunk": chunked(),
        "extensions": chunked(RESULT).replace(b"0\r\n\r\n", b"0;x=y\r\n\r\n"),
        "trailers": chunked(RESULT)[:-2] + b"set-cookie: x\r\n\r\n",
        "sizes with zeros": chunked(RESULT).replace(b"%x\r" % len(RESULT), b"00%X\r" % len(RESULT)),
        "chunked in capitals": chunked(RESULT).replace(b"chunked", b"Chunked"),
        "chunked twice": chunked(RESULT, fields=[b"transfer-encoding: chunked"]),
        "gzip, chunked": chunked(RESULT).replace(b": chunked", b": gzip, chunked"),
        "identity for transfer": counted(RESULT, b"transfer-encoding: identity"),
        "gzip": counted(packed, b"content-encoding: gzip"),
        "gzip in capitals": counted(packed, b"Content-Encoding: GZIP"),
        "a long document in chunks": chunked(
            result("x" * LONG)[:50_000], result("x" * LONG)[50_000:]
        ),
        "bytes behind": counted(RESULT) + b"x",
        "an answer behind": counted(RESULT) + counted(RESULT),
        "bytes behind the chunks": chunked(RESULT) + b"x",
        "bytes behind the events": streamed(event(RESULT)) + b"x",
        "a length with a sign": counted(RESULT).replace(b"length: ", b"length: +"),
        "a length with zeros": counted(RESULT).replace(b"length: ", b"length: 00"),
        "a length in a list": counted(RESULT, b"x: y").replace(
            b"content-length: %d" % len(RESULT), b"content-length: %d, %d" % ((len(RESULT),) * 2)
        ),
        "a length too long": counted(RESULT).replace(b"length: ", b"length: 9999999999999999999"),
    }


def _streams() -> dict[str, bytes]:
    """Event streams."""
    lines = {
        "LF": event(RESULT),
        "CRLF": event(RESULT, b"\r\n"),
        "CR": event(RESULT, b"\r"),
        "a comment": b": hello\n\n" + event(RESULT),
        "a comment in it": b": hello\n" + event(RESULT),
        "all fields": b"id: 1\nevent: message\nretry: 5\n" + event(RESULT),
        "an id first": b"id: 1\ndata:\n\n" + event(RESULT),
        "no blank": event(RESULT).replace(b": {", b":{"),
        "two lines of data": b"data: " + RESULT.replace(b",", b",\ndata: ", 1) + b"\n\n",
        "a mark": b"\xef\xbb\xbf" + event(RESULT),
        "another name": b"event: other\n" + event(RESULT),
        "no end": event(RESULT)[:-1],
        "no data": b"\n\n\n",
        "nothing": b"",
        "an unknown field": b"x: y\n" + event(RESULT),
        "a field without a colon": b"data\n\n" + event(RESULT),
        "data that is no JSON": event(b"hello") + event(RESULT),
    }
    found = {f"stream with {name}": streamed(data) for name, data in lines.items()}
    many = [event(NOTICE)] * 40
    found |= {
        "a stream": streamed(event(NOTICE), event(NOTICE), event(RESULT)),
        "a stream of one answer": streamed(event(RESULT)),
        "a stream with an error": streamed(event(ERROR)),
        "a stream with another's answer": streamed(event(RESULT.replace(b":1,", b":2,"))),
        "a stream with two answers": streamed(event(RESULT), event(RESULT)),
        "a stream that goes on": streamed(event(RESULT), event(NOTICE)),
        "a stream that asks": streamed(event(ASKS), event(RESULT)),
        "a stream of an array": streamed(event(b"[" + ASKS + b"," + RESULT + b"]")),
        "a stream without an answer": streamed(event(NOTICE)),
        "a stream with hidden tools": streamed(event(TOLD), event(LIST.encode())),
        "a stream with a lone surrogate": streamed(event(RESULT.replace(b"[]", b'["\\ud800"]'))),
        "a stream of many": streamed(*many, event(RESULT)),
        "a stream in many chunks": chunked(*many, event(RESULT), kind=EVENTS),
        "a long event": streamed(event(result("x" * 300_000))),
        "a stream with a length": counted(event(RESULT), kind=EVENTS),
        "a stream with a charset": chunked(event(RESULT), kind=EVENTS + b"; charset=utf-8"),
        "a stream in another charset": chunked(event(RESULT), kind=EVENTS + b"; charset=utf-16"),
        "a stream with a session": chunked(
            event(RESULT), kind=EVENTS, fields=[b"mcp-session-id: s", b"cache-control: no-cache"]
        ),
        "a stream with no buffering": chunked(
            event(RESULT), kind=EVENTS, fields=[b"x-accel-buffering: no"]
        ),
        "a compressed stream": counted(zlib.compress(event(RESULT)), b"content-encoding: deflate"),
    }
    return found


WHOLE: dict[str, bytes] = {
    **{f"document: {name}": counted(body) for name, body in _documents().items()},
    **_heads(),
    **_bodies(),
    **_streams(),
}
"""Answers that come at once."""

STREAM = chunked(b": hi\n\n", event(NOTICE), event(TOLD), event(LIST.encode()), kind=EVENTS)
CUT: dict[str, bytes] = {
    "a result": counted(RESULT),
    "a result in chunks": chunked(RESULT[:9], RESULT[9:]),
    "a stream": STREAM,
    "a stream with CRLF": chunked(
        event(NOTICE, b"\r\n"), event(LIST.encode(), b"\r\n"), kind=EVENTS
    ),
    "a list": counted(LIST.encode()),
    "hints": b"HTTP/1.1 103 x\r\n\r\n" + counted(RESULT),
    "an odd one": counted(ERROR, status=b"404 x"),
}
"""Answers that are tried with every end."""


def _others() -> dict[str, Reply]:
    """To other requests, or step by step."""
    session = b"mcp-session-id: s"
    found: dict[str, Reply] = {
        f"byte by byte, {name}": (LISTING, each_byte(data)) for name, data in CUT.items()
    }
    for name, request in {"a notification": NOTED, "a stateless call": STATELESS}.items():
        for kind, data in {
            "a result": counted(RESULT),
            "202": counted(b"", kind=None, status=b"202 x"),
            "202 with a body": counted(RESULT, status=b"202 x"),
            "202 in chunks": head(None, b"transfer-encoding: chunked", status=b"202 x") + coded(),
            "202 with a session": counted(b"", session, kind=None, status=b"202 x"),
            "204": head(None, status=b"204 x"),
            "400": counted(ERROR, status=b"400 x"),
            "404": counted(ERROR, status=b"404 x"),
            "500": counted(ERROR, status=b"500 x"),
            "a session": counted(RESULT, session),
            "a stream": streamed(event(NOTICE), event(RESULT)),
            "a stream that asks": streamed(event(ASKS), event(RESULT)),
            "202 that closes": counted(b"", b"connection: close", kind=None, status=b"202 x"),
        }.items():
            found[f"{kind} to {name}"] = (request, [data])
    for name, data in BROKEN.items():
        found[f"broken: {name}"] = (CALL, [data, "close"])
        if name != "a bomb":
            found[f"broken, to a limited call: {name}"] = (CAPPED, [data, "close"])
    for name, text in SHAPES.items():
        found[f"shape: {name}"] = (LISTING, [counted(text.encode("utf-8", "surrogatepass"))])
        found[f"shape in events: {name}"] = (LISTING, [streamed(event(text.encode()))])
    return found


REPLIES: dict[str, Reply] = {
    **{name: (CALL, [data]) for name, data in WHOLE.items()},
    **{f"{name}, and then the end": (CALL, [data, "close"]) for name, data in WHOLE.items()},
    **_others(),
}
