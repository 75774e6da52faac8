"""Grants by signed tokens: JSON Web Tokens, verified by keys that their issuers publish.

PyJWT verifies. This module says which tokens are worth verifying, by which of whose keys, and what
a verified token must say besides. Imported only where a grant asks for it.

INVARIANT: a token's header chooses among the keys that are there and nothing else: no place, no
algorithm that was not allowed, no secret. Without keys that are fresh enough nobody is identified.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.pattern import matches

if TYPE_CHECKING:
    from gateway.settings import GrantSettings, JwtSettings

LEEWAY_S = 30.0
"""How far clocks may be apart."""
FRESH_S = 300.0
"""How long keys, and tokens that were verified by them, are taken as they are."""
STALE_S = 3600.0
"""How long keys still count that cannot be fetched anew."""
COOL_S = 10.0
"""How long after a fetch no other one is made, whatever tokens name as their keys."""
TIMEOUT_S = 5.0
MAX_DOCUMENT_BYTES = 256 << 10
MAX_KEYS = 100
MAX_KID = 256
MIN_RSA_BITS = 2048

_log = logging.getLogger("interlock.signed")


@dataclass(frozen=True, slots=True)
class Verified:
    """What a token was found to be.

    Attributes:
        until: when it ends, in seconds since 1970 UTC, leeway included.
    """

    grant: str
    until: float


class Unfit(Exception):
    """A token that identifies nobody; the message says why, and nothing of the token."""


Fetch = Callable[[str, "JwtSettings"], bytes]
"""A document by its URL.

Raises:
    OSError, ValueError: it is not to be had.
"""


class Verifier:
    """The grants that are known by signed tokens.

    Args:
        clock: seconds since 1970 UTC.
        fetch: called in a thread.
    """

    def __init__(
        self,
        grants: Sequence[GrantSettings],
        *,
        clock: Callable[[], float] = time.time,
        fetch: Fetch | None = None,
    ) -> None:
        self._grants = [(grant.name, grant.jwt) for grant in grants if grant.jwt is not None]
        self._keys: dict[tuple[object, ...], KeySet] = {}
        for _, settings in self._grants:
            place = _place(settings)
            if place not in self._keys:
                self._keys[place] = KeySet(settings, clock, fetch or fetch_document)

    async def verify(self, token: str) -> Verified:
        """Whose token it is.

        Raises:
            Unfit: nobody's.
        """
        header, claims = _unverified(token)
        ours = [(name, one) for name, one in self._grants if one.issuer == claims.get("iss")]
        if not ours:
            raise Unfit("its issuer is nobody's")
        found: list[Verified] = []
        for place in dict.fromkeys(_place(one) for _, one in ours):
            algorithms = {alg for _, one in ours if _place(one) == place for alg in one.algorithms}
            if header["alg"] not in algorithms:
                continue
            key = await self._keys[place].find(header.get("kid"), header["alg"])
            for name, settings in ours:
                if _place(settings) == place and header["alg"] in settings.algorithms:
                    until = _judge(token, key, header["alg"], settings)
                    if until is not None:
                        found.append(Verified(name, until))
        if len(found) != 1:
            raise Unfit("several grants claim it" if found else "no grant is for it")
        return found[0]


class KeySet:
    """An issuer's keys, from a file or from a place that it publishes them at."""

    def __init__(self, settings: JwtSettings, clock: Callable[[], float], fetch: Fetch) -> None:
        self._settings = settings
        self._clock = clock
        self._fetch = fetch
        self._keys: list[Key] = []
        self._fetched = float("-inf")
        """When they were last had."""
        self._tried = float("-inf")
        self._stamp: tuple[int, int, int] | None = None
        self._fetching = asyncio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> Any:
        """The key that a token names.

        Raises:
            Unfit: there is none, or more than one.
        """
        await self._renew(FRESH_S)
        key = self._choose(kid, algorithm)
        if key is None:
            await self._renew(COOL_S)
            key = self._choose(kid, algorithm)
        if key is None:
            raise Unfit("its key is not known")
        return key

    def _choose(self, kid: str | None, algorithm: str) -> Any:
        if self._settings.jwks_file is None and self._clock() - self._fetched > STALE_S:
            return None
        fit = [key for key in self._keys if key.suits(kid, algorithm)]
        return fit[0].key if len(fit) == 1 else None

    async def _renew(self, age_s: float) -> None:
        """Have keys that are no older than this, if they can be had."""
        if self._settings.jwks_file is not None:
            self._read(self._settings.jwks_file)
            return
        async with self._fetching:
            now = self._clock()
            if now - self._fetched < age_s or now - self._tried < COOL_S:
                return
            self._tried = now
            try:
                found = await asyncio.to_thread(self._download)
                self._keys = read_keys(found)
                self._fetched = now
            except (OSError, ValueError) as error:
                issuer = self._settings.issuer
                _log.warning("the keys of `%s` cannot be had: %s", issuer, error)

    def _read(self, path: Path) -> None:
        try:
            found = path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                with path.open("rb") as file:
                    self._keys = read_keys(file.read(MAX_DOCUMENT_BYTES + 1))
                self._stamp = stamp
        except (OSError, ValueError) as error:
            self._keys, self._stamp = [], None
            _log.warning("keys cannot be read from `%s`: %s", path, error)

    def _download(self) -> bytes:
        settings = self._settings
        url = settings.jwks_url
        if url is None:
            place = settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
            told = json.loads(self._fetch(place, settings))
            if not isinstance(told, dict) or told.get("issuer") != settings.issuer:
                raise ValueError("its configuration is another issuer's")
            url = told.get("jwks_uri")
            if not isinstance(url, str) or not url.startswith(("https://", _scheme(place))):
                raise ValueError("its configuration names no place for keys")
            if urlsplit(url).netloc != urlsplit(place).netloc:
                settings = replace(settings, headers={})  # they are not for strangers
        return self._fetch(url, settings)


