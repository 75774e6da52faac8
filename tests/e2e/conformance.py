"""Runs the official conformance suite against a URL and reads its verdicts check by check."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import peers

REVISIONS = ("2025-11-25", "2026-07-28")

_SCENARIO_FOLDER = re.compile(r"server-(?P<name>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
_NOT_SCORED = re.compile(
    r"^  . (?P<name>\S+) \((?:pending|extension|added-after-release)\)$", re.MULTILINE
)

_RUN_S = 120.0
"""A run takes about three seconds; a scenario that hangs is given up by the suite after thirty."""


@dataclass(frozen=True, order=True)
class Check:
    """One thing the suite looks at: the nth look of that name in a scenario."""

    scenario: str
    name: str
    nth: int


@dataclass(frozen=True)
class Outcome:
    """What the suite said of a check, with the words it said it in."""

    status: str
    words: str


@dataclass(frozen=True)
class Report:
    """One run of the suite.

    Attributes:
        outcomes: Every check that ran, those that are not scored too.
        not_scored: Scenarios that do not count for the revision, such as extensions.
    """

    outcomes: dict[Check, Outcome]
    not_scored: frozenset[str]

    def failed(self) -> dict[Check, Outcome]:
        """Scored checks that did not pass."""
        return {
            check: outcome
            for check, outcome in self.outcomes.items()
            if outcome.status in ("FAILURE", "WARNING") and check.scenario not in self.not_scored
        }

    def passed(self) -> int:
        """How many checks passed, in all scenarios."""
        return sum(outcome.status == "SUCCESS" for outcome in self.outcomes.values())


def run(url: str, revision: str, folder: Path) -> Report:
    """Runs all that a revision requires, and what the suite has beyond it, against a server.

    Args:
        url: The server.
        revision: One of `REVISIONS`.
        folder: Empty; the suite writes its results there.

    Raises:
        AssertionError: The suite itself did not come to an end.
    """
    ran = subprocess.run(
        [*peers.CONFORMANCE, "server", "--url", url, "--requirements", revision, "-o", str(folder)],
        capture_output=True,
        text=True,
        timeout=_RUN_S,
        check=False,
    )
    assert "Total:" in ran.stdout, ran.stdout + ran.stderr
    outcomes: dict[Check, Outcome] = {}
    for results in sorted(folder.glob("*/checks.json")):
        named = _SCENARIO_FOLDER.fullmatch(results.parent.name)
        assert named is not None, results
        looks: dict[str, int] = defaultdict(int)
        for look in json.loads(results.read_text()):
            # Its log of what went over the wire is among the checks: no verdict, never the same.
            if look["status"] == "INFO":
                continue
            check = Check(named["name"], look["id"], looks[look["id"]])
            looks[look["id"]] += 1
            words = look.get("errorMessage") or look["description"]
            outcomes[check] = Outcome(look["status"], words)
    not_scored = frozenset(found["name"] for found in _NOT_SCORED.finditer(ran.stdout))
    return Report(outcomes, not_scored)


def lost(direct: Report, through: Report) -> list[str]:
    """Checks that came out worse through a middle box than directly, one line each."""
    worse = []
    for check, before in sorted(direct.outcomes.items()):
        after = through.outcomes.get(check)
        if after is None:
            worse.append(f"{check.scenario}: {check.name}: {before.status}, then never looked at")
        elif after.status not in (before.status, "SUCCESS"):
            fall = f"{before.status}, then {after.status}: {after.words}"
            worse.append(f"{check.scenario}: {check.name}: {fall}")
    return worse
