"""Asks servers for all their tools, in the era that they speak.

A server is greeted with the handshake of the legacy era first: every server of today knows it, and
a process serves the era of its first request. One that refuses it is asked anew without one.

INVARIANT: whatever a server does, asking it ends within the time that is given, with its tools or a
reason; a list is whole or it is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.author.talk import MODERN, Refusal, Talk, opened
from gateway.author.targets import ScanError, Target
from gateway.author.tools import Listing, Unreadable, read_tools
from gateway.upstream.child import printable

TIMEOUT_S = 60.0
"""For one server; some are fetched from a registry before they start."""
MAX_TOOLS = 5_000
MAX_PAGES = 500
AT_ONCE = 4
"""Servers that are asked at the same time."""

_LEGACY = "2025-11-25"
_CLIENT = {"name": "interlock", "version": "1"}
_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking one server: its tools, or why there are none."""

    target: Target
    listing: Listing | None = None
    problem: str | None = None


async def ask_all(
    targets: Sequence[Target],
    *,
    timeout_s: float = TIMEOUT_S,
    told: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Ask several servers, a few at once; `told` hears of each as it comes to an end."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(target: Target) -> Outcome:
        async with turns:
            try:
                outcome = Outcome(target, await ask(target, timeout_s=timeout_s))
            except ScanError as error:
                outcome = Outcome(target, problem=str(error))
        told(outcome)
        return outcome

    return list(await asyncio.gather(*(one(target) for target in targets)))


async def ask(target: Target, *, timeout_s: float = TIMEOUT_S) -> Listing:
    """All tools of a server.

    Raises:
        ScanError: it cannot be started or reached, or does not answer as MCP says.
    """
    try:
        async with asyncio.timeout(timeout_s):
            try:
                return await _legacy(target)
            except Refusal as first:
                return await _modern(target, first)
    except TimeoutError as error:
        raise ScanError(f"it did not tell its tools within {timeout_s:g} s") from error
    except Unreadable as error:
        raise ScanError(f"it answers no MCP: {error}") from error


async def _legacy(target: Target) -> Listing:
    async with opened(target, modern=False) as talk:
        hello = {"protocolVersion": _LEGACY, "capabilities": {}, "clientInfo": _CLIENT}
        told = await talk.ask("initialize", hello)
        try:
            await talk.tell("notifications/initialized")
            return await _list(talk, target, told.get("serverInfo"), {})
        except Refusal as error:
            raise ScanError(str(error)) from error


async def _modern(target: Target, first: Refusal) -> Listing:
    """Ask without a handshake; where that is refused too, the first refusal tells more."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": _CLIENT,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"_meta": meta}
    async with opened(target, modern=True) as talk:
        try:
            told = await talk.ask("server/discover", params)
        except (Refusal, ScanError):
            raise ScanError(str(first)) from None
        try:
            return await _list(talk, target, told.get("serverInfo"), params)
        except Refusal as error:
            raise ScanError(str(error)) from error


async def _list(talk: Talk, target: Target, info: object, params: Mapping[str, Any]) -> Listing:
    entries: list[Any] = []
    cursors: set[str] = set()
    more: dict[str, Any] = {}
    while True:
        page = await talk.ask("tools/list", {**params, **more})
        found = page.get("tools")
        if not isinstance(found, list):
            raise Unreadable("its answer to `tools/list` has no tools")
        entries += found
        if len(entries) > MAX_TOOLS:
            raise ScanError(f"it lists more than {MAX_TOOLS:,} tools")
        cursor = page.get("nextCursor")
        if cursor is None:
            break
        if not isinstance(cursor, str) or cursor in cursors or len(cursors) == MAX_PAGES:
            raise ScanError("its list of tools does not end")
        cursors.add(cursor)
        more = {"cursor": cursor}
    return Listing(target.name or _own_name(info), read_tools(entries))


def _own_name(info: object) -> str:
    """What a server calls itself, as far as it can be shown."""
    name = info.get("name") if isinstance(info, dict) else None
    if not isinstance(name, str) or not name.strip():
        return "server"
    return printable(name.strip().encode("utf-8", "replace"))[:_NAME_CHARS]
