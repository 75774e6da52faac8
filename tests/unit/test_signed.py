"""Grants by signed tokens: which are known, and every trick that is not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.identity import GrantIdentity, Known
from gateway.pattern import matches
from gateway.settings import GrantSettings, JwtSettings, Settings, TokenSettings
from gateway.signed import (
    COOL_S,
    FRESH_S,
    LEEWAY_S,
    MAX_DOCUMENT_BYTES,
    STALE_S,
    Unfit,
    Verifier,
    fetch_document,
    read_keys,
)
from support.serving import Quiet, serving

ISSUER = "https://issuer.example"
RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)
EC = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
NOW = 1_700_000_000.0


def jwk(key: Any, kid: str | None, **more: str) -> dict[str, Any]:
    kinds: dict[type, Any] = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    (made,) = [kind for base, kind in kinds.items() if isinstance(key, base)]
    found: dict[str, Any] = json.loads(made.to_jwk(key.public_key()))
    found.pop("key_ops", None)
    return found | ({} if kid is None else {"kid": kid}) | more


def keys(*listed: dict[str, Any]) -> bytes:
    return json.dumps({"keys": listed}).encode()


KEYS = keys(jwk(RSA, "r"), jwk(EC, "e"), jwk(ED, "d"), jwk(OTHER, "o", alg="RS512"))


def settings(**more: Any) -> JwtSettings:
    base: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": ("interlock",),
        "jwks_url": f"{ISSUER}/keys",
    }
    return JwtSettings(**{**base, **more})


def token(
    key: Any = RSA, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **claims: Any
) -> str:
    said = {"iss": ISSUER, "aud": "interlock", "sub": "s", "exp": NOW + 600, **claims}
    said = {name: value for name, value in said.items() if value is not None}
    head = {"kid": "r", **(headers or {})}
    head = {name: value for name, value in head.items() if value is not None}
    return jwt.encode(said, key, algorithm, headers=head)


class Issuer:
    """Publishes keys, counts who asks, and fails when it is told to."""

    def __init__(self, document: bytes = KEYS) -> None:
        self.documents: dict[str, bytes] = {f"{ISSUER}/keys": document}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.fails = False
        self.now = NOW

    def __call__(self, url: str, settings: JwtSettings) -> bytes:
        self.asked.append((url, dict(settings.headers)))
        if self.fails:
            raise OSError("down")
        return self.documents[url]

    def verifier(self, *jwts: JwtSettings) -> Verifier:
        grants = [
            GrantSettings(name=f"g{index}", jwt=one)
            for index, one in enumerate(jwts or (settings(),))
        ]
        return Verifier(grants, clock=lambda: self.now, fetch=self)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyJWT reads a clock of its own: have it be ours."""
    import datetime as real

    class At(real.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.fromtimestamp(AT[0], tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", At)
    AT[0] = NOW


AT = [NOW]


def who(verifier: Verifier, text: str) -> str | None:
    try:
        return asyncio.run(verifier.verify(text)).grant
    except Unfit:
        return None


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA, "RS256", "r"), (RSA, "PS256", "r"), (EC, "ES256", "e"), (ED, "EdDSA", "d"),
     (OTHER, "RS512", "o")],
)  # fmt: skip
def test_a_good_token_is_its_grants(key: Any, algorithm: str, kid: str) -> None:
    verifier = Issuer().verifier()
    found = asyncio.run(verifier.verify(token(key, algorithm, {"kid": kid})))
    assert (found.grant, found.until) == ("g0", NOW + 600 + LEEWAY_S)


def test_several_grants_of_one_issuer_are_told_apart() -> None:
    issuer = Issuer()
    verifier = issuer.verifier(
        settings(subject="system:serviceaccount:ci:*"),
        settings(subject="system:serviceaccount:cd:*"),
        settings(subject="x", audience=("a", "b"), claims={"groups": "admins", "staff": True}),
    )
    assert who(verifier, token(sub="system:serviceaccount:ci:build")) == "g0"
    assert who(verifier, token(sub="system:serviceaccount:cd:x")) == "g1"
    good = {"sub": "x", "aud": ["z", "b"], "groups": ["users", "admins"], "staff": True}
    assert who(verifier, token(**good)) == "g2"
    for change in (
        *({"aud": "z"}, {"groups": "users"}, {"groups": None}, {"staff": 1}, {"staff": "true"}),
        *({"sub": "xx"}, {"sub": None}, {"groups": ["admins2"]}),
    ):
        assert who(verifier, token(**{**good, **change})) is None, change
    assert len(issuer.asked) == 1


def test_a_token_that_several_grants_claim_is_nobodys() -> None:
    verifier = Issuer().verifier(settings(subject="a*"), settings(subject="*b"))
    assert [who(verifier, token(sub=sub)) for sub in ("ax", "xb", "ab")] == ["g0", "g1", None]


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"aud": None},
        {"aud": []},
        {"aud": "interlock2"},
        {"iss": "https://issuer.example/"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": None},
        {"exp": NOW - LEEWAY_S - 1},
        {"exp": "soon"},
        {"exp": 1e400},
        {"nbf": NOW + LEEWAY_S + 5},
        {"iat": "x"},
    ],
    ids=str,
)
def test_a_token_that_says_something_else_is_nobodys(claims: dict[str, Any]) -> None:
    assert who(Issuer().verifier(), token(**claims)) is None


