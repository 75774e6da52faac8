"""What clients lawfully say, oddly: by name, what is sent before each listening."""

from __future__ import annotations

from differential.said import (
    BATCH,
    DENIED,
    GOOD,
    INITIALIZE,
    MAX_BODY,
    OLD,
    SESSION,
    VERSION,
    WHOLE,
    bare,
    call,
    chunked,
    cut,
    message,
    modern,
    padded,
    post,
    routed,
)
from support.doors import Say


def one(data: bytes) -> list[Say]:
    return [Say((data,))]


def _heads() -> dict[str, bytes]:
    """Heads that differ from the usual one and mean the same, or are refused for what they say."""
    accepts = {
        "json": b"application/json",
        "events": b"text/event-stream",
        "both": b"application/json, text/event-stream",
        "both in capitals": b"APPLICATION/JSON, Text/Event-Stream",
        "anything": b"*/*",
        "any application": b"application/*",
        "html": b"text/html",
        "quality": b"application/json;q=0.9, text/event-stream;q=0.1",
        "no quality": b"application/json;q=0, text/event-stream;q=0.000",
        "nothing": b"",
        "an empty list": b",",
        "empty elements": b", ,application/json, ,",
        "a parameter": b"application/json; charset=utf-8",
        "a longer type": b"application/jsonx",
        "a blank inside": b"application /json",
        "a tab": b"\tapplication/json\t,\ttext/event-stream",
    }
    heads = {f"accept {name}": post(GOOD, b"Accept: " + value) for name, value in accepts.items()}
    heads["accept twice"] = post(GOOD, b"Accept: text/html", b"Accept: application/json")
    kinds = {
        "a charset": b"application/json; charset=utf-8",
        "a charset without a blank": b"application/json;charset=utf-8",
        "a charset in capitals": b"Application/JSON; Charset=UTF-8",
        "a charset in quotes": b'application/json; charset="utf-8"',
        "two charsets": b"application/json; charset=utf-8; charset=utf-8",
        "a blank before": b"application/json ; charset=utf-8",
        "two blanks": b"application/json;  charset=utf-8",
        "a semicolon": b"application/json;",
        "another charset": b"application/json; charset=latin-1",
        "a suffix": b"application/vnd.x+json",
        "another": b"text/json",
        "empty": b"",
    }
    for name, value in kinds.items():
        heads[f"type {name}"] = post(GOOD, kind=b"Content-Type: " + value)
    hosts = {
        "localhost": b"localhost:PORT",
        "in capitals": b"LOCALHOST:PORT",
        "without a port": b"127.0.0.1",
        "another port": b"127.0.0.1:1",
        "a port with zeros": b"127.0.0.1:0PORT",
        "IPv6": b"[::1]:PORT",
        "another address": b"127.0.0.2:PORT",
        "a dot": b"localhost.:PORT",
    }
    for name, value in hosts.items():
        heads[f"host {name}"] = post(GOOD, host=b"Host: " + value)
    targets = {
        "by its name": b"/mcp/default",
        "with a slash": b"/mcp/",
        "by its name with a slash": b"/mcp/default/",
        "with two slashes": b"/mcp//",
        "with a query": b"/mcp?a=b",
        "with an empty query": b"/mcp?",
        "in capitals": b"/MCP",
        "with a dot": b"/./mcp",
        "absolute": b"http://HOST/mcp",
        "absolute by TLS": b"https://HOST/mcp",
        "a long one": b"/mcp/" + b"x" * 4000,
        "a very long one": b"/mcp/" + b"x" * 40_000,
        "other servers": b"/mcp/other",
        "with a byte above ASCII": b"/mcp\xff",
    }
    for name, value in targets.items():
        heads[f"target {name}"] = post(GOOD, target=value)
    return heads


