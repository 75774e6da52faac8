"""Calls that were made, out of decision logs or plain lists, one JSON object a line.

A line of a decision log tells what was decided; one of a plain list only what was called:
`{"at": "2026-03-02T10:00:12Z", "tool": "pay", "args": {"amount": 5}, "grant": "ci"}`, where `at`
(or `ts`) may also be seconds since 1970, and `tool` may be a `method` instead.
"""

from __future__ import annotations

import heapq
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from gateway.author.logfiles import writers

BEFORE_THE_POLICY = frozenset(
    {
        *("malformed-request", "duplicate-key", "header-mismatch", "batch-not-allowed"),
        *("body-too-large", "too-deep", "number-out-of-range", "host-not-allowed"),
        *("origin-not-allowed", "unauthenticated", "not-found", "session-mismatch"),
        *("method-not-allowed", "not-acceptable", "request-timeout", "unsupported-media-type"),
        *(
            "tool-changed",
            "overloaded",
            "draining",
            "log-unavailable",
            "state-unavailable",
            "internal-error",
        ),
    }
)
"""Codes of refusals that no policy has a say in: another one would not have changed them."""


_NOTHING = ""
"""What a line lacks that tells of the sidecar itself: its start, its end, a reload."""


class Logged(NamedTuple):
    """A call that was made.

    Attributes:
        at_ns: when it was decided, nanoseconds since 1970 UTC.
        took_ms: until it ended, milliseconds.
        tool: the tool of a `tools/call`; None for another `method`.
        names: names of all its arguments; None where they are not known.
        values: arguments whose values are known.
        code: what was decided of it; None in a plain list.
        rule: what decided, RFC 6901.
        shadow: (rule, code) of what shadow mode recorded.
        sent: whether the server may have seen it; else its charge was given back.
        approved: whether a person had approved it.
    """

    at_ns: int
    took_ms: float
    grant: str
    server: str
    session: str | None
    tool: str | None
    method: str
    names: tuple[str, ...] | None
    values: dict[str, Any]
    code: str | None
    rule: str | None
    shadow: tuple[tuple[str, str], ...] = ()
    sent: bool = True
    approved: bool = False


@dataclass
class Unread:
    """Lines that no call could be read from."""

    count: int = 0
    first: str | None = None
    """`file:line: reason` of the first one."""
    decided_before: int = 0
    """Messages that were refused before any policy was asked."""
    lost: int = 0
    """Lines that the log itself says it lacks."""

    def add(self, place: str, reason: str) -> None:
        self.count += 1
        self.first = self.first or f"{place}: {reason}"


