"""What a line says, and exchanging ids in it."""

import pytest

from gateway.upstream.lines import Broken, exchange, one_line, read, spelled


def only(raw):
    (line,) = read(raw)
    return line


def test_kinds():
    assert only(b'{"id":1,"method":"m"}').kind == "request"
    assert only(b'{"method":"m"}').kind == "notification"
    assert only(b'{"id":1,"result":{}}').kind == "response"
    line = only(b'{"id":null,"error":{"code":-1}}')
    assert (line.kind, line.id, line.error) == ("response", None, -1)


@pytest.mark.parametrize(
    "raw", [b"", b"Listening", b"{}", b"[]", b"[ ]", b'{"id":1}', b"12", b"[1]"]
)
def test_what_is_no_message(raw):
    assert read(raw) == []


@pytest.mark.parametrize(
    "raw",
    [b"{", b'{"a":1}}', b"[" * 100_000, b'{"a":"\xff"}', b"{\0", b'{"a":1}{"b":2}', b"{'a':1}"],
)
def test_what_is_a_broken_message(raw):
    with pytest.raises(Broken):
        read(raw)


def test_what_other_languages_write_is_read():
    assert only(b'{"id":1,"result":{"text":"\\ud83d"}}').id == 1
    assert only(b'{"id":1,"result":{"n":NaN}}').id == 1


def test_an_array_is_its_messages_as_they_were_spelt():
    lines = read(b'[ {"id":1,"result":{}} ,\r{"method" : "m"}, 3]')
    assert [line.raw for line in lines] == [b'{"id":1,"result":{}}', b'{"method" : "m"}']


def test_a_bare_carriage_return_does_not_leave_here():
    assert only(b'{"method":\r"m"}').raw == b'{"method": "m"}'
    assert one_line(b'{\r\n"a":\n1}') == b'{  "a": 1}'


def test_ids_and_tokens():
    assert only(b'{"id":"1","method":"m"}').id == "1"
    assert only(b'{"id":true,"method":"m"}').kind == "notification"
    assert only(b'{"method":"m","params":{"progressToken":3}}').token == 3
    tagged = b'{"method":"m","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}}'
    assert only(tagged).subscription == "s"
    assert only(b'{"method":"m","params":{"_meta":[]}}').subscription is None
    assert spelled(b'"\\u0041"') == "A"
    assert spelled(None) is None


def test_exchange_touches_nothing_else():
    raw = b'{ "params" : {"id":1,"_meta":{"x":"}\\"]","t" : "old"}} , "id":  7 ,"z":1.50}'
    changed = exchange(raw, (("id",), b'"n"'), (("params", "_meta", "t"), b"8"))
    expected = raw.replace(b'"old"', b"8").replace(b"  7 ", b'  "n" ')
    assert changed == expected


def test_exchange_leaves_out_what_is_not_there():
    raw = b'{"params":[{"id":1}],"n":{}}'
    edits = [(path, b"9") for path in [("id",), ("params", "id"), ("n", "id"), ("n", "x", "id")]]
    assert exchange(raw, *edits) == raw


def test_exchange_reads_escaped_names():
    assert exchange(b'{"\\u0069d":1}', (("id",), b"2")) == b'{"\\u0069d":2}'


@pytest.mark.parametrize("raw", [b'{"id":1,"id":2}', b'{"id":1,"\\u0069d":2}'])
def test_exchange_refuses_what_reads_two_ways(raw):
    with pytest.raises(Broken):
        exchange(raw, (("id",), b"3"))
