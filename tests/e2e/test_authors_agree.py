"""A running sidecar decides every call as `explain`, `test` and `replay` say that it would.

What the verbs say among themselves, and of the door alone, is in tests/differential. Here the
policy is a file that a process has taken up, the calls come over a socket, and what is replayed is
the log that it wrote.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from differential.made import TOOLS, arguments, policies
from differential.test_authoring import as_cases, explained, replayer, spelt
from gateway import PolicySet
from gateway.author.calllog import Calls
from gateway.author.calls import tool_body
from gateway.author.replay import NOT_KNOWN
from support.process import HEADERS, Answer, Sidecar, request, sidecar, until, upstream

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

EXAMPLES = 25
GRANT = "g"
ARGUMENTS = ["x", "y", "o", "l", "n", "k", "X", "L", "N", "\u212a"]
"""All that made calls have, so that the log can carry their values."""
NUMBERS = count()


class Running:
    """A sidecar, and the policies that it has had so far."""

    def __init__(self, folder: Path, one: Sidecar) -> None:
        self.policy = folder / "p.json"
        self.log = folder / "log.jsonl"
        self.sidecar = one
        self.had: dict[str, str] = {}

    def install(self, policy: str) -> None:
        """Has the sidecar take up a policy."""
        other = self.policy.with_suffix(".new")
        other.write_text(policy)
        os.replace(other, self.policy)
        self.sidecar.signal(signal.SIGHUP)
        digest = PolicySet.parse(policy.encode(), name="p.json").digest
        self.had[digest] = policy
        until(lambda: self.sidecar.get("/policies").json[0]["digest"] == digest, "the policy")

    def code(self, tool: str, text: str) -> str:
        """What comes of a call."""
        answer = request(self.sidecar.mcp, "POST", "/mcp", tool_body(tool, text), HEADERS)
        return code_of(answer)


def code_of(answer: Answer) -> str:
    told = answer.json
    if "error" in told:
        return str(told["error"]["data"]["code"])
    return answer.decision


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("agree")
    (folder / "p.json").write_text('{"version": "1", "default": "deny"}')
    with upstream() as server:
        configuration = {
            "version": "1",
            "log": {"path": "log.jsonl", "include_args": ARGUMENTS},
            "servers": {"default": {"url": server.url, "policy": "p.json"}},
            "anonymous": GRANT,
            "grants": [{"name": GRANT}],
        }
        (folder / "c.json").write_text(json.dumps(configuration))
        with sidecar("--config", str(folder / "c.json")) as one:
            yield Running(folder, one)


def timeless(policy: str) -> str:
    """The policy with limits that do not hang on the instant, and have counted nothing yet."""
    document = json.loads(policy)
    number = next(NUMBERS)
    groups = (document.get("tools"), document.get("methods"), {"": document.get("all_tools") or {}})
    for entry in (entry for group in groups for entry in (group or {}).values()):
        for limit in entry.get("limits", []):
            limit["counter"] = f"{limit['counter']}_{number}"
            limit.pop("burst", None)
            limit.pop("algorithm", None)
            limit["window"] = "month"
    return json.dumps(document)


MADE = st.lists(st.tuples(st.sampled_from(TOOLS), arguments()), min_size=1, max_size=6)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies(), MADE)
def test_the_sidecar_decides_as_it_is_explained_and_tested(
    running: Running, policy: str, made: list[tuple[str, str]]
) -> None:
    policy = timeless(policy)
    try:
        PolicySet.parse(policy.encode(), name="p.json")
    except ValueError:
        return  # limits of one counter that differed in what was taken from them
    made = [one for one in made if spelt(one[1]) is not None]
    running.install(policy)
    codes = [running.code(tool, text) for tool, text in made]
    assert explained(policy, made, GRANT) == codes
    assert as_cases(policy, made, codes, GRANT).failures == []


def test_its_log_is_replayed_as_it_was_decided(running: Running) -> None:
    """Runs behind the other: each line is decided again by the policy that decided it."""
    assert running.had, "the other test has not run"
    assert running.sidecar.stop() == 0
    digests = [
        line["policy"]
        for line in map(json.loads, running.log.read_text().splitlines())
        if "event" not in line and line["policy"] is not None
    ]
    replayers = {digest: replayer(text) for digest, text in running.had.items()}
    lost: set[str] = set()
    compared = 0
    for digest, call in zip(digests, Calls([running.log], lookahead=1), strict=True):
        if digest in lost:
            continue
        code = replayers[digest].decide(call)
        if code == NOT_KNOWN:
            # From here on limits may have counted what had not passed.
            lost.add(digest)
            continue
        assert code == call.code, call
        compared += 1
    assert compared > len(digests) / 2