def test_clocks_may_be_a_little_apart() -> None:
    verifier = Issuer().verifier()
    assert who(verifier, token(exp=NOW - LEEWAY_S + 5, nbf=NOW + LEEWAY_S - 5)) == "g0"


def part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def forged(header: dict[str, Any], signature: Callable[[bytes], bytes] = lambda _: b"") -> str:
    claims = {"iss": ISSUER, "aud": "interlock", "sub": "s", "exp": NOW + 600}
    said = f"{part(header)}.{part(claims)}"
    signed = base64.urlsafe_b64encode(signature(said.encode())).rstrip(b"=").decode()
    return f"{said}.{signed}"


PUBLIC = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def mac(key: bytes) -> Callable[[bytes], bytes]:
    return lambda said: hmac.new(key, said, hashlib.sha256).digest()


FORGED: dict[str, str] = {
    "alg none": forged({"alg": "none"}),
    "alg None": forged({"alg": "None", "kid": "r"}),
    "no alg": forged({"kid": "r"}),
    "alg a list": forged({"alg": ["RS256"], "kid": "r"}),
    "none and a signature": forged({"alg": "none", "kid": "r"}, lambda _: b"x" * 256),
    "the public key as a secret": forged({"alg": "HS256", "kid": "r"}, mac(PUBLIC)),
    "the modulus as a secret": forged(
        {"alg": "HS256", "kid": "r"}, mac(jwk(RSA, "r")["n"].encode())
    ),
    "an empty secret": forged({"alg": "HS256", "kid": ""}, mac(b"")),
    "no signature": forged({"alg": "RS256", "kid": "r"}),
    "another's signature": token(OTHER),
    "a key that is not there": token(headers={"kid": "nobody"}),
    "another kind of key": token(EC, "ES256", {"kid": "r"}),
    "an algorithm that the key is not for": token(OTHER, "RS256", {"kid": "o"}),
    "a longer curve": token(P384, "ES384", {"kid": "e"}),
    "kid a path": token(headers={"kid": "../../../../dev/null"}),
    "kid a place": token(headers={"kid": "https://evil.example/keys"}),
    "kid a statement": token(headers={"kid": "r' OR '1'='1"}),
    "kid huge": token(headers={"kid": "r" * 300}),
    "kid a number": forged({"alg": "RS256", "kid": 1}),
    "its own key": token(OTHER, headers={"jwk": jwk(OTHER, "r"), "kid": "r"}),
    "its own place": token(OTHER, headers={"jku": "https://evil.example/keys", "kid": "r"}),
    "its own certificate": token(OTHER, headers={"x5u": "https://evil.example", "kid": "r"}),
    "crit": token(headers={"crit": ["exp"], "exp": 1}),
    "crit unknown": token(headers={"crit": ["x"], "x": 1}),
    "an unencoded payload": token(headers={"b64": False, "crit": ["b64"]}),
    "two parts": token().rpartition(".")[0],
    "five parts": token() + ".x.y",
    "no parts": "x",
    "an empty token": "..",
    "not base64": "!.!.!",
    "not JSON": ".".join([base64.urlsafe_b64encode(b"{").decode().rstrip("=")] * 3),
    "a header that is a list": f"{part([1])}.{part({})}.x",
    "claims that are a list": f"{part({'alg': 'RS256'})}.{part([1])}.x",
    "a very deep header": base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=") + ".e30.x",
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
def test_a_forged_token_is_nobodys(text: str) -> None:
    issuer = Issuer()
    assert who(issuer.verifier(), text) is None
    assert {url for url, _ in issuer.asked} <= {f"{ISSUER}/keys"}


def test_only_allowed_algorithms_count() -> None:
    verifier = Issuer().verifier(settings(algorithms=("ES256",)))
    assert who(verifier, token()) is None
    assert who(verifier, token(EC, "ES256", {"kid": "e"})) == "g0"


def test_a_token_without_a_key_s_name_needs_a_key_that_is_the_only_one() -> None:
    text = token(headers={"kid": None})
    assert who(Issuer(keys(jwk(RSA, "r"), jwk(EC, "e"))).verifier(), text) == "g0"
    assert who(Issuer(keys(jwk(RSA, "r"), jwk(OTHER, "o"))).verifier(), text) is None


def test_which_keys_count() -> None:
    private = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA))
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}
    listed = [jwk(RSA, "r"), jwk(WEAK, "w"), private, secret, {"kty": "RSA"}, 1, {}]
    listed += [jwk(EC, "e", use="enc"), jwk(P384, "p")]
    assert [key.kid for key in read_keys(keys(*listed))] == ["r", "p"]  # type: ignore[arg-type]
    for bad in (b"", b"[]", b"{}", b'{"keys":{}}', keys(*[secret] * 101), b" " * 300_000):
        with pytest.raises(ValueError, match=r".*"):
            read_keys(bad)


