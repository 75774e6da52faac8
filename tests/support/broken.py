"""Answers of servers that cannot be passed on, as the bytes after which the connection ends.

The request's id is 1.
"""

from __future__ import annotations

import zlib

from support.recorder import answer

RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
WHOLE = answer(RESULT)
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
SPACES = zlib.compressobj(wbits=31)
BOMB = SPACES.compress(b" " * (8 << 20)) + SPACES.flush()

BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "no HTTP": b"\0\1garbage\r\n\r\n",
    "half a head": WHOLE[:30],
    "half a body": WHOLE[:-9],
    "chunks without the last": CHUNKED + b"%x\r\n%b\r\n" % (len(RESULT), RESULT),
    "a bad chunk": CHUNKED + b"zz\r\n" + RESULT,
    "length and chunks": answer(RESULT, "transfer-encoding: chunked"),
    "two lengths": answer(RESULT, "content-length: 3"),
    "many heads before": b"HTTP/1.1 103 Early\r\n\r\n" * 20 + WHOLE,
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n" + RESULT,
    "many fields": answer(RESULT, *(f"x-{n}: y" for n in range(20_000))),
    "a redirect": answer(b"", "location: http://127.0.0.1:9/", status="307 Elsewhere"),
    "a challenge": answer(b"", "www-authenticate: Bearer", status="401 No"),
    "forbidden": answer(b"", status="403 No"),
    "two types": answer(RESULT, "content-type: text/event-stream"),
    "two sessions": answer(RESULT, "mcp-session-id: a", "mcp-session-id: b"),
    "a coding of its own": answer(RESULT, "content-encoding: br"),
    "no gzip for all it says": answer(RESULT, "content-encoding: gzip"),
    "a bomb": answer(BOMB, "content-encoding: gzip"),
    "something behind the gzip": answer(zlib.compress(RESULT) + b"x", "content-encoding: deflate"),
    "another id": answer(RESULT.replace(b":1,", b":2,")),
    "an id of another type": answer(RESULT.replace(b":1,", b':"1",')),
    "true for an id": answer(RESULT.replace(b":1,", b":true,")),
    "accepted": answer(b"", status="202 Accepted"),
    "text": b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi",
}
