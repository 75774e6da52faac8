"""Reading a request's body within bounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.denial import Refused
from gateway.downstream.body import BodyBounds, ClientGone, read_body
from support.door import run

if TYPE_CHECKING:
    from gateway.asgi import Message, Receive


def pieces(*bodies: bytes, ends: bool = True) -> Receive:
    """A client that sends these pieces, and then nothing more."""
    waiting = list(bodies)

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting) or not ends}

    return receive


def refusal(bounds: BodyBounds, receive: Receive) -> int:
    with pytest.raises(Refused) as refused:
        run(read_body(receive, bounds))
    assert refused.value.close
    return refused.value.answer[0]


def test_a_body_in_pieces_is_one() -> None:
    assert run(read_body(pieces(b"a", b"", b"bc"), BodyBounds(max_bytes=3))) == b"abc"
    assert run(read_body(pieces(b""), BodyBounds())) == b""


def test_a_body_over_the_bound() -> None:
    assert refusal(BodyBounds(max_bytes=3), pieces(b"ab", b"cd", b"e")) == 413


def test_a_body_that_stops_coming() -> None:
    slow = BodyBounds(grace_s=0.01, min_bytes_per_s=10**9)
    assert refusal(slow, pieces(b"ab", ends=False)) == 408
    assert refusal(BodyBounds(deadline_s=0.01), pieces(b"ab", ends=False)) == 408


def test_how_long_a_body_may_take() -> None:
    bounds = BodyBounds()
    assert bounds.allowance_s(0) == 5
    assert bounds.allowance_s(1024) == 6
    assert bounds.allowance_s(1 << 20) == 30


def test_a_client_that_leaves() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        run(read_body(receive, BodyBounds()))
