"""TLS on the listener, by both doors and both event loops; and who a certificate names."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway import eventloop
from gateway._core import LimitTable
from gateway.app import Gateway
from gateway.config.source import ConfigSource, Whole
from gateway.server import Listener, bind
from gateway.tls import Peer, Tls, peer_of
from support.door import call
from support.http_server import Wire, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAIT_S = 10.0


class Authority:
    """Signs certificates, into PEM files of a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._sign(self._name, self._key.public_key(), [], ca=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, file: str, *names: tuple[Any, str], uris: tuple[str, ...] = ()) -> None:
        """Write `file.crt` and `file.key`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in names])
        also: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        made = self._sign(subject, key.public_key(), [*also, x509.DNSName("localhost")])
        (self.folder / f"{file}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (self.folder / f"{file}.key").write_bytes(pem)

    def _sign(
        self, subject: x509.Name, key: Any, also: list[x509.GeneralName], *, ca: bool = False
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if also:
            builder = builder.add_extension(x509.SubjectAlternativeName(also), critical=False)
        return builder.sign(self._key, hashes.SHA256())


CN, ORG = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME
CONFIG = """
version: "1"
listen: 127.0.0.1:0
admin: none
state: memory
grace_s: 0
fast_path: {fast}
tls: {{certificate: server.crt, key: server.key, client_ca: ca.pem, client_certificates: optional}}
servers: {{s: {{url: "{url}", policy: allow.json}}}}
grants:
  - {{name: ci, certificate: {{spiffe: "spiffe://example.org/ns/ci/*"}}}}
  - {{name: cd, certificate: {{spiffe: "spiffe://example.org/ns/cd/*"}}, servers: {{s: deny.json}}}}
  - {{name: laptop, certificate: {{subject: "CN=laptop,O=Acme\\\\, Inc"}}}}
  - {{name: anyone, servers: {{s: deny.json}}}}
anonymous: anyone
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ours = Authority(tmp_path)
    ours.issue("server", (CN, "server"))
    ours.issue("ci", (CN, "x"), uris=("spiffe://example.org/ns/ci/build",))
    ours.issue("cd", (CN, "x"), uris=("spiffe://example.org/ns/cd/x",))
    ours.issue("laptop", (CN, "laptop"), (ORG, "Acme, Inc"))
    ours.issue("nobody", (CN, "ci"))
    ours.issue("two", (CN, "x"), uris=("spiffe://example.org/ns/ci/a", "spiffe://b/c"))
    Authority(tmp_path, "evil").issue("evil", (CN, "laptop"), (ORG, "Acme, Inc"))
    (tmp_path / "allow.json").write_text('{"version":"1","default":"allow"}')
    (tmp_path / "deny.json").write_text('{"version":"1","default":"deny"}')
    return tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(text)


