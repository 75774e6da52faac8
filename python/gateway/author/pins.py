"""`interlock.lock`: the definitions of tools that someone has read, as digests.

INVARIANT: a digest is taken by the core, so that what is pinned here is what is compared at run
time. A lock is written whole or not at all, and only what it was asked to accept changes in it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gateway._core import tool_digest
from gateway.errors import Problem, SettingsError

if TYPE_CHECKING:
    from gateway.author.tools import Listing, Tool

VERSION = "1"
PARTS = ("description", "inputSchema", "annotations")
MAX_LOCK_BYTES = 16 << 20

Kind = Literal["changed", "new", "gone", "renamed"]


@dataclass(frozen=True, slots=True)
class Pin:
    """One tool as it was read.

    Attributes:
        digest: of the whole definition.
        parts: digests of its description, schema, annotations, and of all but the name
            (`definition`), so that a change can be told by what changed, and a rename as one.
    """

    digest: str
    parts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Lock:
    """Pinned tools by server."""

    servers: Mapping[str, Mapping[str, Pin]] = field(default_factory=dict)

    def with_server(self, name: str, pins: Mapping[str, Pin]) -> Lock:
        """The lock with other pins for one server."""
        return Lock({**self.servers, name: dict(pins)})


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what is pinned and what a server offers.

    Attributes:
        tool: its name now; of one that is gone, its last.
        before: its name before it was renamed.
        parts: what of a changed definition is another.
    """

    server: str
    kind: Kind
    tool: str
    before: str | None = None
    parts: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """As it is printed."""
        return {
            "server": self.server,
            "change": self.kind,
            "tool": self.tool,
            "before": self.before,
            "parts": list(self.parts),
        }


def pin(tool: Tool) -> Pin:
    """The digests of a definition."""
    given = dict(tool.definition)
    rest = {key: value for key, value in given.items() if key != "name"}
    parts = {part: _digest({part: given[part]}) for part in PARTS if part in given}
    return Pin(_digest(given), {**parts, "definition": _digest(rest)})


def _digest(value: Mapping[str, Any]) -> str:
    return tool_digest(json.dumps(value, ensure_ascii=False).encode())


def pins(tools: Iterable[Tool]) -> dict[str, Pin]:
    """The pins of a server's tools, by name."""
    return {tool.name: pin(tool) for tool in tools}


def differences(lock: Lock, listings: Sequence[Listing]) -> list[Change]:
    """What servers offer otherwise than it is pinned, in the order of their lists; gone ones last.

    A tool that is gone and a new one that is equal but for its name are one rename.
    """
    found: list[Change] = []
    for listing in listings:
        pinned = lock.servers.get(listing.server, {})
        live = pins(listing.tools)
        gone = {name: one for name, one in pinned.items() if name not in live}
        for name, one in live.items():
            before = pinned.get(name)
            if before is None:
                was = next((n for n, old in gone.items() if _same(old, one)), None)
                if was is None:
                    found.append(Change(listing.server, "new", name))
                else:
                    del gone[was]
                    found.append(Change(listing.server, "renamed", name, was))
            elif before.digest != one.digest:
                found.append(Change(listing.server, "changed", name, parts=_parts(before, one)))
        found += [Change(listing.server, "gone", name) for name in gone]
    return found


def _same(one: Pin, other: Pin) -> bool:
    return one.parts.get("definition") == other.parts.get("definition")


def _parts(before: Pin, after: Pin) -> tuple[str, ...]:
    parts = tuple(p for p in PARTS if before.parts.get(p) != after.parts.get(p))
    return parts or ("other members",)


def accepted(lock: Lock, listings: Sequence[Listing], names: Iterable[str] | None) -> Lock:
    """The lock with what servers offer now.

    Args:
        names: the tools to accept, by the name they have or had; None for all.

    Raises:
        SettingsError: a name of none of the differences.
    """
    changes = differences(lock, listings)
    wanted = None if names is None else set(names)
    if wanted is not None:
        known = {name for one in changes for name in (one.tool, one.before) if name is not None}
        if unknown := sorted(wanted - known):
            raise SettingsError(
                [Problem(f"there is no change of `{name}` to accept") for name in unknown]
            )
    for listing in listings:
        kept = dict(lock.servers.get(listing.server, {}))
        live = pins(listing.tools)
        for one in (change for change in changes if change.server == listing.server):
            if wanted is not None and wanted.isdisjoint({one.tool, one.before}):
                continue
            kept.pop(one.before or one.tool, None)
            if one.tool in live:
                kept[one.tool] = live[one.tool]
        lock = lock.with_server(listing.server, kept)
    return lock


def read(path: Path) -> Lock:
    """A lock from its file.

    Raises:
        SettingsError: it cannot be used.
    """
    from gateway.author.tools import Unreadable, strict

    try:
        with path.open("rb") as file:
            document = strict(file.read(MAX_LOCK_BYTES))
        return _lock(document)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise SettingsError([Problem(f"cannot read `{path}`: {why}")]) from error
    except (Unreadable, AttributeError, KeyError, TypeError, ValueError) as error:
        problem = Problem(
            f"`{path}` is no lock", "`interlock scan --lock FILE --accept` writes one"
        )
        raise SettingsError([problem]) from error


def _lock(document: Any) -> Lock:
    if document["version"] != VERSION or set(document) != {"version", "servers"}:
        raise ValueError("another version")
    servers: dict[str, dict[str, Pin]] = {}
    for server, given in document["servers"].items():
        servers[server] = {}
        for name, one in given["tools"].items():
            parts = {str(part): _hex(digest) for part, digest in one["parts"].items()}
            servers[server][name] = Pin(_hex(one["digest"]), parts)
    return Lock(servers)


def _hex(text: Any) -> str:
    if not isinstance(text, str) or len(bytes.fromhex(text)) != 32:
        raise ValueError("not a digest")
    return text.lower()


def written(lock: Lock) -> str:
    """The lock as a file: sorted, so that a review sees what changed and nothing else."""
    servers = {
        server: {
            "tools": {
                name: {"digest": one.digest, "parts": dict(one.parts)}
                for name, one in sorted(tools.items())
            }
        }
        for server, tools in sorted(lock.servers.items())
    }
    document = {"version": VERSION, "servers": servers}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write(lock: Lock, path: Path) -> None:
    """Put the lock in the place of the file, in one step.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(written(lock))
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
