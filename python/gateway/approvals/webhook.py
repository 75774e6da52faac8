"""Tells a receiver of the calls that wait for a person, signed as Standard Webhooks says.

INVARIANT: no call waits for a receiver or depends on one. Telling has a thread and a connection to
the store of its own; what it has not told is in the store, where the next process finds it.

A request is told by whoever takes it from the store, and by nobody else while that one tries. It is
told again only if its teller died before it could say so; its `webhook-id` is the same then.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import logging
import random
import socket
import ssl
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import orjson

from gateway.approvals.database import StoreError
from gateway.approvals.store import Approvals
from gateway.approvals.words import at

if TYPE_CHECKING:
    from gateway.approvals.settings import ApprovalSettings, WebhookSettings
    from gateway.approvals.store import Approval

DEADLINE_S = 15.0
"""For everything: to connect, to send, and to get the answer's status."""
LEASE_S = 60.0
"""After this long somebody else may tell it: more than one attempt takes."""
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 900.0
MOST_TELLINGS = 12
"""More than two hours of them; by then most requests have ended."""
LOOK_S = 1.0
"""How often it looks whether something waits to be told, which costs microseconds."""
GONE = 410
"""The receiver wants no more of it (Standard Webhooks)."""

_log = logging.getLogger("interlock.approvals")

Post = Callable[[str, bytes, Mapping[str, str]], int]
"""Sends a body to a URL; the status. OSError and ValueError are failures."""


def message(approval: Approval, *, include_arguments: bool) -> bytes:
    """What is told of a request.

    Without the arguments there is no digest of them either: few enough could be meant that the
    digest would say which.
    """
    wanted = approval.wanted
    data: dict[str, Any] = {
        "id": approval.id,
        "server": wanted.server,
        "grant": wanted.grant,
        "tool": wanted.tool,
        "rule": wanted.rule,
        "reason": wanted.reason,
        "policy": wanted.policy,
        "asked_at": at(approval.asked_at),
        "until": at(approval.until),
    }
    if include_arguments:
        # As it is, since numbers would lose their spelling on the way through a reader.
        data["arguments"] = orjson.Fragment(wanted.call)
    told = {"type": "approval.requested", "timestamp": at(approval.asked_at), "data": data}
    return orjson.dumps(told)


