"""Addresses, TLS and proxies."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.errors import SettingsError, UpstreamError
from gateway.upstream.dial import Address, Dialer, Proxy
from support.door import run
from support.http_server import Wire, ask, body_of, keep_answering, serving, upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("url", "authority", "target", "port"),
    [
        ("http://h/mcp", b"h", b"/mcp", 80),
        ("http://h:80/mcp", b"h", b"/mcp", 80),
        ("http://h:8000", b"h:8000", b"/", 8000),
        ("https://H.example/a/b?c=d#e", b"h.example", b"/a/b?c=d", 443),
        ("https://h:80/", b"h:80", b"/", 80),
        ("http://[::1]:9/x", b"[::1]:9", b"/x", 9),
        ("http://bücher.example/", b"xn--bcher-kva.example", b"/", 80),
    ],
)
def test_an_address(url: str, authority: bytes, target: bytes, port: int) -> None:
    address = Address.parse(url)
    assert (address.authority, address.target, address.port) == (authority, target, port)
    assert address.secure is url.startswith("https")


def test_an_address_never_shows_credentials() -> None:
    with pytest.raises(SettingsError) as error:
        Address.parse("https://user:hunter2@h/mcp")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("http://server.example/mcp", True),
        ("https://server.example/mcp", False),
        ("http://inside.corp/mcp", False),
        ("http://127.0.0.1:8000/mcp", False),
        ("http://localhost/mcp", False),
        ("http://[::1]/mcp", False),
    ],
)
def test_the_proxy_of_the_environment(
    url: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://us%40er:p%3Aw@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "corp,other")
    proxy = Proxy.for_address(Address.parse(url))
    assert (proxy is not None) is proxied
    if proxy is not None:
        assert (proxy.host, proxy.port) == ("proxy.example", 3128)
        assert proxy.headers == [(b"proxy-authorization", b"Basic dXNAZXI6cDp3")]


def test_a_proxy_that_is_no_http_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://p:1")
    with pytest.raises(SettingsError):
        Proxy.for_address(Address.parse("http://h/"))


def test_an_unreadable_ca_file(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for name in ("missing.pem", "bad.pem"):
        with pytest.raises(SettingsError):
            Dialer(Address.parse("https://h/"), ca_file=tmp_path / name, timeout_s=1)


def test_a_plain_request_through_a_proxy_names_the_whole_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with serving(keep_answering) as proxy:
            monkeypatch.setenv("http_proxy", f"http://u:p@127.0.0.1:{proxy.port}")
            peer = upstream("http://server.example:81/mcp?x=1")
            await ask(peer)
            await peer.aclose(0)
            lines = proxy.requests[0].split(b"\r\n")
            assert lines[0] == b"POST http://server.example:81/mcp?x=1 HTTP/1.1"
            assert b"host: server.example:81" in lines
            assert b"proxy-authorization: Basic dTpw" in lines

    run(main())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A self-signed certificate for server.example and 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    names = [
        x509.DNSName("server.example"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    chain, private = folder / "cert.pem", folder / "key.pem"
    chain.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, private


def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_tls_with_a_trusted_certificate(certificate: tuple[Path, Path]) -> None:
    async def main() -> None:
        async with serving(keep_answering, tls=server_context(certificate)) as server:
            peer = upstream(f"https://127.0.0.1:{server.port}/mcp", ca_file=certificate[0])
            for _ in range(2):
                assert body_of(await ask(peer)) == b"{}"
            await peer.aclose(0)
            assert server.connections == 1

    run(main())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_tls_with_a_certificate_that_does_not_fit(
    host: str, certificate: tuple[Path, Path]
) -> None:
    trusted = certificate[0] if host == "localhost" else None  # its names do not include localhost

    async def main() -> None:
        async with serving(keep_answering, tls=server_context(certificate)) as server:
            peer = upstream(f"https://{host}:{server.port}/mcp", ca_file=trusted)
            with pytest.raises(UpstreamError) as error:
                await ask(peer)
            assert (error.value.reason, error.value.sent) == ("tls", False)
            assert server.requests == []

    run(main())


def test_tls_through_a_proxy_is_a_tunnel(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with serving(keep_answering, tls=server_context(certificate)) as server:

            async def tunnel(wire: Wire) -> None:
                await wire.request()
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                await wire.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                try:
                    await asyncio.gather(pump(wire.reader, writer), pump(reader, wire.writer))
                finally:
                    writer.close()

            async with serving(tunnel) as proxy:
                monkeypatch.setenv("https_proxy", f"http://u:p@127.0.0.1:{proxy.port}")
                peer = upstream("https://server.example/mcp", ca_file=certificate[0])
                assert body_of(await ask(peer)) == b"{}"
                await peer.aclose(0)
                asked = proxy.requests[0].split(b"\r\n")
                assert asked[0] == b"CONNECT server.example:443 HTTP/1.1"
                assert b"proxy-authorization: Basic dTpw" in asked
                assert b"proxy-authorization" not in server.requests[0]

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nsurplus",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
def test_a_proxy_that_refuses_means_nothing_was_sent(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async def refuse(wire: Wire) -> None:
            await wire.request()
            await wire.write(answer)

        async with serving(refuse) as proxy:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            peer = upstream("https://server.example/mcp")
            with pytest.raises(UpstreamError) as error:
                await ask(peer)
            assert (error.value.reason, error.value.sent) == ("connect", False)

    run(main())


def test_a_handshake_that_never_ends_times_out(certificate: tuple[Path, Path]) -> None:
    async def main() -> None:
        async def silent(wire: Wire) -> None:
            await wire.reader.read()

        async with serving(silent) as server:
            url = f"https://127.0.0.1:{server.port}/mcp"
            peer = upstream(url, ca_file=certificate[0], connect_timeout_s=0.05)
            with pytest.raises(UpstreamError) as error:
                await ask(peer)
            assert (error.value.reason, error.value.sent) == ("connect", False)

    run(main())


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