class Sidecar:
    def __init__(self, folder: Path, gateway: Gateway, listener: Listener) -> None:
        self.folder = folder
        self.gateway = gateway
        self.listener = listener

    async def connect(self, who: str | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        if who is not None:
            context.load_cert_chain(self.folder / f"{who}.crt", self.folder / f"{who}.key")
        return await asyncio.open_connection(
            "127.0.0.1", self.listener.port, ssl=context, server_hostname="localhost"
        )

    async def say(
        self, who: str | None, *, fields: str = "", times: int = 1
    ) -> list[tuple[int, str]]:
        """Statuses and codes of calls on one connection."""
        reader, writer = await self.connect(who)
        try:
            return [await self._ask(reader, writer, fields) for _ in range(times)]
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fields: str
    ) -> tuple[int, str]:
        body = json.dumps(call("t"))
        writer.write(
            f"POST /mcp HTTP/1.1\r\nHost: localhost:{self.listener.port}\r\n{fields}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        async with asyncio.timeout(WAIT_S):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            told = json.loads(await reader.readexactly(length))
        result = told.get("result", told.get("error", {}).get("data"))
        decision = result.get("_meta", {}).get("interlock/decision", result)
        return int(head.split()[1]), str(decision.get("code"))


@asynccontextmanager
async def sidecar(folder: Path, *, fast: bool) -> AsyncIterator[Sidecar]:
    async def echo(wire: Wire) -> None:
        while True:
            request = await wire.request()
            id = json.loads(request.partition(b"\r\n\r\n")[2])["id"]
            await wire.answer(json.dumps({"jsonrpc": "2.0", "id": id, "result": {}}).encode())

    async with serving(echo) as server:
        config = folder / "interlock.yaml"
        write(config, CONFIG.format(url=server.url, fast=str(fast).lower()))
        source = ConfigSource(config, {})
        settings = source.load()
        gateway = Gateway(settings, table=LimitTable(), source=source)
        sock = bind(settings.listen)
        assert gateway.tls is not None
        port = gateway.fast_path(sock.getsockname()[:2])
        listener = Listener(gateway.data, sock, fast=port, tls=gateway.tls.context)
        await gateway.start()
        await listener.start()
        # The listener's own names are those of the port that was asked for.
        gateway._door._admission._listen_port = listener.port
        try:
            yield Sidecar(folder, gateway, listener)
        finally:
            gateway.drain()
            await listener.drain(0)
            await gateway.aclose(0)


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Any]]:
    factory = eventloop.factory() if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


@pytest.mark.parametrize("fast", [True, False])
def test_a_certificate_names_its_grant(
    run: Callable[[Any], Any], folder: Path, *, fast: bool
) -> None:
    async def main() -> None:
        async with sidecar(folder, fast=fast) as one:
            assert await one.say("ci", times=3) == [(200, "None")] * 3
            assert await one.say("laptop") == [(200, "None")]
            assert await one.say("cd", times=2) == [(200, "default-deny")] * 2
            assert await one.say(None) == [(200, "default-deny")], "anonymous"
            for stranger in ("nobody", "two"):
                assert await one.say(stranger) == [(401, "unauthenticated")], stranger
            counted = {route.grant: route.engine.counters() for route in one.gateway.routes()}
            assert {grant: sum(row[-1] for row in rows) for grant, rows in counted.items()} == {
                "ci": 3,
                "laptop": 1,
                "cd": 2,
                "anyone": 1,
            }

    run(main())


def test_a_certificate_of_another_authority_is_refused(
    run: Callable[[Any], Any], folder: Path
) -> None:
    async def main() -> None:
        async with sidecar(folder, fast=True) as one:
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await one.say("evil")

    run(main())


