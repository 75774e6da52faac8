"""Hypothesis strategies for policies and calls, over few names so that things meet.

Every policy made here is valid: limits that share a counter share their algorithm and cost, which
hang on the counter's name.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hypothesis import strategies as st

TOOLS = ("a", "ab", "b", "aXb", "Ab")
PATTERNS = ("a", "ab", "b", "a*", "*b", "*", "a*b", "A*")
PATHS = (
    "args", "args.x", "args.y", "args.o.x", "args.l[0]", "args.l[1].x", "args.l[*]", "args.l[*].x",
)  # fmt: skip
METHODS = ("resources/read", "prompts/get", "tools/list", "ping", "x/y", "tasks/get")

MODES = st.sampled_from(["enforce", "shadow"])
WORDS = st.sampled_from(["", "a", "b", "ab", "é", "\U0001f600", "5"])
PLAIN_NUMBERS = st.sampled_from([0, 1, 2, 5, -1, 0.5, 2.5, 100, 1e21])
SPELLINGS = st.sampled_from(
    """0 -0 1 1.0 10e-1 2 5 5.00 0.5 5e-1 2.5 -1 100 1E2 9007199254740993 9007199254740992
    0.10000000000000001 0.30000000000000004 1e21 1000000000000000000000 2.500000000000000000001
    1e300 5e-324 123456789012345678""".split()  # noqa: SIM905
)


@cache
def texts() -> st.SearchStrategy[str]:
    """Strings as JSON, some spelt with escapes."""
    return st.one_of(
        WORDS.map(json.dumps), WORDS.map(lambda word: json.dumps(word, ensure_ascii=False))
    )


@cache
def values() -> st.SearchStrategy[str]:
    """JSON text of a value of any kind."""
    scalars = st.one_of(SPELLINGS, texts(), st.sampled_from(["true", "false", "null"]))
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda found: f"[{','.join(found)}]"),
            inner.map(lambda found: f'{{"x":{found}}}'),
            inner.map(lambda found: f'{{"x":1,"X":{found}}}'),
        ),
        max_leaves=4,
    )


@cache
def arguments() -> st.SearchStrategy[str]:
    """JSON text of the arguments of a call."""
    lists = st.lists(values(), max_size=3).map(lambda found: f"[{','.join(found)}]")
    members = {
        "x": values(),
        "y": values(),
        "o": values().map(lambda found: f'{{"x":{found}}}'),
        "l": st.one_of(lists, values()),
        "n": st.one_of(st.sampled_from(["1", "2", "0.5", "3.0"]), values()),
        "k": st.one_of(texts(), values()),
    }
    # What some servers take for one of them, the last of them for a `k`.
    disguised = st.tuples(st.sampled_from(["X", "L", "N", "\u212a"]), values()).map(
        lambda found: dict([found])
    )
    extra = st.integers(0, 7).flatmap(lambda n: disguised if n == 7 else st.just({}))
    return st.tuples(st.fixed_dictionaries({}, optional=members), extra).map(
        lambda found: (
            "{"
            + ",".join(f'"{key}":{text}' for key, text in {**found[0], **found[1]}.items())
            + "}"
        )
    )


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    """One condition, its value of a kind that its operator takes."""
    scalars = st.one_of(WORDS, PLAIN_NUMBERS, st.booleans(), st.none())
    takes: dict[str, st.SearchStrategy[Any]] = {
        "eq": scalars,
        "neq": scalars,
        "lt": st.one_of(WORDS, PLAIN_NUMBERS),
        "lte": st.one_of(WORDS, PLAIN_NUMBERS),
        "gt": st.one_of(WORDS, PLAIN_NUMBERS),
        "gte": st.one_of(WORDS, PLAIN_NUMBERS),
        "in": st.lists(scalars, min_size=1, max_size=3),
        "not_in": st.lists(scalars, min_size=1, max_size=3),
        "exists": st.booleans(),
        "regex": st.sampled_from(["a", "^a", "b$", "^a?b*$", "[^a]", "5|é"]),
        "contains": st.one_of(WORDS, PLAIN_NUMBERS),
    }
    op = draw(st.sampled_from(sorted(takes)))
    return {"path": draw(st.sampled_from(PATHS)), "op": op, "value": draw(takes[op])}


@cache
def rules() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rules of one stage."""
    rule = st.fixed_dictionaries(
        {"conditions": st.lists(conditions(), min_size=1, max_size=2)}, optional={"mode": MODES}
    )
    return st.lists(rule, min_size=1, max_size=2)


