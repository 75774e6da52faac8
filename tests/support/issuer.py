"""An issuer of signed tokens, its keys, and tokens of all kinds."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.settings import GrantSettings, JwtSettings
from gateway.signed import (
    Unfit,
    Verifier,
)

ISSUER = "https://issuer.example"
RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)
EC = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
NOW = 1_700_000_000.0


def jwk(key: Any, kid: str | None, **more: str) -> dict[str, Any]:
    """A public key as issuers publish it."""
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
    """A document of such keys."""
    return json.dumps({"keys": listed}).encode()


KEYS = keys(jwk(RSA, "r"), jwk(EC, "e"), jwk(ED, "d"), jwk(OTHER, "o", alg="RS512"))


def settings(**more: Any) -> JwtSettings:
    """How its tokens are known."""
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
def our_clock(monkeypatch: pytest.MonkeyPatch) -> None:
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
    """The grant that a token is; None for nobody's."""
    try:
        return asyncio.run(verifier.verify(text)).grant
    except Unfit:
        return None


def part(content: Any) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def forged(header: dict[str, Any], signature: Callable[[bytes], bytes] = lambda _: b"") -> str:
    """A token with this head, and this signature of its own making."""
    claims = {"iss": ISSUER, "aud": "interlock", "sub": "s", "exp": NOW + 600}
    said = f"{part(header)}.{part(claims)}"
    signed = base64.urlsafe_b64encode(signature(said.encode())).rstrip(b"=").decode()
    return f"{said}.{signed}"
