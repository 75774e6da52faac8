"""The servers that desktop clients' configuration files on this machine name.

INVARIANT: files are read and nothing else; what stands in them of secrets stays in the targets.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.author.targets import Target
from gateway.author.tools import Unreadable, strict

MAX_FILE_BYTES = 16 << 20

_STRING_OR_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*+")|//[^\n]*|/\*.*?\*/', re.S)
_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+")|,(?=\s*[}\]])', re.S)
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_VARIABLE = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.S)


@dataclass(frozen=True, slots=True)
class Found:
    """What the files name, and what is wrong with some of it.

    Attributes:
        files: those that are there.
        problems: a line for each file or server that cannot be used.
    """

    targets: list[Target] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def places(home: Path, folder: Path, variables: Mapping[str, str]) -> list[tuple[str, Path]]:
    """Where clients keep their servers: the client's name and a file, which need not exist.

    Args:
        home: the user's.
        folder: the project at hand, whose own files are looked at too.
        variables: the environment.
    """
    if sys.platform == "darwin":
        settings = home / "Library" / "Application Support"
    elif sys.platform == "win32":
        settings = Path(variables.get("APPDATA", home / "AppData" / "Roaming"))
    else:
        settings = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    return [
        ("Claude Desktop", settings / "Claude" / "claude_desktop_config.json"),
        ("Claude Code", home / ".claude.json"),
        ("Claude Code", folder / ".mcp.json"),
        ("Cursor", home / ".cursor" / "mcp.json"),
        ("Cursor", folder / ".cursor" / "mcp.json"),
        ("VS Code", settings / "Code" / "User" / "mcp.json"),
        ("VS Code", settings / "Code" / "User" / "settings.json"),
        ("VS Code", folder / ".vscode" / "mcp.json"),
        ("Windsurf", home / ".codeium" / "windsurf" / "mcp_config.json"),
    ]


def find(home: Path, folder: Path, variables: Mapping[str, str]) -> Found:
    """Every server that a client on this machine would start, once each."""
    found = Found()
    seen: set[tuple[object, ...]] = set()
    for client, path in places(home, folder, variables):
        if not path.is_file():
            continue
        found.files.append(path)
        try:
            with path.open("rb") as file:
                text = file.read(MAX_FILE_BYTES)
            document = strict(plain(text.decode("utf-8-sig")).encode())
        except (OSError, UnicodeDecodeError, Unreadable) as error:
            why = (error.strerror or "cannot be read") if isinstance(error, OSError) else error
            found.problems.append(f"{client}: `{path}`: {str(why).lower()}")
            continue
        given = {**variables, "userHome": str(home), "workspaceFolder": str(folder)}
        for name, entry in _entries(document):
            try:
                target = _target(name, entry, str(path), given)
            except ValueError as error:
                found.problems.append(f"{client}: server `{name}`: {error}")
                continue
            key = (target.url, target.command, tuple(sorted(target.env.items())))
            if key not in seen:
                seen.add(key)
                found.targets.append(target)
    return _distinct(found)


def plain(text: str) -> str:
    """JSON without comments and trailing commas, every line where it was."""
    without = _STRING_OR_COMMENT.sub(
        lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text
    )
    return _STRING_OR_COMMA.sub(lambda found: found[1] or " ", without)


def _entries(document: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Entries of servers, wherever one of the clients keeps them."""
    if not isinstance(document, dict):
        return
    projects = document.get("projects")
    holders: list[object] = [document, document.get("mcp")]
    holders += projects.values() if isinstance(projects, dict) else []
    for holder in holders:
        for key in ("mcpServers", "servers"):
            servers = holder.get(key) if isinstance(holder, dict) else None
            if isinstance(servers, dict):
                yield from ((name, e) for name, e in servers.items() if isinstance(e, dict))


def _target(
    name: str, entry: Mapping[str, Any], source: str, variables: Mapping[str, str]
) -> Target:
    """A target from an entry.

    Raises:
        ValueError: it cannot be asked; the message is for people.
    """
    if entry.get("disabled") is True or entry.get("enabled") is False:
        raise ValueError("is switched off, and was left out")
    if entry.get("type") == "sse":
        raise ValueError("speaks the older HTTP+SSE transport, which is not spoken here")
    url = entry.get("url", entry.get("serverUrl"))
    if isinstance(url, str):
        headers = _strings(entry.get("headers"), variables)
        return Target(name, url=_fill(url, variables), headers=headers, source=source)
    command, args = entry.get("command"), entry.get("args", [])
    if not isinstance(command, str) or not isinstance(args, list):
        raise ValueError("has neither a command nor a url")
    words = [_fill(word, variables) for word in [command, *args] if isinstance(word, str)]
    env = _strings(entry.get("env"), variables)
    return Target(name, command=_unwrapped(words), env=env, source=source)


def _unwrapped(words: list[str]) -> tuple[str, ...]:
    """The command behind `interlock wrap`, whose policy would hide what is looked for."""
    program = os.path.basename(words[0]).removesuffix(".exe")
    if program == "interlock" and words[1:2] == ["wrap"] and "--" in words:
        return tuple(words[words.index("--") + 1 :])
    return tuple(words)


def _strings(given: object, variables: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(given, dict):
        return {}
    return {
        name: _fill(value, variables) for name, value in given.items() if isinstance(value, str)
    }


def _fill(text: str, variables: Mapping[str, str]) -> str:
    """Text with the placeholders that clients know replaced.

    Raises:
        ValueError: what one stands for is not known here.
    """

    def value(found: re.Match[str]) -> str:
        name = _VARIABLE.fullmatch(found[1])
        if name is None or (name[1] not in variables and name[2] is None):
            raise ValueError(f"needs `{found[0]}`, which is not known here")
        return variables.get(name[1]) or name[2] or ""

    return _PLACEHOLDER.sub(value, text)


def _distinct(found: Found) -> Found:
    """Names are labels in a report: two servers of one name get the number of their place."""
    taken: dict[str, int] = {}
    named = []
    for target in found.targets:
        taken[target.name] = number = taken.get(target.name, 0) + 1
        label = target.name if number == 1 else f"{target.name} ({number})"
        named.append(
            Target(label, target.url, target.command, target.env, target.headers, target.source)
        )
    return Found(named, found.files, found.problems)
