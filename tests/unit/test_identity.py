"""Who asks."""

from __future__ import annotations

from gateway.identity import AnonymousIdentity, Callers
from support.door import Rig, call, run


def test_everyone_is_the_same_grant_whatever_they_claim() -> None:
    identity = AnonymousIdentity("g")
    assert identity.identify({}) == identity.identify({b"authorization": b"Bearer x"}) == "g"


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
        def identify(self, _: object) -> None:
            return None

    async def main() -> None:
        rig = Rig()
        rig.door._identity = Nobody()
        reply = await rig.client.post(call("t"))
        assert (reply.status, reply.code) == (401, "unauthenticated")
        assert reply.header(b"www-authenticate") == b"Bearer"
        assert rig.upstream.seen == []

    run(main())


def test_a_grant_without_a_policy_may_do_nothing() -> None:
    class Stranger:
        def identify(self, _: object) -> str:
            return "stranger"

    async def main() -> None:
        rig = Rig()
        rig.door._identity = Stranger()
        for reply in (await rig.client.post(call("t")), await rig.client.request("GET")):
            assert (reply.status, reply.code) == (403, "no-policy")
        assert rig.upstream.seen == []

    run(main())