def test_clear_text_is_not_served(run: Callable[[Any], Any], folder: Path) -> None:
    async def main() -> None:
        async with sidecar(folder, fast=True) as one:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.listener.port)
            writer.write(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n")
            found = b""
            with suppress(ConnectionError):
                async with asyncio.timeout(WAIT_S):
                    found = await reader.read()
            assert b"HTTP/" not in found
            writer.close()

    run(main())


@pytest.mark.parametrize("fast", [True, False])
def test_a_change_of_grants_reaches_open_connections(
    run: Callable[[Any], Any], folder: Path, *, fast: bool
) -> None:
    async def main() -> None:
        async with sidecar(folder, fast=fast) as one:
            reader, writer = await one.connect("ci")
            body = json.dumps(call("t"))
            request = (
                f"POST /mcp HTTP/1.1\r\nHost: localhost:{one.listener.port}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            ).encode()

            async def status() -> int:
                writer.write(request)
                async with asyncio.timeout(WAIT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    await reader.readexactly(length)
                return int(head.split()[1])

            assert await status() == 200
            config = folder / "interlock.yaml"
            write(config, config.read_text().replace("ns/ci/*", "ns/other/*"))
            one.gateway.reload()
            assert await status() == 401
            writer.close()

    run(main())


def test_a_renewed_certificate_serves_from_the_next_handshake_on(
    run: Callable[[Any], Any], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with sidecar(folder, fast=True) as one:

            async def name() -> str:
                _, writer = await one.connect(None)
                found = writer.get_extra_info("peercert")
                writer.close()
                return peer_of(found).subject

            assert await name() == "CN=server"
            old = (folder / "ca.pem").read_bytes()
            Authority(folder, "new").issue("server", (CN, "renewed"))
            (folder / "ca.pem").write_bytes(old + (folder / "new.pem").read_bytes())
            one.gateway.reload()
            assert await name() == "CN=renewed"
            (folder / "server.key").write_bytes((folder / "ci.key").read_bytes())
            assert one.gateway.tls is not None
            one.gateway.reload()
            one.gateway.tls.renew()
            assert "the certificate in use stays" in caplog.text
            assert await name() == "CN=renewed"
            told = {one.what: one.error for one in one.gateway.reloads()}
            assert told["configuration"] is not None, "the files do not go together"
            assert told["certificate"] is not None
            Authority(folder, "newer").issue("server", (CN, "mended"))
            one.gateway.reload()
            assert not any(one.error for one in one.gateway.reloads())

    run(main())


def test_an_authority_of_clients_is_added_at_once_and_taken_away_by_a_restart(
    run: Callable[[Any], Any], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with sidecar(folder, fast=True) as one:
            one.gateway.reload()
            assert one.gateway.awaits_restart() == []
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await one.say("evil")
            old = (folder / "ca.pem").read_bytes()
            (folder / "ca.pem").write_bytes(old + (folder / "evil.pem").read_bytes())
            one.gateway.reload()
            assert one.gateway.awaits_restart() == []
            assert await one.say("evil") == await one.say("laptop") == [(200, "None")]
            (folder / "ca.pem").write_bytes(old)
            one.gateway.reload()
            assert one.gateway.awaits_restart() == ["tls.client_ca"]
            assert "next start only: tls.client_ca" in caplog.text
            assert await one.say("evil") == [(200, "None")]
            (folder / "ca.pem").write_bytes((folder / "evil.pem").read_bytes() + old)
            one.gateway.reload()
            assert one.gateway.awaits_restart() == [], "their order says nothing"

    run(main())


@pytest.mark.parametrize(
    ("certificate", "peer"),
    [
        ({}, Peer("", None)),
        (
            {"subject": ((("commonName", "a"),), (("organizationName", "b"), ("x", "c")))},
            Peer("CN=a,O=b,x=c", None),
        ),
        ({"subject": ((("commonName", "a,O=b"),),)}, Peer("CN=a\\,O\\=b", None)),
        ({"subjectAltName": (("URI", "spiffe://a/b"), ("DNS", "c"))}, Peer("", "spiffe://a/b")),
        ({"subjectAltName": (("URI", "https://a/b"),)}, Peer("", None)),
        ({"subjectAltName": (("DNS", "spiffe://a/b"),)}, Peer("", None)),
        ({"subjectAltName": (("URI", "spiffe://a"), ("URI", "spiffe://b"))}, Peer("", None)),
    ],
)
def test_who_a_certificate_says_it_is(certificate: dict[str, Any], peer: Peer) -> None:
    assert peer_of(certificate) == peer


def test_files_that_do_not_go_together_are_a_problem_before_a_port_opens(folder: Path) -> None:
    config = folder / "interlock.yaml"
    write(config, CONFIG.format(url="http://h/", fast="true"))
    (folder / "server.key").write_bytes((folder / "ci.key").read_bytes())
    (problem,) = Whole(config, {}, {}).problems
    assert (problem.at, problem.code) == ("/tls", "unreadable")
    write(config, CONFIG.format(url="http://h/", fast="true").replace(", client_ca: ca.pem", ""))
    ats = {problem.at for problem in Whole(config, {}, {}).problems}
    assert "/tls/client_certificates" in ats


def test_what_is_agreed_on(folder: Path) -> None:
    config = folder / "interlock.yaml"
    write(config, CONFIG.format(url="http://h/", fast="true"))
    settings = ConfigSource(config, {}).load()
    assert settings.tls is not None
    context = Tls(settings.tls).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_OPTIONAL
