"""Who asks."""

from __future__ import annotations

from gateway.identity import Callers, Known
from support.door import Rig, call, run


def test_callers_are_made_once() -> None:
    callers = Callers(2)
    first = callers.get("g", "s")
    assert callers.get("g", "s") is first
    session = callers.get("g", "s", "id", 20250326)
    assert (session.session, session.revision) == ("id", "2025-03-26")
    assert callers.get("g", "s") is first
    callers.get("g", "s", "other")
    assert callers.get("g", "s") is first, "the least used goes first"
    assert callers.get("g", "s", "id", 20250326) is not session


def test_nobody_is_challenged() -> None:
    class Nobody:
        async def identify(self, *_: object) -> None:
            return None

    async def main() -> None:
        rig = Rig()
        rig.door.identity = Nobody()
        reply = await rig.client.post(call("t"))
        assert (reply.status, reply.code) == (401, "unauthenticated")
        assert reply.header(b"www-authenticate") == b"Bearer"
        assert rig.upstream.seen == []

    run(main())


def test_a_grant_without_a_policy_may_do_nothing() -> None:
    class Stranger:
        async def identify(self, *_: object) -> Known:
            return Known("stranger")

    async def main() -> None:
        rig = Rig()
        rig.door.identity = Stranger()
        for reply in (await rig.client.post(call("t")), await rig.client.request("GET")):
            assert (reply.status, reply.code) == (403, "no-policy")
        assert rig.upstream.seen == []

    run(main())
