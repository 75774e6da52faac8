"""Messages that must not reach a server, and lines that hide one in another.

Under a policy in which `delete` and `Read` are denied, `secret` is hidden, and `pay` is limited to
an `amount` of 100.
"""

from __future__ import annotations

CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":%s}'
DENIED = CALL.replace(b"%s", b'{"name":"delete","arguments":{}}')


def params(text: str) -> bytes:
    return CALL.replace(b"%s", text.encode())


def named(name: str) -> bytes:
    return params('{"name":"%s"}' % name)  # noqa: UP031


def paying(amount: str) -> bytes:
    return params('{"name":"pay","arguments":{"amount":%s}}' % amount)  # noqa: UP031


INPUTS: dict[str, bytes] = {
    "1 a number beyond range": params('{"name":"t","arguments":{"x":1e999}}'),
    "1 a number of 400 digits": params('{"name":"t","arguments":{"x":%s}}' % ("9" * 400)),
    "1 a number that rounds to nothing": params('{"name":"t","arguments":{"x":1e-999}}'),
    "2 two names": params('{"name":"t","name":"delete"}'),
    "2 two names by an escape": params('{"name":"t","na\\u006de":"delete"}'),
    "3 a name in other case": params('{"name":"t","Name":"delete"}'),
    "3 arguments in other case": params('{"name":"t","arguments":{},"Arguments":{}}'),
    "3 a method in other case": DENIED.replace(b'"id"', b'"Method":"ping","id"'),
    "4 an array": b"[" + DENIED + b"]",
    "4 an array of arrays": b"[[" + DENIED + b"]]",
    "5 a negative amount": paying("-1"),
    "5 an amount in quotes": paying('"100"'),
    "5 an amount too fine": paying("0.00001"),
    "5 an amount that is not exact": paying("9007199254740993"),
    "5 no amount": params('{"name":"pay","arguments":{}}'),
    "5 an amount beyond the limit": paying("101"),
    "5 minus nothing": paying("-0"),
    "5 an amount in other case": paying('1,"Amount":101'),
    "5 an amount in other case alone": params('{"name":"pay","arguments":{"AMOUNT":1}}'),
    "10 a Cyrillic letter": named("d\u0435lete"),
    "10 a blank behind": named("delete "),
    "10 a no-break space": named("delete\u00a0"),
    "10 other case": named("Delete"),
    "10 a zero-width space": named("de\u200blete"),
    "10 full width": named("\uff44elete"),
    "10 right to left": named("\u202edelete"),
    "10 hidden": named("secret"),
    "10 hidden in other case": named("SECRET"),
    "10 no name": named(""),
    "10 a long name": named("a" * 10_000),
    "11 a second document": DENIED.replace(b"delete", b"t") + b" " + DENIED,
    "11 a text behind": DENIED.replace(b"delete", b"t") + b"x",
    "12 bytes that are not UTF-8": named("X").replace(b"X", b"delet\xff"),
    "12 an overlong letter": named("X").replace(b"X", b"\xc1\xa4elete"),
    "12 a lone surrogate": named("\\ud800"),
    "12 a surrogate in UTF-8": named("X").replace(b"X", b"\xed\xa0\x80"),
    "12 a byte order mark": b"\xef\xbb\xbf" + named("t"),
    "12 UTF-16": named("t").decode().encode("utf-16-le"),
    "13 a hundred thousand brackets": b"[" * 100_000,
    "13 a hundred thousand brackets inside": params('{"name":"t","arguments":{"x":X}}').replace(
        b"X", b"[" * 100_000
    ),
    "13 sixty-five levels": params(
        '{"name":"t","arguments":{"x":%s%s}}' % ("[" * 65, "]" * 65)  # noqa: UP031
    ),
    "14 a call without an id": DENIED.replace(b'"id":7,', b""),
    "14 a call whose id is null": DENIED.replace(b"7", b"null"),
    "14 a call whose id is a fraction": DENIED.replace(b"7", b"7.0"),
    "14 a call whose id is true": DENIED.replace(b"7", b"true"),
    "14 a call whose id is an object": DENIED.replace(b"7", b"{}"),
    "14 a call whose id is long": DENIED.replace(b"7", b'"%b"' % (b"i" * 10_000)),
    "15 params in an array": CALL.replace(b"%s", b'["delete",{}]'),
    "15 arguments in a string": params('{"name":"t","arguments":"{}"}'),
    "15 arguments null": params('{"name":"t","arguments":null}'),
    "15 a name in an array": params('{"name":["delete"]}'),
    "15 meta in an array": params('{"name":"t","_meta":[]}'),
    "19 an escaped solidus": DENIED.replace(b"tools/call", b"tools\\/call"),
    "19 an escaped letter": DENIED.replace(b"tools/call", b"\\u0074ools/call"),
    "19 a nul": DENIED.replace(b"tools/call", b"tools/call\\u0000"),
    "19 a blank": DENIED.replace(b"tools/call", b"tools/call "),
    "19 a capital": DENIED.replace(b"tools/call", b"tools/Call"),
    "19 two solidi": DENIED.replace(b"tools/call", b"tools//call"),
    "19 a line end": DENIED.replace(b"tools/call", b"tools/call\\n"),
    "20 a request with a result": DENIED.replace(b'"id"', b'"result":{},"id"'),
    "20 another version": DENIED.replace(b"2.0", b"1.0"),
    "20 an unknown member": DENIED.replace(b'"id"', b'"x":1,"id"'),
    "20 nothing": b" ",
    "20 an event": b"data: " + DENIED + b"\n\n",
}

ON_ONE_LINE = {case: data for case, data in INPUTS.items() if b"\n" not in data}
"""Lines of their own; a line of blanks is no input."""

SMUGGLING = {
    "a CR between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\r' + DENIED,
    "a CR inside": DENIED.replace(b",", b",\r"),
    "a vertical tab between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\x0b' + DENIED,
    "a form feed between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\x0c' + DENIED,
    "a line separator between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\xe2\x80\xa8' + DENIED,
    "a next line between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\xc2\x85' + DENIED,
    "a NUL between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\0' + DENIED,
    "a header between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}Content-Length: 9\r\r' + DENIED,
    "a huge line": named("t").replace(b'"t"', b'"t","x":"%b"' % (b"x" * (1 << 20))),
}
