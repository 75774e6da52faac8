"""What one policy allows and another does not: found by search, and shown by a call.

INVARIANT: every difference that is told is one that the engine made: its calls, decided one after
the other with nothing used before, end differently. The search finds no difference that is not
there, and it may miss one that is.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator
from typing import Any

from gateway._core import Caller, Decision, Engine, LimitTable
from gateway.author import pacing
from gateway.author.examples import Difference, Found, Made, Policy, Side, weight
from gateway.author.unknowns import entries_of, without_limits
from gateway.author.witness import arguments, candidates, method_names, tool_names

Subject = tuple[str, bool]
"""A name, and whether it is a tool's; else it is a method's."""

BUDGET = 200_000
"""Calls that are tried in all."""
EACH = 3_000
"""Combinations of arguments that are tried of one tool."""
MOST_SHRUNK = 300
"""Calls that an example may have to be made shorter."""
MOST_SHARING, PAIRS = 8, 4
"""Of the tools that share a quota, how many are paired, and how many pairs are tried."""
REPAIRS = 25
"""How often the arguments of a refused call are changed where the rule that refused it looks."""
CALLER = Caller("ann", server="default", session="s1")


def search(old: Policy, new: Policy, *, budget: int = BUDGET) -> Found:
    """Differences between two policies, each rule that makes one told once."""
    return _Search(old, new, budget).run()


class _Search:
    def __init__(self, old: Policy, new: Policy, budget: int) -> None:
        self.found = Found()
        self._sides = (old, new)
        self._budget = budget
        self._random = random.Random(0)
        self._entries = [dict(entries_of(side.root)) for side in self._sides]
        bare = [without_limits(side.root) for side in self._sides]
        self._engines = [Engine(policies, LimitTable(64)) for policies in bare]
        self._groups: dict[tuple[str, str, str | None], Difference] = {}
        self._base: dict[Subject, tuple[tuple[int, int], Any]] = {}
        self._wanted: set[str] = set()
        self._sampled = 0
        self._skipped: list[str] = []

    def run(self) -> Found:
        roots = [side.root for side in self._sides]
        subjects = [(name, True) for name in tool_names(roots)]
        subjects += [(name, False) for name in method_names(roots)]
        for name, tool in subjects:
            if self.found.tried >= self._budget:
                self._skipped.append(name)
                continue
            self._subject(name, tool)
        self._limits()
        self.found.differences = [self._shrunk(one) for one in self._groups.values()]
        if self._sampled:
            self.found.not_covered.append(
                f"of {self._sampled} tools and methods only some combinations of arguments were "
                "tried, there are too many"
            )
        if self._skipped:
            self.found.not_covered.append(
                f"{len(set(self._skipped))} tools and methods were not reached, or not with all "
                f"calls, such as `{self._skipped[0]}`"
            )
        return self.found

    def _subject(self, name: str, tool: bool) -> None:
        """Try a tool or a method with arguments on both sides of every bound."""
        entries = [self._matching(side, name, tool) for side in (0, 1)]
        if entries[0] == entries[1]:
            # What decides is alike but for what stands around it, which any call shows. A call that
            # passes is looked for where it may count in a quota of others.
            counts = any(entry.get("limits") for entry in entries[0])
            if not counts or self._try(name, tool, {})[0].allowed:
                self._try(name, tool, {})
                return
        values = candidates([*entries[0], *entries[1]])
        limits = (
            limit for entry in (*entries[0], *entries[1]) for limit in entry.get("limits", ())
        )
        self._wanted = pacing.argument_names(limits)
        paths = list(values)
        count = math.prod(len(each) for each in values.values())
        combinations: Iterator[tuple[Any, ...]]
        if count <= EACH:
            combinations = itertools.product(*values.values())
        else:
            self._sampled += 1
            combinations = self._samples(list(values.values()))
        for combination in combinations:
            chosen = dict(zip(paths, combination, strict=True))
            first, second = self._try(name, tool, chosen)
            if count > EACH:
                for side, decision in enumerate((first, second)):
                    self._repair(name, tool, chosen, values, side, decision)

    def _samples(self, values: list[list[Any]]) -> Iterator[tuple[Any, ...]]:
        for _ in range(EACH // REPAIRS):
            yield tuple(self._random.choice(each) for each in values)

    def _repair(
        self,
        name: str,
        tool: bool,
        chosen: dict[str, Any],
        values: dict[str, list[Any]],
        side: int,
        decision: Decision,
    ) -> None:
        """Change what the refusing rule looks at, again and again, to see what is behind it."""
        chosen = dict(chosen)
        for _ in range(REPAIRS):
            rule = None if decision.allowed else self._rule(side, decision.rule)
            if rule is None:
                return
            for condition in rule.get("conditions") or []:
                path = condition["path"]
                chosen[path] = self._random.choice(values[path])
            decision = self._try(name, tool, chosen)[side]

    def _rule(self, side: int, pointer: str | None) -> dict[str, Any] | None:
        """The rule that a pointer leads to, if it is one with conditions."""
        above, _, index = (pointer or "").rpartition("/")
        entry, _, kind = above.rpartition("/")
        written = self._entries[side].get(entry)
        if written is None or not index.isdigit() or kind == "limits":
            return None
        found = written[kind][int(index)]
        return found if isinstance(found, dict) else None

    def _matching(self, side: int, name: str, tool: bool) -> list[dict[str, Any]]:
        """The entries of one policy that a call meets."""
        return [self._entries[side][pointer] for pointer in self._met(side, name, tool)]

    def _met(self, side: int, name: str, tool: bool) -> list[str]:
        body = Made(0, ("", "", ""), name, tool, {}).body()
        told = json.loads(self._engines[side].explain(CALLER, body, now_ns=pacing.BEGIN_NS))
        return list(told["entries"])

    def _try(self, name: str, tool: bool, chosen: dict[str, Any]) -> list[Decision]:
        self.found.tried += 1
        made = Made(pacing.BEGIN_NS, pacing.WHO, name, tool, arguments(chosen))
        body = made.body()
        decisions = [
            engine.decide(CALLER, body, now_ns=pacing.BEGIN_NS) for engine in self._engines
        ]
        self._note(decisions, [made])
        if all(decision.allowed for decision in decisions):
            # For limits that look at arguments, a call that has them; else as few as can be.
            lacks = len(self._wanted - set(made.arguments))
            weight = (lacks, len(json.dumps(made.arguments)))
            known = self._base.get((name, tool))
            if known is None or weight < known[0]:
                self._base[name, tool] = (weight, made.arguments)
        return decisions

    def _note(self, decisions: list[Decision], calls: list[Made]) -> None:
        first, second = decisions
        if first.allowed == second.allowed:
            return
        allows, refusing = ("old", second) if first.allowed else ("new", first)
        key = (allows, refusing.code, refusing.rule)
        known = self._groups.get(key)
        name = calls[-1].name
        smaller = known is None or weight(calls) < weight(known.calls)
        if known is not None and name in known.names and not smaller:
            return
        # By their rules alone they differ; with their limits they must as well.
        difference = self._decided(calls)
        if difference is None or difference.allows != allows:
            return
        names = dict.fromkeys([*(known.names if known is not None else ()), name])
        if smaller:
            self._groups[key] = difference
        self._groups[key].names = list(names)

    def _decided(self, calls: list[Made]) -> Difference | None:
        """The difference that calls make, decided one after the other with nothing used before."""
        engines = [Engine(side.policies, LimitTable(256)) for side in self._sides]
        kept = []
        for made in calls:
            decisions = made.decided(engines)
            kept += [decisions] if made.stays else []
        first, second = (Side.of(decision) for decision in decisions)
        if (first.code == "allowed") == (second.code == "allowed"):
            return None
        return Difference("old" if first.code == "allowed" else "new", first, second, calls)

    def _shrunk(self, one: Difference) -> Difference:
        """The same difference with fewer calls and arguments, as far as trying each finds it."""

        def shorter(calls: list[Made]) -> bool:
            nonlocal one
            found = self._decided(calls)
            if found is None or found.allows != one.allows:
                return False
            if (found.refusing.code, found.refusing.rule) != (one.refusing.code, one.refusing.rule):
                return False
            found.names = one.names
            one = found
            return True

        size = len(one.calls) // 2
        while size and len(one.calls) <= MOST_SHRUNK:
            at = 0
            while at < len(one.calls) - 1:
                end = min(at + size, len(one.calls) - 1)
                if not shorter(one.calls[:at] + one.calls[end:]):
                    at += size
            size //= 2
        for name in list(one.calls[-1].arguments):
            shorter([call.without(name) for call in one.calls])
        return one

    def _limits(self) -> None:
        """Make many calls of what both policies allow by their rules."""
        seen: set[str] = set()
        for subject, (_, base) in self._base.items():
            applied = [self._applied(side, *subject) for side in (0, 1)]
            # What is alike in all that is counted is tried once, and so is what counts nothing.
            key = json.dumps([applied, sorted(base)])
            if applied[0] == applied[1] or key in seen:
                continue
            seen.add(key)
            limits = [limit for side in applied for limit in side]
            for story in pacing.stories(limits, base):
                self._play([self._made(subject, beat) for beat in story])
            if any(limit["max"] > pacing.MOST_CALLS for limit in limits if not _by_argument(limit)):
                text = f"limits over {pacing.MOST_CALLS:,} calls were not used up"
                if text not in self.found.not_covered:
                    self.found.not_covered.append(text)
        for limit, one, other in self._shared():
            count = pacing.calls_of(limit, self._base[one][1]) + 1
            beats = [pacing.Beat(pacing.BEGIN_NS)] * count
            self._play([self._made(name, beat) for name in (one, other) for beat in beats])

    def _shared(self) -> Iterator[tuple[dict[str, Any], Subject, Subject]]:
        """Two tools that share a quota by one policy and not by the other, and the limit."""
        users: list[dict[str, dict[Subject, dict[str, Any]]]] = [{}, {}]
        for side, found in enumerate(users):
            for subject in self._base:
                for limit in self._applied(side, *subject):
                    found.setdefault(pacing.quota(limit), {})[subject] = limit
        for side, found in enumerate(users):
            for quota, mine in found.items():
                theirs = users[1 - side].get(quota, {})
                pairs = itertools.permutations(list(mine)[:MOST_SHARING], 2)
                apart = ((a, b) for a, b in pairs if not (a in theirs and b in theirs))
                for one, other in itertools.islice(apart, PAIRS):
                    yield mine[one], one, other

    def _made(self, subject: Subject, beat: pacing.Beat) -> Made:
        given = {**self._base[subject][1], **beat.arguments}
        return Made(beat.at_ns, beat.who, *subject, given, beat.stays)

    def _applied(self, side: int, name: str, tool: bool) -> list[dict[str, Any]]:
        return [
            limit
            for pointer in self._met(side, name, tool)
            for limit in pacing.written(self._entries[side][pointer], pointer)
        ]

    def _play(self, calls: list[Made]) -> None:
        """Make calls one after the other, and note the first difference each way."""
        if self.found.tried + len(calls) > self._budget:
            self._skipped.append(calls[-1].name)
            return
        engines = [Engine(side.policies, LimitTable(256)) for side in self._sides]
        noted: set[bool] = set()
        running: list[list[Decision]] = []
        for number, made in enumerate(calls, 1):
            self.found.tried += 1
            decisions = made.decided(engines)
            running += [decisions] if made.stays else []
            allows = decisions[0].allowed
            if allows != decisions[1].allowed and allows not in noted:
                noted.add(allows)
                self._note(decisions, calls[:number])
            if len(noted) == 2:
                return


def _by_argument(limit: dict[str, Any]) -> bool:
    return isinstance(limit.get("cost", limit.get("increment_from")), str)