def _fields() -> dict[str, bytes]:
    """Single fields."""
    rows: dict[str, tuple[bytes, ...]] = {
        "names in capitals": (b"ACCEPT: application/json", b"MCP-PROTOCOL-VERSION: 2025-11-25"),
        "no blank behind the colon": (b"Accept:application/json", b"User-Agent:x"),
        "blanks around values": (b"Accept:  \t application/json \t ", b"User-Agent:   x   "),
        "an empty value": (b"User-Agent:", b"X:"),
        "fields that travel": (
            *(b"User-Agent: a (b)", b"traceparent: 00-a-b-01", b"tracestate: a=b"),
            *(b"baggage: k=v", b"Mcp-Param-Region: eu", b"Mcp-Unknown: \tx y"),
        ),
        "fields that stay": (
            *(b"Authorization: Bearer x", b"Cookie: a=b", b"X-Forwarded-For: 1.2.3.4"),
            *(b"Forwarded: for=x", b"Proxy-Authorization: Basic x", b"DPoP: x", b"Via: 1.1 x"),
            *(b"X-Own: 2", b"Accept-Encoding: gzip", b"Keep-Alive: timeout=5", b"TE: trailers"),
        ),
        "authorization twice": (b"Authorization: a", b"Authorization: b"),
        "user agents": (b"User-Agent: a", b"User-Agent: b"),
        "trace states": (b"tracestate: a=1", b"tracestate: b=2"),
        "ninety fields": tuple(b"X-%d: y" % n for n in range(90)),
        "two hundred fields": tuple(b"X-%d: y" % n for n in range(200)),
        "a long field": (b"X: " + b"y" * 30_000,),
        "a head at the bound": (b"X: " + b"y" * (32 * 1024 - 110),),
        "a head beyond the bound": (b"X: " + b"y" * 33_000,),
        "a value above ASCII": (b"User-Agent: caf\xc3\xa9",),
        "an accept-charset": (b"Accept-Charset: utf-16",),
        "own origin": (b"Origin: http://HOST",),
        "own origin in capitals": (b"Origin: HTTP://HOST",),
        "another origin": (b"Origin: http://evil.example",),
        "keep-alive": (b"Connection: keep-alive",),
        "keep-alive in capitals": (b"Connection: Keep-Alive",),
        "close": (b"Connection: close",),
        "close in capitals": (b"Connection: CLOSE",),
        "close in a list": (b"Connection: keep-alive, close",),
        "close twice": (b"Connection: close", b"Connection: close"),
        "connection names a field": (b"Connection: user-agent", b"User-Agent: x"),
        "an empty connection": (b"Connection:",),
        "an expectation": (b"Expect: 100-continue",),
        "another expectation": (b"Expect: 200-ok",),
        "an upgrade that is not asked for": (b"Upgrade: h2c",),
        "an upgrade": (b"Connection: upgrade", b"Upgrade: foo/2"),
        "a last event": (b"Last-Event-ID: 7",),
        "an older version": (b"MCP-Protocol-Version: 2025-03-26",),
        "an unknown version": (b"MCP-Protocol-Version: 2099-01-01",),
        "no version": (b"MCP-Protocol-Version:",),
        "a version that is none": (b"MCP-Protocol-Version: x",),
        "a name that fits": (b"Mcp-Method: tools/call", b"Mcp-Name: t"),
        "a name that does not": (b"Mcp-Method: tools/call", b"Mcp-Name: u"),
        "a foreign session": (b"Mcp-Session-Id: nobodys",),
        "an impossible session": (b"Mcp-Session-Id: a b",),
        "a length in front": (b"Content-Length: %d" % len(GOOD),),
        "range": (b"Range: bytes=0-1",),
        "if-match": (b'If-Match: "x"',),
        "trailer": (b"Trailer: x",),
    }
    return {f"field {name}": post(GOOD, *fields) for name, fields in rows.items()}


