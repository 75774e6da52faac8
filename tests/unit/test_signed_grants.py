"""The grants that tokens are found to be, and what is remembered of them."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.identity import GrantIdentity, Known
from gateway.settings import GrantSettings, JwtSettings, Settings, TokenSettings
from gateway.signed import (
    FRESH_S,
    LEEWAY_S,
)
from support.issuer import AT, NOW, Issuer, forged, settings, token
from support.issuer import our_clock as our_clock

if TYPE_CHECKING:
    import pytest


def identity(issuer: Issuer, *jwts: JwtSettings, **more: Any) -> GrantIdentity:
    found = GrantIdentity(of(*jwts, **more), clock=lambda: issuer.now)
    found._verifier = issuer.verifier(*jwts)
    return found


def of(*jwts: JwtSettings, **more: Any) -> Settings:
    grants = [
        GrantSettings(name=f"g{index}", jwt=one) for index, one in enumerate(jwts or (settings(),))
    ]
    more.setdefault("anonymous", None)
    return Settings(servers=(), grants=tuple(grants), **more)


def asked(found: GrantIdentity, text: str) -> Known | None:
    fields = {b"authorization": b"Bearer " + text.encode()}
    return asyncio.run(found.identify(fields, {}))


def test_a_verified_token_is_remembered_and_told() -> None:
    issuer = Issuer()
    known = identity(issuer)
    told: list[Any] = []
    known.learned = lambda *what: told.append(what)
    text = token()
    digest = hashlib.sha256(text.encode()).digest()
    assert asked(known, text) == asked(known, text) == Known("g0", digest)
    assert told == [(digest, "g0", NOW + FRESH_S)], "once"
    assert known.tokens == [(digest, "g0", NOW + FRESH_S)]
    issuer.now += FRESH_S
    assert asked(known, text) is not None
    assert len(told) == 2
    short = token(exp=issuer.now + 10)
    AT[0] = issuer.now
    assert asked(known, short) is not None
    assert told[-1][2] == issuer.now + 10 + LEEWAY_S


def test_a_remembered_token_ends_with_its_key_its_end_or_its_grant() -> None:
    issuer = Issuer()
    known = identity(issuer)
    mine = asked(known, token())
    assert mine is not None
    assert known.holds(mine)
    issuer.now += 600 + LEEWAY_S - 1
    assert known.holds(mine), "verified long ago, and not over"
    issuer.now += 1
    assert not known.holds(mine)
    issuer.now = NOW
    known.install(of(settings()))
    assert known.holds(mine), "nothing of it has changed"
    known.install(of(settings(audience=("other",))))
    assert not known.holds(mine)
    assert known.tokens == []


def test_a_bad_signed_token_is_never_anonymous() -> None:
    issuer = Issuer()
    known = identity(issuer, anonymous="g0")
    assert asked(known, forged({"alg": "none"})) is None
    assert asyncio.run(known.identify({}, {})) == Known("g0")


def test_an_oversized_token_is_not_looked_at() -> None:
    issuer = Issuer()
    assert asked(identity(issuer), token(pad="x" * 8192)) is None
    assert issuer.asked == []


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.identity.MAX_SIGNED", 3)
    known = identity(Issuer())
    for number in range(5):
        assert asked(known, token(jti=str(number))) is not None
    assert len(known.tokens) == 3


def test_both_kinds_of_token_live_side_by_side() -> None:
    issuer = Issuer()
    found = of(settings())
    opaque = GrantSettings(name="o", tokens=(TokenSettings(sha256=hashlib.sha256(b"x").digest()),))
    known = GrantIdentity(replace(found, grants=(*found.grants, opaque)), clock=lambda: NOW)
    known._verifier = issuer.verifier()
    assert asked(known, "x") == Known("o", hashlib.sha256(b"x").digest())
    mine = asked(known, token())
    assert mine is not None
    assert mine.grant == "g0"
