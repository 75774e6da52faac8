"""The checks on a request's head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.downstream.admission import HostRule, accepts, is_loopback
from support.door import HOST, Rig, call, run

if TYPE_CHECKING:
    from gateway.asgi import Headers


async def status(headers: Headers, method: str = "POST", **options: Any) -> tuple[int, str | None]:
    """What the door says, and its code unless the request was served; a refusal reaches nobody."""
    rig = Rig()
    if method == "POST":
        reply = await rig.client.post(call("t"), headers, **options)
    else:
        reply = await rig.client.request(method, headers=headers, **options)
    assert (rig.upstream.seen == []) is (reply.status >= 400)
    return reply.status, reply.code if reply.status >= 400 else None


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (b"/mcp", 200),
        (b"/mcp/", 200),
        (b"/mcp/default", 200),
        (b"/mcp/default/", 200),
        (b"/", 404),
        (b"", 404),
        (b"/MCP", 404),
        (b"/mcp//", 404),
        (b"//mcp", 404),
        (b"/%6dcp", 404),
        (b"/mcp/%2e%2e/mcp", 404),
        (b"/x/../mcp", 404),
        (b"/mcp/other", 404),
        (b"/mcp/default/x", 404),
        (b"http://127.0.0.1:8080/mcp", 404),
    ],
)
def test_paths_are_compared_byte_for_byte(path: bytes, wanted: int) -> None:
    assert run(status([], path=path))[0] == wanted


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "post"])
def test_other_methods_are_told_which_ones_there_are(method: str) -> None:
    async def main() -> None:
        rig = Rig()
        reply = await rig.client.request(method)
        assert (reply.status, reply.header(b"allow")) == (405, b"POST, GET, DELETE")

    run(main())


@pytest.mark.parametrize(
    ("version", "scheme", "wanted"),
    [
        ("1.1", "http", 200),
        ("1.0", "http", 200),
        ("2", "https", 200),
        ("3", "https", 200),
        ("2", "http", 400),
        ("3", "http", 400),
        ("1.7", "http", 400),
        ("0.9", "http", 400),
        ("2.0", "https", 400),
    ],
)
def test_http2_in_clear_text_is_refused(version: str, scheme: str, wanted: int) -> None:
    assert run(status([], http_version=version, scheme=scheme))[0] == wanted


def test_no_hop_header_goes_out_over_http2() -> None:
    async def main() -> None:
        rig = Rig(max_body_bytes=1)
        reply = await rig.client.post(b"xx", http_version="2", scheme="https")
        assert (reply.status, reply.header(b"connection")) == (413, None)

    run(main())


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"+5")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"0x5")],
        [(b"content-length", b"1_0")],
        [(b"content-length", b"5, 5")],
        [(b"content-length", b"\xb2")],
        [(b"content-length", b"")],
        [(b"content-length", b"9" * 30)],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"identity")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"connection", b"Mcp-Method"), (b"mcp-method", b"tools/call")],
        [(b"connection", b"close"), (b"connection", b"x, mcp-protocol-version")],
    ],
)
def test_framing_that_can_be_read_in_two_ways_is_refused(headers: Headers) -> None:
    async def main() -> None:
        rig = Rig()
        reply = await rig.client.post(call("t"), headers)
        assert (reply.status, reply.code) == (400, "malformed-request")
        assert reply.header(b"connection") == b"close"

    run(main())


def test_chunks_are_for_http_1_1() -> None:
    chunked = [(b"transfer-encoding", b"Chunked")]
    assert run(status(chunked))[0] == 200
    assert run(status(chunked, http_version="1.0"))[0] == 400


@pytest.mark.parametrize(
    ("content_type", "wanted"),
    [
        (b"application/json", 200),
        (b"Application/JSON", 200),
        (b"application/json; charset=utf-8", 200),
        (b'application/json;charset="UTF-8"', 200),
        (b"application/json; charset=utf-16", 415),
        (b"application/json; charset=utf-8; x=y", 415),
        (b"application/json, text/plain", 415),
        (b"application/jsonp", 415),
        (b"application/vnd.x+json", 415),
        (b"text/plain", 415),
        (b"multipart/form-data; boundary=x", 415),
        (b"application/x-www-form-urlencoded", 415),
        (b"", 415),
    ],
)
def test_a_message_is_json_in_utf8(content_type: bytes, wanted: int) -> None:
    assert run(status([(b"content-type", content_type)]))[0] == wanted


def test_a_message_says_that_it_is_json() -> None:
    async def main() -> None:
        reply = await Rig().client.request("POST", b"{}")
        assert (reply.status, reply.code) == (415, "unsupported-media-type")

    run(main())


@pytest.mark.parametrize(
    "coding", [b"gzip", b"br", b"deflate", b"identity", b"identity, gzip", b""]
)
def test_no_content_encoding_is_undone(coding: bytes) -> None:
    assert run(status([(b"content-encoding", coding)])) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("accept", "post", "get"),
    [
        (b"application/json, text/event-stream", True, True),
        (b"*/*", True, True),
        (b"application/json", True, False),
        (b"text/event-stream", True, True),
        (b"Text/*;q=0.1", True, True),
        (b"application/*", True, False),
        (b"", True, True),
        (b"text/html", False, False),
        (b"application/json;q=0, text/html", False, False),
        (b"application/json;q=0.0;x=1, text/event-stream;q=0.000", False, False),
        (b"*/*;q=0", False, False),
        (b"text/html, , */*;level=1;q=0.5", True, True),
    ],
)
def test_what_nobody_could_answer_is_refused(accept: bytes, post: bool, get: bool) -> None:
    wanted = [(b"accept", accept)]
    assert run(status(wanted)) == ((200, None) if post else (406, "not-acceptable"))
    assert run(status(wanted, "GET")) == ((200, None) if get else (406, "not-acceptable"))


def test_accept_may_come_in_several_fields() -> None:
    fields = [(b"accept", b"text/html"), (b"accept", b"text/event-stream")]
    assert run(status(fields, "GET"))[0] == 200


def test_an_absent_accept_takes_everything() -> None:
    assert accepts({}, b"application/json")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_has_no_message_has_no_body(method: str) -> None:
    assert run(status([(b"content-length", b"0")], method))[0] == 200
    assert run(status([(b"content-length", b"1")], method))[0] == 400
    assert run(status([(b"transfer-encoding", b"chunked")], method))[0] == 400


def test_the_hosts_of_a_loopback_listener() -> None:
    rule = HostRule("127.0.0.1", (), ())
    assert rule.allows_host("localhost:8080", 8080, "http")
    assert rule.allows_host("localhost", 80, "http")
    assert rule.allows_host("localhost", 443, "https")
    assert not rule.allows_host("localhost", 443, "http")
    assert not rule.allows_host("gateway:8080", 8080, "http")


def test_the_hosts_of_a_listener_for_others() -> None:
    anyone = HostRule("0.0.0.0", (), ())
    assert anyone.allows_host("gateway.ns.svc:8080", 8080, "http")
    assert not anyone.allows_origin("http://gateway.ns.svc:8080", 8080), "a name can be rebound"
    listed = HostRule("0.0.0.0", ("gateway", "Other:8443"), ("https://app.example",))
    for host in ("gateway", "gateway:1", "GATEWAY:8080", "other:8443", "localhost:8080"):
        assert listed.allows_host(host, 8080, "http"), host
    for host in ("other", "other:8080", "evil", "0.0.0.0.evil:8080"):
        assert not listed.allows_host(host, 8080, "http"), host
    assert listed.allows_origin("https://app.example", 8080)
    assert not listed.allows_origin("http://app.example", 8080)
    assert not listed.allows_origin("https://app.example.evil", 8080)


def test_a_listener_on_an_ipv6_address() -> None:
    rule = HostRule("fd00::1", ("gw",), ())
    assert rule.allows_host("[fd00::1]:8080", 8080, "http")
    assert not rule.allows_host("[fd00::2]:8080", 8080, "http")


def test_what_is_loopback() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert is_loopback(host)
    for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.example", ""):
        assert not is_loopback(host)


def test_the_port_that_was_bound_counts() -> None:
    bound = ("127.0.0.1", 41234)
    assert run(status([(b"host", b"localhost:41234")], server=bound))[0] == 200
    assert run(status([(b"host", HOST)], server=bound))[0] == 403
    assert run(status([(b"host", HOST)], server=None))[0] == 200


def test_an_error_without_an_id_is_written_as_its_revision_has_it() -> None:
    async def main() -> None:
        for version, has_id in ((b"2025-06-18", True), (b"2025-11-25", False), (None, True)):
            fields = [] if version is None else [(b"mcp-protocol-version", version)]
            reply = await Rig().client.request("PUT", headers=fields)
            assert ("id" in reply.json) is has_id

    run(main())