def _bodies() -> dict[str, bytes]:
    return {
        "no body": post(b""),
        "no length": post(b"", length=b"X: y"),
        "a mark": post(b"\xef\xbb\xbf" + GOOD),
        "blanks around": post(b" \r\n\t" + GOOD + b"\r\n"),
        "at the bound": post(padded(MAX_BODY)),
        "under the bound": post(padded(MAX_BODY - 1)),
        "over the bound": post(padded(MAX_BODY + 1)),
        "at the bound in chunks": chunked(padded(MAX_BODY)[:500_000], padded(MAX_BODY)[500_000:]),
        "over the bound in chunks": chunked(padded(MAX_BODY + 1)),
        "a length with zeros": post(GOOD, length=b"Content-Length: 000%d" % len(GOOD)),
        "a length of 18 digits": post(GOOD, length=b"Content-Length: %018d" % len(GOOD)),
        "a length of 19 digits": post(GOOD, length=b"Content-Length: %019d" % len(GOOD)),
        "chunks": chunked(GOOD[:7], GOOD[7:]),
        "chunks with zeros": chunked(GOOD).replace(b"\r\n%x" % len(GOOD), b"\r\n000%x" % len(GOOD)),
        "chunks in capitals": chunked(GOOD).replace(b"%x\r" % len(GOOD), b"%X\r" % len(GOOD)),
        "a trailer": chunked(GOOD, end=b"0\r\nA: b\r\n\r\n"),
        "an extension": chunked(GOOD).replace(b"\r\n0\r\n", b"\r\n0;a=b\r\n"),
        "an empty last chunk of zeros": chunked(GOOD, end=b"0000\r\n\r\n"),
        "no chunk": chunked(),
        "a string for an id": post(call("t", id="a\u00e9\n")),
        "an empty id": post(call("t", id="")),
        "a huge id": post(GOOD.replace(b'"id": 1', b'"id": 123456789012345678901234567890')),
        "a negative id": post(call("t", id=-1)),
        "an id with an exponent": post(GOOD.replace(b'"id": 1', b'"id": 1e0')),
        "an escaped id": post(GOOD.replace(b'"id": 1', b'"id": "\\u0031"')),
        "a null id": post(GOOD.replace(b'"id": 1', b'"id": null')),
        "an escaped name": post(GOOD.replace(b'"t"', b'"\\u0074"')),
        "an escaped denied name": post(GOOD.replace(b'"t"', b'"denie\\u0064"')),
        "a notification": post(message("notifications/initialized", id=None)),
        "a cancellation": post(message("notifications/cancelled", {"requestId": 1}, id=None)),
        "a call without an id": post(call("t", id=None)),
        "a denied call without an id": post(call("denied", id=None)),
        "a response": post(b'{"jsonrpc":"2.0","id":1,"result":{}}'),
        "an error": post(b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}'),
        "an error without an id": post(b'{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}'),
        "a batch": post(BATCH),
        "ping": post(message("ping")),
        "a list": post(message("tools/list")),
        "a list with a cursor": post(message("tools/list", {"cursor": "x"})),
        "an unknown method": post(message("x/y", {"a": 1})),
        "a denied method": post(message("x/denied")),
        "discover": post(message("server/discover")),
        "a task asked for": post(message("tools/call", {"name": "t", "task": {"ttl": 1}})),
        "a task of nobody": post(message("tasks/get", {"taskId": "x"})),
        "tasks": post(message("tasks/list")),
        "a hidden tool": post(call("secret1")),
        "a needy tool": post(call("needy")),
        "a needy tool content": post(call("needy", x=1)),
        "a tool to be approved": post(call("approved")),
        "a shadowed denial": post(call("shadowed")),
        "a lone tool": post(call("lone")),
        "a cost": post(call("paid", amount=1.25)),
        "a cost too high": post(call("paid", amount=1000)),
        "no cost": post(call("paid")),
        "modern": post(modern("tools/call", {"name": "t"}), *routed("tools/call", b"Mcp-Name: t")),
        "modern, denied": post(
            modern("tools/call", {"name": "denied"}), *routed("tools/call", b"Mcp-Name: denied")
        ),
        "modern, a list": post(modern("tools/list"), *routed("tools/list")),
        "modern, in a session": post(modern("tools/list"), *routed("tools/list", SESSION)),
        "modern, initialize": post(modern("initialize"), *routed("initialize")),
        "modern, ping": post(modern("ping"), *routed("ping")),
        "modern, a notification": post(
            modern("notifications/cancelled", {"requestId": 1}, id=None),
            *routed("notifications/cancelled"),
        ),
        "modern, a response": post(b'{"jsonrpc":"2.0","id":1,"result":{}}', *routed("x")),
        "modern, a subscription": post(
            modern("subscriptions/listen", {"notifications": {}}), *routed("subscriptions/listen")
        ),
        "modern, a task": post(
            modern("tasks/get", {"taskId": "x"}), *routed("tasks/get", b"Mcp-Name: x")
        ),
        "modern, without its header": post(modern("tools/list")),
        "modern in the header only": post(message("tools/list"), *routed("tools/list")),
        "modern, another name": post(
            modern("tools/call", {"name": "t"}), *routed("tools/call", b"Mcp-Name: u")
        ),
    }


def _methods() -> dict[str, bytes]:
    found = {
        f"method {name.decode()}": bare(name)
        for name in (
            b"GET",
            b"DELETE",
            b"HEAD",
            b"OPTIONS",
            b"PUT",
            b"PATCH",
            b"TRACE",
            b"X-Y",
            b"get",
        )
    }
    found["GET that takes events"] = bare(b"GET", b"Accept: text/event-stream")
    found["GET that takes JSON only"] = bare(b"GET", b"Accept: application/json")
    found["GET elsewhere"] = bare(b"GET", target=b"/")
    found["GET with no length"] = bare(b"GET", b"Content-Length: 0")
    found["HEAD elsewhere"] = bare(b"HEAD", target=b"/")
    found["PUT with a body"] = WHOLE.replace(b"POST", b"PUT")
    found["HTTP/1.0"] = WHOLE.replace(b"1.1", b"1.0", 1)
    found["HTTP/1.0 that stays"] = post(GOOD, b"Connection: keep-alive").replace(b"1.1", b"1.0", 1)
    found["HTTP/1.2"] = WHOLE.replace(b"HTTP/1.1", b"HTTP/1.2")
    found["lines that end in LF"] = WHOLE.replace(b"\r\n", b"\n")
    found["an empty line before"] = b"\r\n" + WHOLE
    return found