KINDS: dict[str, dict[str, Any]] = {
    "calls": {},
    "slides": {"algorithm": "sliding_window"},
    "drips": {"algorithm": "token_bucket", "window": "minute", "max": 4, "burst": 2},
    "runs": {"algorithm": "concurrency"},
    "spends": {"cost": "args.n"},
    "slides_spent": {"algorithm": "sliding_window", "cost": "args.n", "scale": 1},
    "each": {"key": "args.k"},
    "halves": {"cost": 0.5},
}
"""What a limit of this counter always says."""

WINDOWS = ("minute", "10s", "month")


@st.composite
def limits(
    draw: st.DrawFn, windows: tuple[str, ...] = ("minute", "10s", "month")
) -> dict[str, Any]:
    """One limit."""
    counter = draw(st.sampled_from(sorted(KINDS)))
    found: dict[str, Any] = {"counter": counter, "max": draw(st.integers(0, 5))}
    if counter not in ("runs", "drips"):
        allowed = [w for w in windows if w != "month" or not counter.startswith("slides")]
        found["window"] = draw(st.sampled_from(allowed))
    if draw(st.booleans()):
        found["scope"] = draw(st.sampled_from(["grant", "session", "server", "global"]))
    if draw(st.integers(0, 3)) == 0:
        found["mode"] = draw(MODES)
    return {**found, **KINDS[counter]}


@cache
def entries() -> st.SearchStrategy[dict[str, Any]]:
    """What a policy says of a tool or method."""
    return st.fixed_dictionaries(
        {},
        optional={
            "deny_if": rules(),
            "require": rules(),
            "require_approval": rules(),
            "limits": st.lists(limits(), min_size=1, max_size=2),
            "mode": MODES,
        },
    ) | st.sampled_from(
        [{}, {"action": "deny"}, {"action": "allow"}, {"action": "require_approval"}]
    )


@cache
def policies() -> st.SearchStrategy[str]:
    """A valid policy document, as JSON text."""
    everywhere = st.fixed_dictionaries(
        {},
        optional={"deny_if": rules(), "require": rules(), "limits": st.lists(limits(), max_size=2)},
    )
    return st.fixed_dictionaries(
        {"version": st.just("1"), "default": st.sampled_from(["allow", "deny"])},
        optional={
            "hide": st.lists(st.sampled_from(PATTERNS), max_size=2, unique=True),
            "all_tools": everywhere,
            "tools": st.dictionaries(st.sampled_from(PATTERNS), entries(), max_size=4),
            "methods": st.dictionaries(
                st.sampled_from(["resources/read", "prompts/get", "x/*"]), entries(), max_size=2
            ),
            "mode": MODES,
        },
    ).map(json.dumps)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A well-formed request, mostly a tool call."""
    if draw(st.integers(0, 5)) == 0:
        method = draw(st.sampled_from(METHODS))
        given = draw(arguments())
        params = given if draw(st.booleans()) else f'{{"arguments":{given}}}'
        return f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}'.encode()
    tool = draw(st.sampled_from(TOOLS))
    given = f',"arguments":{draw(arguments())}' if draw(st.integers(0, 4)) else ""
    params = f'{{"name":"{tool}"{given}}}'
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'.encode()


@cache
def callers() -> st.SearchStrategy[dict[str, str | None]]:
    """One of a few grants, servers and sessions."""
    return st.fixed_dictionaries(
        {"grant": st.sampled_from(["g", "h"]), "server": st.sampled_from(["s", "t"])},
        optional={"session": st.sampled_from(["1", "2"])},
    )