def test_keys_are_kept_and_fetched_anew() -> None:
    issuer = Issuer(keys(jwk(RSA, "r")))
    verifier = issuer.verifier()
    for _ in range(3):
        assert who(verifier, token()) == "g0"
    assert len(issuer.asked) == 1
    issuer.documents[f"{ISSUER}/keys"] = keys(jwk(OTHER, "n"))
    fresh = token(OTHER, headers={"kid": "n"})
    assert who(verifier, fresh) is None, "not so soon after the last fetch"
    issuer.now += COOL_S
    assert who(verifier, fresh) == "g0"
    assert who(verifier, token()) is None, "the old key is gone"
    for number in range(100):
        assert who(verifier, token(headers={"kid": str(number)})) is None
    assert len(issuer.asked) == 2, "unknown names do not make us ask and ask"
    issuer.now += FRESH_S
    assert who(verifier, fresh) == "g0"
    assert len(issuer.asked) == 3


def test_without_keys_nobody_is_known(caplog: pytest.LogCaptureFixture) -> None:
    issuer = Issuer()
    issuer.fails = True
    verifier = issuer.verifier()
    assert who(verifier, token()) is None
    assert "the keys of `https://issuer.example` cannot be had: down" in caplog.text
    issuer.fails = False
    issuer.now += COOL_S
    assert who(verifier, token()) == "g0"
    issuer.fails = True
    issuer.now += STALE_S - COOL_S
    assert who(verifier, token()) == "g0", "the last keys count for a while"
    issuer.now += COOL_S + 1
    assert who(verifier, token()) is None
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_an_issuer_is_asked_where_its_keys_are() -> None:
    issuer = Issuer()
    place = f"{ISSUER}/.well-known/openid-configuration"
    secret = {"Authorization": "Bearer c4n4ry"}
    verifier = issuer.verifier(settings(jwks_url=None, headers=secret))
    issuer.documents["https://keys.example/k"] = KEYS
    for told in (
        *({}, {"issuer": "https://evil.example", "jwks_uri": "https://keys.example/k"}),
        *({"issuer": ISSUER}, {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}),
        *({"issuer": ISSUER, "jwks_uri": "http://keys.example/k"}, []),
    ):
        issuer.documents[place] = json.dumps(told).encode()
        assert who(verifier, token()) is None, told
        issuer.now += COOL_S
    issuer.documents[place] = json.dumps(
        {"issuer": ISSUER, "jwks_uri": "https://keys.example/k"}
    ).encode()
    assert who(verifier, token()) == "g0"
    assert issuer.asked[-2:] == [(place, secret), ("https://keys.example/k", {})]


def test_keys_of_a_file_are_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(keys(jwk(RSA, "r")))
    verifier = Issuer().verifier(settings(jwks_url=None, jwks_file=path))
    assert who(verifier, token()) == "g0"
    new = tmp_path / "new"
    new.write_bytes(keys(jwk(OTHER, "n")))
    new.replace(path)
    assert who(verifier, token()) is None
    assert who(verifier, token(OTHER, headers={"kid": "n"})) == "g0"
    path.unlink()
    assert who(verifier, token(OTHER, headers={"kid": "n"})) is None


def test_a_document_is_fetched_in_one_step_and_bounded() -> None:
    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send_response(302 if self.path == "/elsewhere" else 200)
            self.send_header("location", "/keys")
            self.end_headers()
            self.wfile.write(b"x" * (MAX_DOCUMENT_BYTES + 1) if self.path == "/large" else b"{}")

    with serving(Handler) as port:
        base = f"http://127.0.0.1:{port}"
        assert fetch_document(f"{base}/keys", settings()) == b"{}"
        with pytest.raises(ValueError, match="too large"):
            fetch_document(f"{base}/large", settings())
        with pytest.raises(OSError, match="302"):
            fetch_document(f"{base}/elsewhere", settings())


@pytest.mark.parametrize(
    ("pattern", "text", "holds"),
    [
        *(("a", "a", True), ("a", "ab", False), ("*", "", True), ("a*", "a", True)),
        *(("a*b", "ab", True), ("a*a", "a", False), ("a*b*c", "axbyc", True)),
        *(("a*b*c", "acb", False), ("*x*x*", "x", False), ("a?", "ab", False)),
        *(("system:serviceaccount:ci:*", "system:serviceaccount:ci-evil:x", False),),
    ],
)
def test_a_subject_s_pattern(pattern: str, text: str, holds: bool) -> None:
    assert matches(pattern, text) is holds


def test_a_pattern_takes_linear_time() -> None:
    started = time.monotonic()
    assert not matches("*a" * 2000 + "b", "a" * 8000)
    assert time.monotonic() - started < 1


# The identity that remembers them.


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
    assert asked(known, FORGED["alg none"]) is None
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