def _cuts() -> dict[str, list[Say]]:
    found = {}
    for name, whole in {"a length": WHOLE, "chunks": chunked(GOOD[:9], GOOD[9:])}.items():
        found[f"{name}, byte by byte"] = [Say(cut(whole, *range(len(whole))))]
        found[f"{name}, the head first"] = [Say(cut(whole, whole.index(b"\r\n\r\n") + 4))]
        for at in (1, 4, 16, 17, 18, whole.index(b"\r\n\r\n") + 2, -1, -2, -5):
            found[f"{name}, cut at {at}"] = [Say(cut(whole, at))]
    return found


def _rows() -> dict[str, list[Say]]:
    """Several requests on one connection."""
    mixed = [WHOLE, DENIED, bare(b"GET", target=b"/x"), post(message("ping", id="p"))]
    capped = post(call("capped"))
    rows = {f"{n} at once": [Say((WHOLE * n,), n)] for n in (2, 3, 7, 20)}
    rows |= {f"{n} denied at once": [Say((DENIED * n,), n)] for n in (2, 20)}
    rows |= {
        "mixed at once": [Say((b"".join(mixed * 5),), 20)],
        "mixed one after the other": [Say((each,)) for each in mixed * 2],
        "mixed, cut in the middle of each": [Say(cut(b"".join(mixed), *range(40, 1000, 97)), 4)],
        "up to the limit and beyond": [Say((capped,)) for _ in range(4)],
        "beyond the limit at once": [Say((capped * 4,), 4)],
        "notifications up to the limit": [
            Say((post(message("notifications/capped", id=None)),)) for _ in range(3)
        ],
        "methods up to the limit": [Say((post(message("x/capped")),)) for _ in range(3)],
        "close ends what is behind it": [
            Say((WHOLE + post(GOOD, b"Connection: close") + WHOLE,), 2)
        ],
        "a denied close": [Say((post(call("denied"), b"Connection: close") + WHOLE,), 1)],
        "an odd one behind": [Say((WHOLE + b"GARBAGE\r\n\r\n",), 2)],
        "an odd one between": [Say((WHOLE + bare(b"HEAD") + WHOLE,), 3)],
        "half of another behind": [Say((WHOLE + WHOLE[:30],), 1), Say((WHOLE[30:],), 1)],
        "a session": [
            Say((INITIALIZE,)),
            Say((post(message("notifications/initialized", id=None), SESSION, VERSION),)),
            Say((post(GOOD, SESSION, VERSION),)),
            Say((post(GOOD, SESSION),)),
            Say((post(GOOD, b"Mcp-Session-Id: session-2", VERSION),)),
            Say((post(message("tools/list"), SESSION, VERSION) * 3,), 3),
            Say((post(BATCH, SESSION, VERSION),)),
            Say((bare(b"DELETE", SESSION, VERSION),)),
            Say((post(GOOD, SESSION, VERSION),)),
        ],
        "a session that takes arrays": [
            Say((OLD,)),
            Say((post(BATCH, SESSION, b"MCP-Protocol-Version: 2025-03-26"),)),
            Say((post(BATCH, SESSION),)),
            Say((post(BATCH.replace(b'"t"', b'"denied"'), SESSION),)),
        ],
        "a session named to a stateless request": [
            Say((INITIALIZE,)),
            Say((post(modern("tools/list"), *routed("tools/list", SESSION)),)),
        ],
        "one that was expected": [
            Say((post(GOOD, b"Expect: 100-continue").partition(GOOD)[0],), 0),
            Say((GOOD,), 1),
        ],
        "half a request, and then the client has gone": [Say((WHOLE[:-4],), 0, leaves="close")],
    }
    return rows


TALKS: dict[str, list[Say]] = {
    **{
        name: one(data)
        for name, data in {**_heads(), **_fields(), **_bodies(), **_methods()}.items()
    },
    **_cuts(),
    **_rows(),
}

_PLAIN = ("names in capitals", "blanks around values", "fields that travel", "fields that stay")
ADMITTED = [
    data
    for data in (
        *(_fields()[f"field {name}"] for name in _PLAIN),
        *(data for data in _bodies().values() if len(data) < 5000),
        *(bare(name) for name in (b"GET", b"DELETE", b"PUT", b"X-Y")),
    )
    if data != _bodies()["no length"]
]
"""Requests that no door refuses before it has read their bodies: one that does may end the
connection while the body still comes, and whether it does is the network's choice."""