@dataclass
class Calls:
    """The calls of several logs, in the order in which they were made. Can be gone through once.

    Args:
        files: their paths; `-` is standard input. What else belongs to a log is read with it: the
            files of its other writers, and the full ones.
        grants: only calls of these; of all, if there are none.
        servers: likewise.
        lookahead: lines within which the order is mended. A decision log has the line of a call
            when the call has ended, and tells in it when it was decided.
    """

    files: list[Path]
    grants: frozenset[str] = frozenset()
    servers: frozenset[str] = frozenset()
    lookahead: int = 10_000
    unread: Unread = field(default_factory=Unread)

    def __iter__(self) -> Iterator[Logged]:
        """Raises `OSError` where a file cannot be read."""
        each = [self._in_order(self._chain(own)) for own in self._streams()]
        merged: Iterable[Logged]
        merged = each[0] if len(each) == 1 else heapq.merge(*each, key=lambda call: call.at_ns)
        for call in merged:
            if self.grants and call.grant not in self.grants:
                continue
            if self.servers and call.server not in self.servers:
                continue
            yield call

    def _streams(self) -> list[list[Path]]:
        """The files to read, by who wrote them; none twice."""
        seen: set[Path] = set()
        streams = []
        for path in self.files:
            for own in list(writers(path)) or [[path]]:
                streams.append([file for file in own if file not in seen])
                seen.update(own)
        return [own for own in streams if own]

    def _chain(self, files: list[Path]) -> Iterator[Logged]:
        for file in files:
            yield from self._file(file)

    def _in_order(self, calls: Iterator[Logged]) -> Iterator[Logged]:
        """The calls by when they were decided, as far as the lookahead goes."""
        # The number keeps calls of one instant as they were, and from being compared themselves.
        waiting: list[tuple[int, int, Logged]] = []
        for number, call in enumerate(calls):
            if len(waiting) < self.lookahead:
                heapq.heappush(waiting, (call.at_ns, number, call))
            else:
                yield heapq.heappushpop(waiting, (call.at_ns, number, call))[2]
        yield from (call for _, _, call in sorted(waiting))

    def _file(self, path: Path) -> Iterator[Logged]:
        loads = orjson.loads
        with _opened(path) as file:
            for number, line in enumerate(file, 1):
                if line.isspace():
                    continue
                try:
                    told = loads(line)
                except ValueError:
                    self.unread.add(f"{path}:{number}", "not JSON")
                    continue
                if not isinstance(told, dict):
                    self.unread.add(f"{path}:{number}", "not an object")
                    continue
                call = self._call(told)
                if call == _NOTHING:
                    continue
                if isinstance(call, str):
                    self.unread.add(f"{path}:{number}", call)
                elif call is None:
                    self.unread.decided_before += 1
                else:
                    yield call

    def _call(self, told: dict[str, Any]) -> Logged | str | None:
        """The call of a line, or what it lacks; None for what no policy decided."""
        if "event" in told and "tool" not in told:
            return _NOTHING
        at = _instant(told.get("ts", told.get("at")))
        if at is None:
            return "it has no `ts`, an RFC 3339 instant or seconds since 1970"
        gap = told.get("gap")
        self.unread.lost += gap if isinstance(gap, int) else 0
        code = told.get("code")
        if code == "approval-denied":
            code = "approval-required"  # the policy's part in it
        if code in BEFORE_THE_POLICY or ("effect" in told and told.get("policy", "") is None):
            return None
        tool, method = told.get("tool"), told.get("method")
        if tool is None and method is None:
            # A client's answer to its server is a line of the log, and nothing that a policy rules.
            return None if "effect" in told else "it has neither `tool` nor `method`"
        values = told.get("args")
        if not isinstance(values, dict):
            values = {}
        elif "effect" in told:
            values = {name: value for name, value in values.items() if not _is_omitted(value)}
        texts = (told.get("grant") or "default", told.get("server") or "default", method or "")
        if not all(isinstance(text, str) for text in (*texts, tool or "")):
            return "a name in it is not a string"
        return Logged(
            at,
            told.get("duration_ms") or 0,
            texts[0],
            texts[1],
            told.get("session"),
            None if method not in (None, "tools/call") else tool,
            method or "tools/call",
            _names(told, values),
            values,
            code if isinstance(code, str) else None,
            told.get("rule"),
            tuple(_shadow(told)) if told.get("shadow") else (),
            told.get("fault") != "upstream-unreachable",
            "approval" in told and _approved(told["approval"]),
        )


def _opened(path: Path) -> AbstractContextManager[BinaryIO]:
    """A file, or standard input for `-`."""
    return nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb")


def _names(told: dict[str, Any], values: dict[str, Any]) -> tuple[str, ...] | None:
    """The names of all arguments: `arg_keys` of a log, or those of `args` in a plain list."""
    names = told.get("arg_keys")
    if isinstance(names, list):
        # Of names that are too many or too long the log has a part, with an ellipsis in it.
        cut = not all(isinstance(name, str) and "…" not in name for name in names)
        return None if cut else tuple(names)
    return tuple(values) if "args" in told and "effect" not in told else None


def _is_omitted(value: Any) -> bool:
    """Whether a log has only the length of a value."""
    return isinstance(value, str) and re.fullmatch(r"\([0-9]+ bytes\)", value) is not None


def _approved(approval: object) -> bool:
    return isinstance(approval, dict) and approval.get("state") == "approved"


def _shadow(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What shadow mode recorded, as far as the log has it."""
    for one in told["shadow"]:
        if isinstance(one, dict) and "rule" in one:
            yield str(one["rule"]), str(one.get("code", ""))


def _instant(value: Any) -> int | None:
    """Nanoseconds since 1970 UTC, exact to the microsecond."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        # Naive times would be taken for this machine's own.
        seconds = moment.timestamp() if moment.tzinfo is not None else None
        return None if seconds is None else round(seconds * 1e6) * 1_000
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return round(value * 1e6) * 1_000
    return None
