"""Requests whose bytes some readers would cut in another way, and what must come of each.

The host stands as `HOST`.
"""

from __future__ import annotations

import json

from support.process import tools_call

GOOD = json.dumps(tools_call("t")).encode()
EVIL = json.dumps(tools_call("evil")).encode()
TYPE = b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


def post(
    *fields: bytes,
    body: bytes = GOOD,
    target: bytes = b"/mcp",
    version: bytes = b"HTTP/1.1",
    host: bytes = b"Host: HOST\r\n",
    method: bytes = b"POST",
    kind: bytes = TYPE,
) -> bytes:
    """A request with these framing fields."""
    line = b"%b %b %b\r\n" % (method, target, version)
    return line + host + kind + b"".join(fields) + b"\r\n" + body


def chunks(*bodies: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies) + end


SMUGGLED = post(length(EVIL), body=EVIL)
WHOLE = post(length(GOOD))
PRIOR = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
MODERN = json.dumps(
    {**tools_call("t"), "params": {"name": "t", "arguments": {}, "_meta": META}}
).encode()
ROUTED = b"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n"
NAMED = ROUTED + b"Mcp-Name: t\r\n"

REFUSED: dict[str, tuple[bytes, list[int]]] = {
    # Two lengths, or none that can be told.
    "length and chunks": (post(length(GOOD), CHUNKED, body=chunks(GOOD)), [400]),
    "length and chunks, a request inside": (
        post(length(b"0\r\n\r\n"), CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
        [400],
    ),
    "chunks and length": (post(CHUNKED, length(GOOD), body=chunks(GOOD)), [400]),
    "two lengths that differ": (post(length(GOOD), b"Content-Length: 0\r\n"), [400]),
    "lengths in a list that differ": (post(b"Content-Length: 5, 6\r\n"), [400]),
    "a length with a sign": (post(b"Content-Length: +%d\r\n" % len(GOOD)), [400]),
    "a negative length": (post(b"Content-Length: -1\r\n"), [400]),
    "a length in hex": (post(b"Content-Length: 0x10\r\n"), [400]),
    "a length with an underscore": (post(b"Content-Length: 1_0\r\n"), [400]),
    "a length of 30 digits": (post(b"Content-Length: %030d\r\n" % len(GOOD)), [400]),
    "an empty length": (post(b"Content-Length: \r\n"), [400]),
    "a length with a blank in it": (post(b"Content-Length: 1 2\r\n"), [400]),
    "chunked twice": (post(CHUNKED, CHUNKED, body=chunks(GOOD)), [501]),
    "gzip and chunked": (post(b"Transfer-Encoding: gzip, chunked\r\n", body=chunks(GOOD)), [501]),
    "chunked and gzip": (post(b"Transfer-Encoding: chunked, gzip\r\n", body=chunks(GOOD)), [501]),
    "chunked in a list": (post(b"Transfer-Encoding: chunked,\r\n", body=chunks(GOOD)), [501]),
    "identity": (post(b"Transfer-Encoding: identity\r\n", length(GOOD)), [501]),
    "xchunked": (post(b"Transfer-Encoding: xchunked\r\n", body=chunks(GOOD)), [501]),
    "chunked with a tab before": (post(b"Transfer-Encoding:\x0bchunked\r\n"), [400]),
    "chunked in quotes": (post(b'Transfer-Encoding: "chunked"\r\n', body=chunks(GOOD)), [501]),
    "chunked in HTTP/1.0": (post(CHUNKED, body=chunks(GOOD), version=b"HTTP/1.0"), [400]),
    # Heads that readers cut differently.
    "a blank before the colon": (post(b"Content-Length : %d\r\n" % len(GOOD)), [400]),
    "a field without a colon": (post(length(GOOD), b"X-Nothing\r\n"), [400]),
    "a field without a name": (post(length(GOOD), b": x\r\n"), [400]),
    "a bare CR in a value": (post(length(GOOD), b"X: a\rMcp-Name: evil\r\n"), [400]),
    "a NUL in a value": (post(length(GOOD), b"X: a\0b\r\n"), [400]),
    "a NUL in a name": (post(length(GOOD), b"X\0Y: a\r\n"), [400]),
    "a folded first field": (b"POST /mcp HTTP/1.1\r\n Host: HOST\r\n\r\n", [400]),
    "no host": (post(length(GOOD), host=b""), [400]),
    "two hosts": (post(length(GOOD), b"Host: HOST\r\n"), [400]),
    "an empty host": (post(length(GOOD), host=b"Host: \r\n"), [400]),
    "a foreign host": (post(length(GOOD), host=b"Host: evil.example\r\n"), [403]),
    "a host with a user": (post(length(GOOD), host=b"Host: a@HOST\r\n"), [403]),
    "a foreign origin": (post(length(GOOD), b"Origin: http://evil.example\r\n"), [403]),
    "the null origin": (post(length(GOOD), b"Origin: null\r\n"), [403]),
    "two origins": (post(length(GOOD), b"Origin: http://HOST\r\n" * 2), [400]),
    "blank lines before": (b"\r\n\r\n" + WHOLE, [400]),
    # Chunks.
    "a chunk size with a sign": (post(CHUNKED, body=b"+1\r\nx\r\n0\r\n\r\n"), [400]),
    "a chunk size with 0x": (post(CHUNKED, body=b"0x1\r\nx\r\n0\r\n\r\n"), [400]),
    "a chunk size of 21 digits": (post(CHUNKED, body=b"0" * 20 + b"1\r\nx\r\n0\r\n\r\n"), [400]),
    "a chunk size with a blank before": (post(CHUNKED, body=b" 1\r\nx\r\n0\r\n\r\n"), [400]),
    "a chunk longer than its size": (post(CHUNKED, body=b"1\r\nxy\r\n0\r\n\r\n"), [400]),
    "a chunk that ends in LF": (post(CHUNKED, body=b"1\r\nx\n0\r\n\r\n"), [400]),
    "a chunk that ends in CR": (post(CHUNKED, body=b"1\r\nx\r0\r\n\r\n"), [400]),
    "a chunk line that ends in LF": (post(CHUNKED, body=b"1\nx\r\n0\r\n\r\n"), [400]),
    "LF in a chunk's extension": (post(CHUNKED, body=b"1;a\nb\r\nx\r\n0\r\n\r\n"), [400]),
    # Other protocols, versions and methods.
    "HTTP/2 without asking": (PRIOR + SMUGGLED, [400]),
    "HTTP/1.7": (post(length(GOOD), version=b"HTTP/1.7"), [400]),
    "HTTP/3.1": (post(length(GOOD), version=b"HTTP/3.1"), [400]),
    "HTTP/0.9": (b"GET /mcp\r\n\r\n", [400]),
    "lower-case protocol": (post(length(GOOD), version=b"http/1.1"), [400]),
    "WebSocket": (
        post(
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            body=SMUGGLED,
            method=b"GET",
        ),
        [400],
    ),
    "PUT": (post(length(GOOD), method=b"PUT"), [405]),
    "OPTIONS": (post(length(GOOD), method=b"OPTIONS"), [405]),
    "HEAD": (post(method=b"HEAD", body=b"", kind=b""), [405]),
    "CONNECT": (post(method=b"CONNECT", target=b"HOST", body=b"", kind=b""), [404]),
    "TRACE": (post(method=b"TRACE", body=b"", kind=b""), [405]),
    "GET with a body": (post(length(EVIL), body=EVIL, method=b"GET"), [400]),
    "GET with chunks": (post(CHUNKED, body=chunks(EVIL), method=b"GET"), [400]),
    "DELETE with a body": (post(length(EVIL), body=EVIL, method=b"DELETE"), [400]),
    # Targets.
    "another path": (post(length(GOOD), target=b"/"), [404]),
    "an encoded path": (post(length(GOOD), target=b"/%6dcp"), [404]),
    "a path with dots": (post(length(GOOD), target=b"/x/../mcp"), [404]),
    "a path with encoded dots": (post(length(GOOD), target=b"/%2e%2e/mcp"), [404]),
    "two slashes": (post(length(GOOD), target=b"//mcp"), [404]),
    "an absolute target": (post(length(GOOD), target=b"http://HOST/mcp"), [404]),
    "a foreign absolute target": (post(length(GOOD), target=b"http://evil.example/mcp"), [404]),
    "a fragment": (post(length(GOOD), target=b"/mcp#x"), [404]),
    "a parameter": (post(length(GOOD), target=b"/mcp;x"), [404]),
    "an asterisk": (post(length(GOOD), target=b"*"), [404]),
    "another server": (post(length(GOOD), target=b"/mcp/other"), [404]),
    # Bodies that are not JSON in UTF-8, plain.
    "gzip": (post(length(GOOD), b"Content-Encoding: gzip\r\n"), [415]),
    "identity coding": (post(length(GOOD), b"Content-Encoding: identity\r\n"), [415]),
    "an empty coding": (post(length(GOOD), b"Content-Encoding:\r\n"), [415]),
    "text": (post(length(GOOD), kind=b"Content-Type: text/plain\r\n"), [415]),
    "no type": (post(length(GOOD), kind=b""), [415]),
    "a form": (post(length(GOOD), kind=b"Content-Type: multipart/form-data\r\n"), [415]),
    "UTF-16": (
        post(length(GOOD), kind=b"Content-Type: application/json; charset=utf-16\r\n"),
        [415],
    ),
    "two types": (post(length(GOOD), TYPE), [400]),
    "types in a list": (
        post(length(GOOD), kind=b"Content-Type: text/plain, application/json\r\n"),
        [415],
    ),
    "a type with a boundary": (
        post(length(GOOD), kind=b"Content-Type: application/json; boundary=x\r\n"),
        [415],
    ),
    # Heads that disagree with the body.
    "another method in the head": (post(length(GOOD), b"Mcp-Method: tools/list\r\n"), [400]),
    "another tool in the head": (post(length(GOOD), b"Mcp-Name: evil\r\n"), [400]),
    "another tool in base64": (post(length(GOOD), b"Mcp-Name: =?base64?ZXZpbA==?=\r\n"), [400]),
    "a tool in broken base64": (post(length(GOOD), b"Mcp-Name: =?base64?dA?=\r\n"), [400]),
    "a tool twice": (post(length(GOOD), b"Mcp-Name: t\r\nMcp-Name: t\r\n"), [400]),
    "an unknown field of the protocol twice": (
        post(length(GOOD), b"Mcp-Param-A: 1\r\n" * 2),
        [400],
    ),
    "a folded tool": (post(length(GOOD), b"Mcp-Name: t\r\n evil\r\n"), [400]),
    "a field of the protocol for this hop": (
        post(length(GOOD), b"Mcp-Name: t\r\nConnection: mcp-name\r\n"),
        [400],
    ),
    "a stateless head": (post(length(GOOD), NAMED), [400]),
    "a stateless body": (post(length(MODERN), body=MODERN), [400]),
    "a stateless body, an older head": (
        post(length(MODERN), NAMED.replace(b"2026-07-28", b"2025-11-25"), body=MODERN),
        [400],
    ),
    "a stateless body without its name": (post(length(MODERN), ROUTED, body=MODERN), [400]),
    "a session that is not": (post(length(GOOD), b"Mcp-Session-Id: x\r\n"), [404]),
    "an empty session": (post(length(GOOD), b"Mcp-Session-Id:\r\n"), [404]),
    "two sessions": (post(length(GOOD), b"Mcp-Session-Id: x\r\n" * 2), [400]),
    "a session that is not, on GET": (
        post(b"Mcp-Session-Id: x\r\n", body=b"", method=b"GET", kind=b""),
        [404],
    ),
    "a session that is not, on DELETE": (
        post(b"Mcp-Session-Id: x\r\n", body=b"", method=b"DELETE", kind=b""),
        [404],
    ),
}

PASSED: dict[str, tuple[bytes, list[int], list[bytes]]] = {
    "plain": (WHOLE, [200], [GOOD]),
    "chunks": (post(CHUNKED, body=chunks(GOOD)), [200], [GOOD]),
    "small chunks": (
        post(CHUNKED, body=chunks(*(GOOD[i : i + 1] for i in range(len(GOOD))))),
        [200],
        [GOOD],
    ),
    "chunk extensions": (
        post(CHUNKED, body=b"%x;name=evil\r\n%b\r\n0;x\r\n\r\n" % (len(GOOD), GOOD)),
        [200],
        [GOOD],
    ),
    "trailers": (
        post(
            CHUNKED,
            b"Trailer: Mcp-Name\r\n",
            body=chunks(GOOD, end=b"0\r\nMcp-Name: evil\r\nAuthorization: Bearer c\r\n\r\n"),
        ),
        [200],
        [GOOD],
    ),
    "the same length twice": (post(length(GOOD) * 2), [200], [GOOD]),
    "chunked in capitals": (
        post(b"transfer-encoding: CHUNKED\r\n", body=chunks(GOOD)),
        [200],
        [GOOD],
    ),
    "lines that end in LF": (WHOLE.replace(b"\r\n", b"\n"), [200], [GOOD]),
    "a folded field of no matter": (post(length(GOOD), b"X: a\r\n b\r\n"), [200], [GOOD]),
    "a query": (post(length(GOOD), target=b"/mcp?server=evil"), [200], [GOOD]),
    "an offer of HTTP/2": (
        post(
            length(GOOD),
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        ),
        [200],
        [GOOD],
    ),
    "an expectation": (post(length(GOOD), b"Expect: 100-continue\r\n"), [200], [GOOD]),
    "HTTP/1.0": (post(length(GOOD), version=b"HTTP/1.0"), [200], [GOOD]),
    "a method in small letters": (post(length(GOOD), method=b"post"), [200], [GOOD]),
    "two at once": (WHOLE + WHOLE, [200, 200], [GOOD, GOOD]),
    "a denied one between": (WHOLE + SMUGGLED + WHOLE, [200] * 3, [GOOD, GOOD]),
    "a broken one behind": (WHOLE + b"POST /mcp\0\r\n\r\n", [200, 400], [GOOD]),
    "a body with a request behind it": (
        post(length(GOOD), body=GOOD + SMUGGLED),
        [200, 200],
        [GOOD],
    ),
    "other fields that route": (
        post(length(GOOD), b"X-HTTP-Method-Override: PUT\r\nX-Original-URL: /evil\r\n"),
        [200],
        [GOOD],
    ),
    "a session under another name": (post(length(GOOD), b"Mcp_Session_Id: x\r\n"), [200], [GOOD]),
    "stateless": (post(length(MODERN), NAMED, body=MODERN), [200], [MODERN]),
    "stateless, the name in base64": (
        post(length(MODERN), ROUTED, b"Mcp-Name: =?base64?dA==?=\r\n", body=MODERN),
        [200],
        [MODERN],
    ),
}

UNFINISHED = {
    "half a head": WHOLE[:40],
    "half a body": WHOLE[:-9],
    "a length beyond the body": post(b"Content-Length: %d\r\n" % (len(GOOD) + 9)),
    "a chunk without its end": post(CHUNKED, body=b"%x\r\n%b" % (len(GOOD), GOOD)),
    "chunks without the last": post(CHUNKED, body=chunks(GOOD, end=b"")),
    "the last chunk without its blank line": post(CHUNKED, body=chunks(GOOD, end=b"0\r\n")),
    "a trailer without its end": post(CHUNKED, body=chunks(GOOD, end=b"0\r\nA: b\r\n")),
}
