"""Whoever should be told of an approval is told once, signed, and holds up nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import http.server
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.approvals.settings import ApprovalSettings, WebhookSettings
from gateway.approvals.store import Approvals, State, Wanted
from gateway.approvals.webhook import (
    LEASE_S,
    MOST_TELLINGS,
    Sender,
    Teller,
    message,
    signed,
    telling,
)
from support.serving import Quiet, serving
from unit.test_tls import CN, Authority

NOON = 1_772_452_800.0
SECRET = b"0123456789abcdef0123456789abcdef"
HOOK = WebhookSettings(url="https://h/T0K", secret=SECRET)
WANTED = Wanted(
    digest=b"d" * 32, server="bank", grant="laptop", tool="pay", rule="/tools/pay/action",
    reason="money", policy="ab" * 32, call='{"iban":"DE02","sum":1.10}',
)  # fmt: skip


@dataclass
class Receiver:
    """Answers what it is told to, and keeps what came."""

    answers: list[int | Exception] = field(default_factory=list)
    came: list[tuple[str, bytes, Mapping[str, str]]] = field(default_factory=list)

    def __call__(self, url: str, body: bytes, head: Mapping[str, str]) -> int:
        self.came.append((url, body, head))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Clock:
    now: float = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Approvals]:
    store = Approvals(tmp_path / "a.db", pending_s=36_000, approved_s=30)
    yield store
    store.close()


def teller(store: Approvals, receiver: Receiver, clock: Clock, hook: Any = HOOK) -> Teller:
    return Teller(store, hook, receiver, clock, draw=lambda: 1.0)


def test_the_signature_is_that_of_the_published_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    head = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', key, 1614265330)
    assert head["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert head["webhook-timestamp"] == "1614265330"


def test_a_request_is_told_once_and_signed(store: Approvals) -> None:
    asked = store.ask(WANTED, NOON)
    receiver, clock = Receiver(), Clock(NOON + 3)
    both = [teller(store, receiver, clock), teller(store, receiver, clock)]
    for each in both:
        each.tell()
    store.ask(WANTED, NOON + 4)
    both[0].tell()
    ((url, body, head),) = receiver.came
    assert url == HOOK.url
    said = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(SECRET, said, hashlib.sha256).digest()).decode()
    assert head["webhook-signature"] == f"v1,{mac}"
    assert head["webhook-timestamp"] == str(int(NOON + 3))
    told = json.loads(body)
    assert told["type"] == "approval.requested"
    assert told["data"]["id"] == asked.id
    assert told["data"]["until"] == "2026-03-02T22:00:00Z"
    found = store.get(asked.id, NOON + 5)
    assert found is not None
    assert found.told_at == NOON + 3
    assert both[0].due() is None


def test_arguments_are_sent_only_if_asked_for(store: Approvals) -> None:
    asked = store.ask(WANTED, NOON)
    without = message(asked, include_arguments=False)
    assert b"DE02" not in without
    assert WANTED.digest.hex().encode() not in without
    whole = message(asked, include_arguments=True)
    assert b'"arguments":{"iban":"DE02","sum":1.10}' in whole, "numbers as they were spelt"
    assert json.loads(whole)["data"]["arguments"]["iban"] == "DE02"


def test_a_receiver_that_is_down_is_tried_again_later_and_later(store: Approvals) -> None:
    store.ask(WANTED, NOON)
    receiver, clock = Receiver([500, ConnectionRefusedError(), 301, 200]), Clock()
    one = teller(store, receiver, clock)
    pauses = []
    while (due := one.due()) is not None:
        pauses.append(max(0, due - clock.now))
        clock.now = max(clock.now, due)
        one.tell()
    assert pauses == [0, 5, 10, 20]
    assert one.deliveries == {"failed": 3, "delivered": 1}
    assert len({head["webhook-id"] for _, _, head in receiver.came}) == 1
    assert [head["webhook-timestamp"] for _, _, head in receiver.came] == [
        str(int(NOON + after)) for after in (0, 5, 15, 35)
    ]


def test_pauses_differ_among_tellers(store: Approvals) -> None:
    store.ask(WANTED, NOON)
    one = Teller(store, HOOK, Receiver([500]), Clock(), draw=lambda: 0.0)
    one.tell()
    assert one.due() == NOON + 2.5


def test_it_is_given_up_after_so_many_times(
    store: Approvals, caplog: pytest.LogCaptureFixture
) -> None:
    store.ask(WANTED, NOON)
    receiver, clock = Receiver([500] * 100), Clock()
    one = teller(store, receiver, clock)
    for _ in range(100):
        if (due := one.due()) is None:
            break
        clock.now = max(clock.now, due)
        one.tell()
    assert len(receiver.came) == MOST_TELLINGS
    assert one.deliveries == {"failed": MOST_TELLINGS - 1, "given_up": 1}
    assert "not told any more: it answered 500" in caplog.text
    assert "T0K" not in caplog.text


def test_a_receiver_that_is_gone_is_not_tried_again(store: Approvals) -> None:
    asked = store.ask(WANTED, NOON)
    receiver = Receiver([410])
    one = teller(store, receiver, Clock())
    one.tell()
    assert one.due() == asked.until, "and then it has ended"
    assert one.deliveries == {"given_up": 1}


def test_what_has_been_decided_is_not_told(store: Approvals) -> None:
    asked = store.ask(WANTED, NOON)
    store.decide(asked.id, approve=True, by="ann", remark=None, now_s=NOON)
    receiver = Receiver()
    teller(store, receiver, Clock()).tell()
    assert receiver.came == []


def test_a_teller_that_died_is_stood_in_for(store: Approvals) -> None:
    store.ask(WANTED, NOON)

    class DeathError(BaseException):
        pass

    def die(url: str, body: bytes, head: Mapping[str, str]) -> int:
        raise DeathError

    with pytest.raises(DeathError):
        Teller(store, HOOK, die, Clock()).tell()
    receiver, clock = Receiver(), Clock()
    other = teller(store, receiver, clock)
    other.tell()
    assert receiver.came == [], "the first one might still be at it"
    clock.now += LEASE_S
    other.tell()
    assert len(receiver.came) == 1


def test_of_many_tellers_one_tells(store: Approvals) -> None:
    for number in range(10):
        store.ask(replace(WANTED, digest=bytes([number]) * 32), NOON)
    receiver = Receiver()
    others = [Approvals(store.path) for _ in range(6)]
    start = threading.Barrier(6)

    def race(mine: Approvals) -> None:
        start.wait()
        teller(mine, receiver, Clock()).tell()

    threads = [threading.Thread(target=race, args=[each]) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [head["webhook-id"] for _, _, head in receiver.came]
    assert len(ids) == len(set(ids)) == 10
    for each in others:
        each.close()


def test_what_was_not_told_is_told_after_a_restart(tmp_path: Path) -> None:
    settings = ApprovalSettings(path=tmp_path / "a.db", webhook=HOOK)
    with closing(Approvals(settings.path)) as store:
        store.ask(WANTED, time.time())
    came = threading.Event()

    def post(url: str, body: bytes, head: Mapping[str, str]) -> int:
        came.set()
        return 200

    with telling(settings, post):
        assert came.wait(20)
    with telling(replace(settings, webhook=None), post) as deliveries:
        assert deliveries == {}


def test_a_store_that_cannot_be_had_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"no database at all " * 100)
    path.chmod(0o600)
    came, trouble = threading.Event(), threading.Event()

    def post(url: str, body: bytes, head: Mapping[str, str]) -> int:
        came.set()
        return 200

    def noticed(record: Any) -> bool:
        trouble.set()
        return True

    log = logging.getLogger("interlock.approvals")
    log.addFilter(noticed)
    try:
        with telling(ApprovalSettings(path=path, webhook=HOOK), post):
            assert trouble.wait(20)
            path.unlink()
            with closing(Approvals(path)) as store:
                store.ask(WANTED, time.time())
            assert came.wait(20)
    finally:
        log.removeFilter(noticed)
    assert "approvals are not told" in caplog.text


# What goes over the wire.


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def listening(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A receiver on loopback; its port."""

    class Handler(Quiet):
        def do_POST(self) -> None:
            answer(self)

        do_GET = do_POST

    with serving(Handler, tls=tls) as port:
        yield port


