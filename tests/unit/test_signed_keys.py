"""An issuer's keys: which count, where they come from, and for how long."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import jwt
import pytest

from gateway.signed import (
    COOL_S,
    FRESH_S,
    MAX_DOCUMENT_BYTES,
    STALE_S,
    fetch_document,
    read_keys,
)
from support.issuer import (
    EC,
    ISSUER,
    KEYS,
    OTHER,
    P384,
    RSA,
    WEAK,
    Issuer,
    jwk,
    keys,
    settings,
    token,
    who,
)
from support.issuer import our_clock as our_clock
from support.serving import Quiet, serving


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
