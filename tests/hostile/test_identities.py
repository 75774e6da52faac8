"""Attacks on who is asking: both doors refuse the same, and nothing of it reaches a server."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from differential.said import call, post
from gateway._core import Engine, Exchange, Gate, HandedOver, Intake, LimitTable, PolicySet
from gateway.config.grants import new_token
from gateway.settings import GrantSettings, TokenSettings
from support.doors import Doors, Run, Say, looping

ALLOW = b'{"version":"1","default":"allow"}'
DENY = b'{"version":"1","default":"deny"}'
TOKENS = {name: new_token().encode() for name in ("a", "b", "old", "soon", "nobody")}


def stored(name: str, until: float | None = None) -> TokenSettings:
    return TokenSettings(sha256=hashlib.sha256(TOKENS[name]).digest(), until=until)


@pytest.fixture(scope="module", name="run")
def fixture_run() -> Iterator[Run]:
    with looping() as run:
        yield run


@pytest.fixture
def doors(run: Run, tmp_path: Path) -> Iterator[Doors]:
    """Two grants, each with its policy; one token that ended, and one that ends later."""
    (tmp_path / "allow.json").write_bytes(ALLOW)
    (tmp_path / "deny.json").write_bytes(DENY)
    a = (stored("a"), stored("old", 1.0), stored("soon", time.time() + 3600))
    grants = (
        GrantSettings(name="a", tokens=a),
        GrantSettings(name="b", tokens=(stored("b"),), servers={"default": tmp_path / "deny.json"}),
        GrantSettings(name="nowhere", tokens=(stored("nobody"),), servers={}),
    )
    made = Doors(tmp_path / "allow.json", grants=grants, anonymous=None)
    run(made.open())
    yield made
    run(made.close())


def asking(*fields: bytes, target: bytes = b"/mcp") -> Say:
    return Say((post(call("t"), *fields, target=target),))


def bearer(token: bytes) -> bytes:
    return b"Authorization: Bearer " + token


def code_of(body: bytes) -> str:
    found = json.loads(body)
    if "error" in found:
        return str(found["error"]["data"]["code"])
    return str(found["result"]["_meta"]["interlock/decision"]["code"])


def test_each_token_is_its_grant_through_both_doors(run: Run, doors: Doors) -> None:
    for name in ("a", "soon"):
        outcome = run(doors.compare([asking(bearer(TOKENS[name]))]))
        assert outcome.answers[0].status == 200
        (asked,) = outcome.asked
        assert b"ilk_" not in repr(asked).encode(), "a client's credentials stay here"
    outcome = run(doors.compare([asking(bearer(TOKENS["b"]))]))
    assert code_of(outcome.answers[0].body) == "default-deny"
    outcome = run(doors.compare([asking(bearer(TOKENS["nobody"]))]))
    assert (outcome.answers[0].status, code_of(outcome.answers[0].body)) == (403, "no-policy")
    # One connection, several tokens: each message by its own.
    talk = [asking(bearer(TOKENS[name])) for name in ("a", "b", "a", "old", "a")]
    outcome = run(doors.compare(talk))
    told = [answer.status if b"error" not in answer.body else 0 for answer in outcome.answers]
    assert [answer.status for answer in outcome.answers] == [200, 200, 200, 401, 200], told


GOOD = TOKENS["a"]
STRANGERS: dict[str, list[bytes]] = {
    "nothing": [],
    "another token": [bearer(new_token().encode())],
    "an expired token": [bearer(TOKENS["old"])],
    "the hash of a token": [bearer(hashlib.sha256(GOOD).hexdigest().encode())],
    "a token in capitals": [bearer(GOOD.upper())],
    "part of a token": [bearer(GOOD[:-1])],
    "more than a token": [bearer(GOOD + b"0")],
    "two tokens": [bearer(GOOD + b" " + GOOD)],
    "a list of tokens": [bearer(GOOD + b", Bearer " + GOOD)],
    "another scheme": [b"Authorization: Basic " + GOOD],
    "no scheme": [b"Authorization: " + GOOD],
    "two blanks": [b"Authorization: Bearer  " + GOOD],
    "a tab": [b"Authorization: Bearer\t" + GOOD],
    "a quoted token": [bearer(b'"' + GOOD + b'"')],
    "an empty token": [b"Authorization: Bearer "],
    "an empty field": [b"Authorization: "],
    "another field": [b"X-Authorization: Bearer " + GOOD],
    "a cookie": [b"Cookie: token=" + GOOD],
    "a proxy's field": [b"Proxy-Authorization: Bearer " + GOOD],
    "a token of 8 KiB and more": [bearer(b"a" * 8193)],
    "a token of 30 KB": [bearer(b"a" * 30_000)],
    "a folded name": [b"authorizatiOn: Bearer x", b"X: Bearer " + GOOD],
    "a name with an underscore": [b"Authorization_: Bearer " + GOOD],
}


@pytest.mark.parametrize("fields", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_is_refused_by_both_doors(run: Run, doors: Doors, fields: list[bytes]) -> None:
    outcome = run(doors.compare([asking(*fields)]))
    (answer,) = outcome.answers
    assert (answer.status, code_of(answer.body)) == (401, "unauthenticated")
    assert any(name == b"www-authenticate" for name, _ in answer.fields)
    assert outcome.asked == ()


def test_a_scheme_is_spelt_as_one_likes(run: Run, doors: Doors) -> None:
    for scheme in (b"bearer", b"BEARER"):
        outcome = run(doors.compare([asking(b"Authorization: " + scheme + b" " + GOOD)]))
        assert outcome.answers[0].status == 200


def test_a_field_that_comes_twice_says_nothing(run: Run, doors: Doors) -> None:
    for other in (bearer(TOKENS["b"]), bearer(GOOD), b"Authorization: x"):
        outcome = run(doors.compare([asking(bearer(GOOD), other)]))
        assert outcome.answers[0].status == 400
        assert outcome.asked == ()


def test_a_token_in_the_query_is_never_looked_at(run: Run, doors: Doors) -> None:
    for query in (b"access_token=", b"token=", b"authorization=Bearer%20"):
        outcome = run(doors.compare([asking(target=b"/mcp?" + query + GOOD)]))
        assert outcome.answers[0].status == 401
        assert outcome.asked == ()


def test_a_session_of_another_grant_does_not_exist(run: Run, doors: Doors) -> None:
    for side in (doors.fast, doors.slow):
        side.gateway._routes.places["default"].ids.open("of-a", "a", 20250618)
    session = b"Mcp-Session-Id: of-a"
    outcome = run(doors.compare([asking(bearer(GOOD), session)]))
    assert outcome.answers[0].status == 200
    for method in (b"GET", b"DELETE"):
        head = b"%b /mcp HTTP/1.1\r\nHost: HOST\r\nAccept: text/event-stream\r\n%b\r\n%b\r\n\r\n"
        say = Say((head % (method, session, bearer(TOKENS["b"])),))
        outcome = run(doors.compare([say]))
        assert (outcome.answers[0].status, outcome.asked) == (404, ())
    # On one connection, right behind the grant whose session it is.
    talk = [asking(bearer(GOOD), session), asking(bearer(TOKENS["b"]), session)]
    outcome = run(doors.compare(talk))
    assert [answer.status for answer in outcome.answers] == [200, 404]
    assert code_of(outcome.answers[1].body) == "session-mismatch"


# The gate by itself: what it decides, and what it leaves to the application.


def engine(policy: bytes = ALLOW) -> Engine:
    return Engine(PolicySet.parse(policy, name="p.json"), LimitTable(64))


def ways(**paths: str) -> list[Any]:
    """A way for each path, for the grant of this name; `anyone` is everybody's."""
    return [
        (f"/{path}".encode(), engine(), grant, path, b"POST / HTTP/1.1\r\n", [], tag,
         grant == "anyone")
        for tag, (path, grant) in enumerate(paths.items())
    ]  # fmt: skip