_KINDS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""What kind of key each algorithm goes with."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key as it is published."""

    kid: object
    kind: tuple[object, object]
    algorithm: object
    key: Any

    def suits(self, kid: str | None, algorithm: str) -> bool:
        """Whether a token that says so may have been signed by it."""
        return (
            self.kind == _KINDS.get(algorithm)
            and self.algorithm in (None, algorithm)
            and (kid is None or self.kid == kid)
        )


def read_keys(source: bytes) -> list[Key]:
    """The keys of a JSON Web Key Set that can verify signatures; secrets and weak ones are none.

    Raises:
        ValueError: it is not such a set.
    """
    if len(source) > MAX_DOCUMENT_BYTES:
        raise ValueError("the key set is too large")
    found = json.loads(source)
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError("it is not a key set")
    keys = []
    for one in listed:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig":
            continue
        kind = (one.get("kty"), one.get("crv"))
        if kind not in _KINDS.values():
            continue
        try:
            key = jwt.PyJWK.from_dict(one).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        weak = isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS
        if not weak and not hasattr(key, "private_bytes"):
            keys.append(Key(one.get("kid"), kind, one.get("alg"), key))
    return keys


def fetch_document(url: str, settings: JwtSettings) -> bytes:
    """Get a document; in one step, since a redirect could lead anywhere.

    Raises:
        OSError: it is not to be had.
        ValueError: it is too large.
    """
    context = ssl.create_default_context(
        cafile=None if settings.ca_file is None else str(settings.ca_file)
    )
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), _NoRedirect()
    )
    request = urllib.request.Request(url, headers=dict(settings.headers))
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        found: bytes = answer.read(MAX_DOCUMENT_BYTES + 1)
    if len(found) > MAX_DOCUMENT_BYTES:
        raise ValueError("the answer is too large")
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _scheme(place: str) -> str:
    return place.partition("://")[0] + "://"


def _place(settings: JwtSettings) -> tuple[object, ...]:
    """What tells one set of keys from another."""
    headers = tuple(sorted(settings.headers.items()))
    return (
        *(settings.issuer, settings.jwks_file, settings.jwks_url),
        *(settings.ca_file, headers),
    )


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a token says of itself, which decides only whether it is worth a look.

    Raises:
        Unfit: it is no token, or says what nobody here can honour.
    """
    try:
        found = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise Unfit("it is no signed token") from error
    header, claims = found["header"], found["payload"]
    kid = header.get("kid")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= MAX_KID):
        raise Unfit("its key has no name that could be looked for")
    if "crit" in header or header.get("b64", True) is not True:
        raise Unfit("its header asks for what is not known here")
    if not isinstance(header.get("alg"), str):
        raise Unfit("it names no algorithm")
    return header, claims


def _judge(token: str, key: Any, algorithm: str, settings: JwtSettings) -> float | None:
    """Until when the token is the grant's; None if it is not."""
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=list(settings.audience),
            issuer=settings.issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
        return None
    subject = claims.get("sub")
    if settings.subject is not None and not (
        isinstance(subject, str) and matches(settings.subject, subject)
    ):
        return None
    if not all(_says(claims, name, value) for name, value in settings.claims.items()):
        return None
    return float(claims["exp"]) + LEEWAY_S


def _says(claims: Mapping[str, Any], name: str, wanted: str | bool) -> bool:
    """Whether a claim is this value, or a list with it; `1` is not `true`."""
    value = claims.get(name)
    values = value if isinstance(value, list) else [value]
    return any(type(one) is type(wanted) and one == wanted for one in values)