def signed(id: str, body: bytes, secret: bytes, now_s: float) -> dict[str, str]:
    """The fields that say who sends a message, and when (Standard Webhooks 1.0.0, symmetric).

    Args:
        id: of the message, the same whenever it is sent.
        secret: the key.
        now_s: when it is sent, in seconds since 1970 UTC.
    """
    stamp = str(int(now_s))
    mac = hmac.digest(secret, f"{id}.{stamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


@dataclass
class Teller:
    """Tells what waits in a store.

    Args:
        post: how a message is sent.
        draw: a random number from 0 to 1, by which tellers that failed at once do not try again
            at once.
        deliveries: how often the receiver was told, by what came of it.
    """

    store: Approvals
    webhook: WebhookSettings
    post: Post
    clock: Callable[[], float] = time.time
    draw: Callable[[], float] = random.random
    deliveries: Counter[str] = field(default_factory=Counter)
    _troubled: bool = field(default=False, init=False)

    def tell(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Try everything that is due, once.

        Raises:
            StoreError: the store cannot be used.
        """
        while not stopped():
            found = self.store.to_tell(self.clock(), lease_s=LEASE_S, most=MOST_TELLINGS)
            if found is None:
                return
            self._tell(found)

    def due(self) -> float | None:
        """When there is something to tell, in seconds since 1970 UTC; None for never."""
        return self.store.next_telling(MOST_TELLINGS)

    def _tell(self, found: Approval) -> None:
        body = message(found, include_arguments=self.webhook.include_arguments)
        head = signed(f"msg_{found.id}", body, self.webhook.secret, self.clock())
        try:
            status = self.post(self.webhook.url, body, head)
            failure = None if 200 <= status < 300 else f"it answered {status}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            status, failure = 0, _named(error)
        now_s = self.clock()
        if failure is None:
            self.store.told(found.id, now_s)
            self.deliveries["delivered"] += 1
            if self._troubled:
                _log.info("the receiver of approvals takes them again")
            self._troubled = False
            return
        last = status == GONE or found.tellings >= MOST_TELLINGS
        pause_s = min(FIRST_PAUSE_S * 2 ** (found.tellings - 1), LONGEST_PAUSE_S)
        later_s = found.until if last else now_s + pause_s * (0.5 + self.draw() / 2)
        self.store.tell_later(found.id, later_s, now_s)
        self.deliveries["given_up" if last else "failed"] += 1
        if last:
            _log.error("approval `%s` is not told any more: %s", found.id, failure)
        elif not self._troubled:
            _log.warning("approval `%s` is told later: %s", found.id, failure)
        self._troubled = True


def _named(error: Exception) -> str:
    """What went wrong, by its class: a message may quote the URL, in which secrets are common."""
    inner = error.reason if isinstance(error, URLError) else error
    return type(inner).__name__ if isinstance(inner, Exception) else type(error).__name__


@contextmanager
def telling(settings: ApprovalSettings, post: Post | None = None) -> Iterator[Mapping[str, int]]:
    """Tell what waits, in a thread, until this ends; nothing without a webhook.

    What it gives is how often the receiver was told, by what came of it, as that goes on.

    The thread is not waited for: what it is just telling is told again after the next start, if
    it did not come through.
    """
    webhook = settings.webhook
    deliveries: Counter[str] = Counter()
    if webhook is None:
        yield deliveries
        return
    stop = threading.Event()
    sender = post or Sender(webhook)
    teller = partial(Teller, webhook=webhook, post=sender, deliveries=deliveries)
    thread = threading.Thread(
        target=_tell_all, args=(settings, teller, stop), name="webhook", daemon=True
    )
    thread.start()
    try:
        yield deliveries
    finally:
        stop.set()
        thread.join(LOOK_S)


def _tell_all(
    settings: ApprovalSettings, teller: Callable[[Approvals], Teller], stop: threading.Event
) -> None:
    """Tell until stopped, whatever becomes of the store."""
    trouble = ""
    while not stop.is_set():
        try:
            store = Approvals(
                settings.path, pending_s=settings.pending_s, approved_s=settings.approved_s
            )
            try:
                _follow(teller(store), stop)
            finally:
                store.close()
        except StoreError as error:
            if str(error) != trouble:
                trouble = str(error)
                _log.error("approvals are not told: %s", trouble)
        except Exception:
            _log.exception("approvals are not told for a minute")
            stop.wait(LONGEST_PAUSE_S / 15)
        stop.wait(LOOK_S)


def _follow(teller: Teller, stop: threading.Event) -> None:
    while not stop.is_set():
        due = teller.due()
        if due is not None and due <= teller.clock():
            teller.tell(stop.is_set)
        stop.wait(LOOK_S)


class Sender:
    """Sends messages over HTTP or HTTPS, one at a time.

    TLS is verified, no redirect is followed, nothing of an answer is read but its status, and
    everything together has one deadline: a receiver that sends a byte now and then does not
    hold up the next message.
    """

    def __init__(self, webhook: WebhookSettings, deadline_s: float = DEADLINE_S) -> None:
        self._webhook = webhook
        self._deadline_s = deadline_s

    def __call__(self, url: str, body: bytes, head: Mapping[str, str]) -> int:
        cafile = None if self._webhook.ca_file is None else str(self._webhook.ca_file)
        line = _Line(self._deadline_s)
        local = urlsplit(url).scheme == "http"
        opener = urllib.request.build_opener(
            _Plain(line),
            _Private(line, ssl.create_default_context(cafile=cafile)),
            _NoRedirect(),
            # In the clear only to this machine, to which no proxy leads.
            *([urllib.request.ProxyHandler({})] if local else []),
        )
        fields = {"content-type": "application/json", "user-agent": "interlock", **head}
        request = urllib.request.Request(url, body, fields, method="POST")
        with line.cut():
            try:
                with opener.open(request, timeout=self._deadline_s) as answer:
                    return int(answer.status)
            except HTTPError as error:
                error.close()
                return error.code


class _Line:
    """The connection of one message, to be cut when its time is over."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._connection: http.client.HTTPConnection | None = None
        self._done = threading.Event()

    def opened(self, connection: http.client.HTTPConnection) -> http.client.HTTPConnection:
        """Remember it."""
        self._connection = connection
        return connection

    @contextmanager
    def cut(self) -> Iterator[None]:
        """End it when the time is over."""
        threading.Thread(target=self._guard, name="webhook-deadline", daemon=True).start()
        try:
            yield
        finally:
            self._done.set()

    def _guard(self) -> None:
        wait_s = self._deadline_s
        # Again and again: while TLS is agreed upon there is no socket to be had.
        while not self._done.wait(wait_s):
            wait_s = LOOK_S
            line = None if self._connection is None else self._connection.sock
            if line is not None:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def http_open(self, request: urllib.request.Request) -> Any:
        def connect(host: str, **options: Any) -> http.client.HTTPConnection:
            return self._line.opened(http.client.HTTPConnection(host, **options))

        return self.do_open(connect, request)


class _Private(urllib.request.HTTPSHandler):
    def __init__(self, line: _Line, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._line = line
        self._private = context

    def https_open(self, request: urllib.request.Request) -> Any:
        def connect(host: str, **options: Any) -> http.client.HTTPConnection:
            return self._line.opened(http.client.HTTPSConnection(host, **options))

        return self.do_open(connect, request, context=self._private)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None