def saying(token: bytes | None, path: bytes = b"/one") -> bytes:
    fields = [] if token is None else [bearer(token)]
    return post(call("t"), *fields, target=path).replace(b"HOST", b"h:1")


def gate(tokens: list[Any], routes: list[Any], *, learns: bool = False) -> Gate:
    return Gate(hosts=[b"h:1"], routes=routes, tokens=tokens, learns=learns)


def digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def test_a_token_is_decided_on_the_fast_path_and_only_on_its_servers() -> None:
    intake = Intake(gate([(digest(GOOD), "a", None)], ways(one="a", two="b")))
    found = intake.receive(saying(GOOD))
    assert isinstance(found, Exchange)
    assert (found.caller.grant, found.token) == ("a", digest(GOOD))
    assert isinstance(intake.receive(saying(GOOD, b"/two")), HandedOver), "not its server"
    assert isinstance(intake.receive(saying(None)), HandedOver)
    assert isinstance(intake.receive(saying(TOKENS["b"])), HandedOver)
    assert isinstance(intake.receive(saying(GOOD)), Exchange)


def test_credentials_are_not_looked_at_where_there_are_none() -> None:
    intake = Intake(gate([], ways(one="anyone")))
    for token in (None, GOOD, b"x"):
        found = intake.receive(saying(token))
        assert isinstance(found, Exchange)
        assert found.token is None