def test_what_is_sent_arrives_as_it_is() -> None:
    came: list[Any] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["content-length"])
        came.append((handler.path, handler.headers, handler.rfile.read(length)))
        handler.send_response(204)
        handler.end_headers()

    with listening(answer) as port:
        head = signed("msg_1", b"{}", SECRET, NOON)
        assert Sender(HOOK)(f"http://127.0.0.1:{port}/hook?a=1", b"{}", head) == 204
    ((path, headers, body),) = came
    assert (path, body) == ("/hook?a=1", b"{}")
    assert headers["content-type"] == "application/json"
    assert headers["webhook-signature"] == head["webhook-signature"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    paths: list[str] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        paths.append(handler.path)
        handler.send_response(status)
        handler.send_header("location", "/elsewhere")
        handler.end_headers()

    with listening(answer) as port:
        assert Sender(HOOK)(f"http://127.0.0.1:{port}/", b"{}", {}) == status
    assert paths == ["/"]


def test_no_proxy_hears_what_is_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()

    with listening(answer) as port:
        assert Sender(HOOK)(f"http://127.0.0.1:{port}/", b"{}", {}) == 200


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"H", None),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nA: ", 200),
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
    ],
)
def test_a_receiver_that_never_ends_its_answer_is_left(said: bytes, status: int | None) -> None:
    """Not even one that always says a little more, so that no single read takes long. A status that
    was said counts."""
    over = threading.Event()

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            while not over.wait(0.02):
                handler.wfile.write(said)
                handler.wfile.flush()

    found = None
    with listening(answer) as port:
        try:
            with suppress(OSError, http.client.HTTPException):
                found = Sender(HOOK, deadline_s=0.3)(f"http://127.0.0.1:{port}/", b"{}", {})
        finally:
            over.set()
    assert found == status


def test_nobody_there_is_a_failure() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="refused"):
            Sender(HOOK)(f"http://127.0.0.1:{taken.getsockname()[1]}/", b"{}", {})


def test_a_receiver_must_be_who_it_says(tmp_path: Path) -> None:
    Authority(tmp_path).issue("server", (CN, "server"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()

    with listening(answer, server) as port:
        url = f"https://localhost:{port}/"
        with pytest.raises(OSError, match="certificate verify failed"):
            Sender(HOOK)(url, b"{}", {})
        assert Sender(replace(HOOK, ca_file=tmp_path / "ca.pem"))(url, b"{}", {}) == 200


def test_a_store_of_before_has_nothing_to_tell(store: Approvals) -> None:
    assert teller(store, Receiver(), Clock()).due() is None
    assert store.all(NOON, State.PENDING) == []
