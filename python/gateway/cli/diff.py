"""`interlock diff`: in words, what one policy allows and another does not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.problems import EXIT_PROBLEMS, load_policy

if TYPE_CHECKING:
    from gateway.author.examples import Difference, Found, Made, Policy

MOST_NAMES = 6
OPS = {
    "eq": "is",
    "neq": "is not",
    "lt": "is below",
    "lte": "is at most",
    "gt": "is above",
    "gte": "is at least",
    "in": "is one of",
    "not_in": "is none of",
    "regex": "matches",
    "contains": "contains",
}
NOT_COVERED = (
    "values that no bound, list or expression of the policies speaks of",
    "quotas that more than two tools share: they are called by twos",
    "what shadow mode would refuse",
)


@click.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def command(old: Path, new: Path, style: str) -> None:
    """Say what NEW allows that OLD refuses, and the other way round, each with an example.

    Both policies are asked about calls that they themselves speak of: names, patterns, the values
    on both sides of every bound, and sequences of calls that use up their limits. What is told is
    so, for the example was decided by both. What is not told may still be different; what was not
    looked at is listed. The exit code is 0 where no difference was found, and 1 where one was.
    """
    from gateway.author.difference import search
    from gateway.author.document import read
    from gateway.author.examples import Policy

    sides = [Policy(load_policy(path), read(path)) for path in (old, new)]
    found = search(sides[0], sides[1])
    if style == "json":
        click.echo(json.dumps(_as_data(found)))
    else:
        for line in _words(found, sides[0], sides[1]):
            click.echo(line)
    if found.differences:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _words(found: Found, old: Policy, new: Policy) -> Iterable[str]:
    titles = {
        "old": "NEW refuses what OLD allows",
        "new": "NEW allows what OLD refuses",
    }
    for allows, title in titles.items():
        some = [one for one in found.differences if one.allows == allows]
        if some:
            yield title
        for one in some:
            refusing = new if allows == "old" else old
            yield f"  {_what(one, refusing)}"
            yield from _example(one)
        if some:
            yield ""
    if not found.differences:
        yield "no difference was found"
        yield ""
    yield f"{found.tried:,} calls were tried; not looked at:"
    yield from (f"  {line}" for line in (*NOT_COVERED, *found.not_covered))


def _what(one: Difference, refusing: Policy) -> str:
    """What is refused, in words."""
    from gateway.author.coverage import at

    side = one.refusing
    names = ", ".join(f"`{name}`" for name in one.names[:MOST_NAMES])
    more = len(one.names) - MOST_NAMES
    names += f" and {more} more" if more > 0 else ""
    pointer = side.rule or ""
    where = f" ({pointer})" if pointer else ""
    match side.code:
        case "default-deny" | "method-denied" | "method-unknown" if pointer == "/default":
            return f"{names}: no entry names it{where}"
        case "hidden":
            return f"{names}: hidden{where}"
        case "tool-name-invalid":
            return f"{names}: a name that could be taken for another{where}"
    try:
        written = at(refusing.root, pointer).value
    except (LookupError, TypeError):
        return f"{names}: {side.code}{where}"
    if pointer.endswith("/action"):
        verb = "needs approval" if written == "require_approval" else "denied"
        return f"{names}: {verb} as a whole{where}"
    if not isinstance(written, dict) or "/limits/" in pointer or pointer.endswith("/rate_limit"):
        return f"{names}: {_limit(one, written)}{where}"
    said = " and ".join(_condition(each) for each in written.get("conditions") or []) or "always"
    if side.code == "indeterminate":
        return f"{names}: it cannot be decided whether {said}{where}"
    link = "unless" if "/require/" in pointer else "where"
    approval = "needs approval " if side.code == "approval-required" else ""
    return f"{names}: {approval}{link} {said}{where}"


def _limit(one: Difference, written: Any) -> str:
    if one.refusing.code != "limit-exceeded":
        return one.refusing.code
    if not isinstance(written, dict):
        return f"more than {written}"
    window = f" a {written['window']}" if "window" in written else " at the same time"
    return f"more than {written['max']:,}{window}, counted as `{written.get('counter', 'rate')}`"


def _condition(condition: dict[str, Any]) -> str:
    path = condition["path"].removeprefix("args.")
    value = json.dumps(condition["value"], ensure_ascii=False)
    if condition["op"] == "exists":
        return f"`{path}` is {'there' if condition['value'] else 'absent'}"
    return f"`{path}` {OPS[condition['op']]} {value}"


def _example(one: Difference) -> Iterable[str]:
    last = one.calls[-1]
    yield f"    {_shown(last)}"
    if len(one.calls) > 1:
        from gateway.author.calls import span

        took = span((last.at_ns - one.calls[0].at_ns) // 1_000_000)
        whose = {call.who for call in one.calls}
        by = "" if len(whose) == 1 else f" by {len(whose)} callers"
        others = Counter(call.name for call in one.calls if call.name != last.name)
        by += "".join(f", {count:,} of them of `{name}`," for name, count in others.items())
        yield f"    the {_ordinal(len(one.calls))} of {len(one.calls):,} calls{by} within {took}"
    for name, side in (("OLD", one.old), ("NEW", one.new)):
        rule = f" by {side.rule}" if side.rule else ""
        yield f"    {name}: {side.code}{rule}"


def _shown(call: Made) -> str:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    who = "" if call.who == ("ann", "default", "s1") else f"  as {' '.join(call.who)}"
    return f"{call.name} {arguments}{who}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{'th' if 10 < number % 100 < 14 else ending}"


def _as_data(found: Found) -> dict[str, Any]:
    def side(one: Any) -> dict[str, Any]:
        return {"code": one.code, "rule": one.rule, "message": one.message}

    return {
        "differences": [
            {
                "allows": one.allows,
                "names": one.names,
                "old": side(one.old),
                "new": side(one.new),
                "calls": [
                    {
                        "at_ns": call.at_ns,
                        "grant": call.who[0],
                        "server": call.who[1],
                        "session": call.who[2],
                        ("tool" if call.tool else "method"): call.name,
                        "arguments": call.arguments,
                    }
                    for call in one.calls
                ],
            }
            for one in found.differences
        ],
        "tried": found.tried,
        "not_covered": [*NOT_COVERED, *found.not_covered],
    }