def test_bad_credentials_are_never_anonymous() -> None:
    intake = Intake(gate([(digest(GOOD), "anyone", None)], ways(one="anyone")))
    assert isinstance(intake.receive(saying(None)), Exchange)
    assert isinstance(intake.receive(saying(b"x")), HandedOver)
    assert isinstance(intake.receive(saying(GOOD)), Exchange)


def test_what_is_taken_back_counts_for_no_further_message_of_a_connection() -> None:
    routes = ways(one="a")
    made = gate([(digest(GOOD), "a", None)], routes)
    intake = Intake(made)
    assert isinstance(intake.receive(saying(GOOD)), Exchange)
    assert isinstance(intake.receive(saying(GOOD)), Exchange), "the same head once more"
    made.install(routes=routes, tokens=[])
    assert isinstance(intake.receive(saying(GOOD)), HandedOver)
    made.install(routes=routes, tokens=[(digest(GOOD), "a", None)])
    assert isinstance(intake.receive(saying(GOOD)), Exchange)
    made.install(routes=[], tokens=[(digest(GOOD), "a", None)])
    assert isinstance(intake.receive(saying(GOOD)), HandedOver)


def test_a_token_that_goes_to_another_grant_takes_nothing_along() -> None:
    routes = [
        (b"/one", engine(), grant, "one", b"POST / HTTP/1.1\r\n", [], tag, False)
        for tag, grant in enumerate("ab")
    ]
    made = gate([(digest(GOOD), "a", None)], routes)
    intake = Intake(made)
    first = intake.receive(saying(GOOD))
    made.install(routes=routes, tokens=[(digest(GOOD), "b", None)])
    second = intake.receive(saying(GOOD))
    assert isinstance(first, Exchange)
    assert isinstance(second, Exchange)
    assert (first.caller.grant, second.caller.grant, second.tag) == ("a", "b", 1)


def test_a_token_ends_in_the_middle_of_a_connection() -> None:
    end = time.time() + 0.5
    intake = Intake(gate([(digest(GOOD), "a", end)], ways(one="a")))
    assert isinstance(intake.receive(saying(GOOD)), Exchange)
    while time.time() < end + 0.01:
        pass
    assert isinstance(intake.receive(saying(GOOD)), HandedOver), "the same head, too late"


def test_what_is_learned_counts_until_it_ends_or_is_forgotten() -> None:
    routes = ways(one="a")
    made = gate([], routes, learns=True)
    intake = Intake(made)
    assert isinstance(intake.receive(saying(GOOD)), HandedOver)
    made.learn(digest(GOOD), "a", until=time.time() + 60)
    made.learn(digest(TOKENS["old"]), "a", until=time.time() - 1)
    assert isinstance(intake.receive(saying(GOOD)), Exchange)
    assert isinstance(intake.receive(saying(TOKENS["old"])), HandedOver)
    for number in range(4096):
        made.learn(digest(b"%d" % number), "a", until=time.time() + 60)
    assert isinstance(intake.receive(saying(b"4095")), Exchange)
    made.install(routes=routes, tokens=[], learns=True)
    assert isinstance(intake.receive(saying(b"4095")), HandedOver)
    with pytest.raises(ValueError, match="seconds since 1970"):
        made.learn(digest(GOOD), "a", until=-1.0)
