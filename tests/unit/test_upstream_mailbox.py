"""The queue between a child and one answer."""

import asyncio

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.mailbox import Mailbox
from support.stdio import breathe, run


@pytest.mark.parametrize(("bounds", "taken"), [({"lines": 3}, 3), ({"size": 10}, 2)])
def test_it_is_bounded_by_number_and_by_size(bounds, taken):
    box = Mailbox(**bounds)
    assert [box.offer(b"12345") for _ in range(5)].count(True) == taken


def test_a_message_longer_than_the_bound_passes_alone():
    box = Mailbox(size=10)
    assert box.offer(b"x" * 100)
    assert not box.offer(b"x")


def test_the_last_message_always_has_room_and_nothing_follows():
    async def scenario():
        box = Mailbox(lines=1)
        assert box.offer(b"a")
        box.finish(b"z", status=404)
        assert not box.offer(b"b")
        box.finish(b"y")
        box.fail(UpstreamError("reset", "no", sent=True))
        assert await box.next() == (b"a", False)
        assert await box.next() == (b"z", True)
        assert box.status == 404

    run(scenario())


def test_an_error_comes_after_what_is_held():
    async def scenario():
        box = Mailbox()
        box.offer(b"a")
        box.fail(UpstreamError("reset", "no", sent=True))
        assert await box.next() == (b"a", False)
        with pytest.raises(UpstreamError):
            await box.next()

    run(scenario())


def test_a_delivery_waits_for_room_and_gives_up_with_the_reader():
    async def scenario():
        box = Mailbox(lines=1)
        assert await box.deliver(b"a")
        second, third = (asyncio.ensure_future(box.deliver(line)) for line in (b"b", b"c"))
        await breathe()
        assert not second.done()
        assert await box.next() == (b"a", False)
        assert await second
        box.discard()
        assert not await third
        assert await box.next() == (None, True)

    run(scenario())
