"""Grants by signed tokens: which are known, and every trick that is not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.pattern import matches
from gateway.signed import (
    LEEWAY_S,
)
from support.issuer import (
    EC,
    ED,
    ISSUER,
    NOW,
    OTHER,
    P384,
    RSA,
    Issuer,
    forged,
    jwk,
    keys,
    part,
    settings,
    token,
    who,
)
from support.issuer import our_clock as our_clock


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
