"""What of a definition opens an attack, whatever the tool's class; docs/attacks.md explains each.

INVARIANT: a flag rests on the definition's own words; it warns a reader and decides nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.author.tools import Listing, Tool

MOST_PLACES = 2_000
"""Texts of one definition that are looked at; what has more is flagged for that."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One thing to look at before a tool is allowed.

    Attributes:
        slug: its name in docs/attacks.md.
        why: where and what, in the definition's own words.
    """

    slug: str
    why: str


FLAGS = (
    "takes-url",
    "takes-path",
    "takes-code",
    "returns-secrets",
    "hidden-instructions",
    "invisible-characters",
    "lookalike-name",
)

_ARGUMENTS: dict[str, re.Pattern[str]] = {
    "takes-url": re.compile(
        r"(?:^|_)(?:ur[li]s?|href|link|webhook|endpoint|website|callback)(?:_|$)"
    ),
    "takes-path": re.compile(
        r"(?:^|_)(?:paths?|file_?names?|files?|director(?:y|ies)|dir|folders?|cwd)$|^(?:repo_path|destination)$"
    ),
    "takes-code": re.compile(
        r"(?:^|_)(?:command|commands|cmd|script|code|sql|cypher|javascript|expression|shell|eval|pipeline)$"
    ),
}
_QUERY = re.compile(r"\b(?:sql|cypher|graphql|kql|promql|nrql|select statement)\b", re.I)
_SECRET = re.compile(
    r"\b(?:secrets?|passwords?|credentials?|api[ _-]?keys?|private[ _-]?keys?|access[ _-]?tokens?|"
    r"connection[ _-]?strings?|environment variables?|env(?:ironment)? vars?|cookies)\b",
    re.I,
)
_GIVES = re.compile(
    r"\b(?:get|gets|list|lists|read|reads|return|returns|show|shows|fetch|fetches|retrieve|retrieves|print|prints|"
    r"reveal|reveals|export|exports|dump|dumps)\b",
    re.I,
)
_INSTRUCTIONS = re.compile(
    r"<\s*/?\s*(?:important|system|secret|instructions?|hidden)\s*>|<!--"
    r"|\b(?:ignore|disregard|forget|override)\s+(?:\w+\s+){0,3}"
    r"(?:previous|prior|above|earlier|other|system)\b.{0,40}\b(?:instruction|prompt|message|rule|tool)"
    r"|\b(?:do not|don't|never|without)\s+(?:\w+\s+){0,2}"
    r"(?:tell|mention|inform|reveal|notify)(?:ing)?\b.{0,30}\b(?:user|human|anyone)"
    r"|\b(?:before|whenever|when)\s+(?:using|calling|you use|you call)\s+"
    r"(?:any|every|another|other)\b.{0,20}\btools?\b"
    r"|\b(?:read|send|include|pass|upload|append)\b.{0,60}"
    r"(?:~/|\.ssh|id_rsa|\.env\b|/etc/passwd|mcp\.json|\.aws/)"
    r"|\bsystem prompt\b",
    re.I | re.S,
)
_SPECIAL = {"Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
_JOINER = "\u200d"
# Letters and digits that look like a Latin letter, and that letter: Cyrillic, Greek, the rest.
_LIKE = str.maketrans(
    "авеіјкмнорсԁѕтухһԛԝαβγεικνορτυχω0135|ıłø",  # noqa: RUF001
    "abeijkmhopcdstyxhqwabyeiknoptuxwoleslilo",
)
_CLOSE_FROM = 8


def flags(tool: Tool) -> Iterator[Flag]:
    """What is to be said of one definition, each flag once, in the order of `FLAGS`."""
    texts = list(_texts(tool))
    for slug, pattern in _ARGUMENTS.items():
        for name, schema in tool.properties.items():
            if pattern.search(_snake(name)) or _is_by_schema(slug, name, schema):
                yield Flag(slug, f"argument `{name[:80]}`")
                break
    if why := _secrets(tool):
        yield Flag("returns-secrets", why)
    for place, text in texts:
        if found := _INSTRUCTIONS.search(text):
            yield Flag("hidden-instructions", f'{place} says "{found[0][:120]}"')
            break
    for place, text in texts:
        if (character := _invisible(text)) is not None:
            yield Flag("invisible-characters", f"{place} has U+{ord(character):04X}")
            break


def _snake(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def _is_by_schema(slug: str, name: str, schema: Mapping[str, Any]) -> bool:
    told = schema.get("description")
    match slug:
        case "takes-url":
            return schema.get("format") in ("uri", "url")
        case "takes-code":
            return "query" in _snake(name) and isinstance(told, str) and bool(_QUERY.search(told))
    return False


def _secrets(tool: Tool) -> str | None:
    """Where a definition says that secrets come back: one sentence that names them and a giving."""
    name = tool.name.replace("_", " ").replace("-", " ")
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    for place, text in (("name", name), *(("description", s) for s in _sentences(tool))):
        found = _SECRET.search(text)
        if found and (_GIVES.search(text) or re.search(r"\benv\b", text)):
            return f'{place} says "{found[0]}"'
    if re.search(r"\b(?:get|print|list|show)\s+env\b", name, re.I):
        return f'name says "{name}"'
    return None


def _sentences(tool: Tool) -> list[str]:
    return re.split(r"(?<=[.!?])\s|\n", tool.description[:4_000])[:3]


def _texts(tool: Tool) -> Iterator[tuple[str, str]]:
    """Every text of a definition, with its place; keys too, which a model reads like the rest."""
    stack: list[tuple[str, Any]] = [("the definition", dict(tool.definition))]
    if not tool.definition:
        stack = [("name", tool.name), ("description", tool.description)]
    for _ in range(MOST_PLACES):
        if not stack:
            return
        place, value = stack.pop()
        if isinstance(value, str):
            yield place, value
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield "a key", key
                stack.append((f"`{key[:40]}`", inner))
        elif isinstance(value, list):
            stack += [(place, inner) for inner in value]


def _invisible(text: str) -> str | None:
    """The first character that a person does not see and a model does.

    A joiner between two symbols is how an emoji of several parts is written.
    """
    for at, c in enumerate(text):
        category = unicodedata.category(c)
        if category in _SPECIAL or (category == "Cc" and c not in "\n\r\t"):
            around = text[at - 1 : at] + text[at + 1 : at + 2]
            if c == _JOINER and any(unicodedata.category(x) in ("So", "Mn", "Sk") for x in around):
                continue
            return c
    return None


def lookalikes(listings: Sequence[Listing]) -> dict[tuple[str, str], Flag]:
    """Names that could be taken for those of another server's tool, by server and name."""
    found: dict[tuple[str, str], Flag] = {}
    by_skeleton: dict[str, list[tuple[str, str]]] = {}
    for listing in listings:
        for tool in listing.tools:
            for key in _keys(skeleton(tool.name)):
                by_skeleton.setdefault(key, []).append((listing.server, tool.name))
    for owners in by_skeleton.values():
        for server, name in owners:
            for other_server, other in owners:
                if server != other_server and (server, name) not in found and _close(name, other):
                    why = f"`{other}` of `{other_server}`"
                    found[server, name] = Flag("lookalike-name", why)
    return found


def skeleton(name: str) -> str:
    """What a name looks like: alike for names that a reader could take for one another."""
    folded = unicodedata.normalize("NFKD", name).casefold().translate(_LIKE)
    plain = re.sub(r"[\W_]+", "", folded)
    return plain.replace("rn", "m").replace("vv", "w")


def _keys(name: str) -> set[str]:
    """The skeleton, and for a long one each of it that lacks a letter: names that differ by one
    letter share one of these."""
    if len(name) < _CLOSE_FROM:
        return {name}
    return {name, *(name[:at] + name[at + 1 :] for at in range(len(name)))}


def _close(one: str, other: str) -> bool:
    a, b = skeleton(one), skeleton(other)
    if a == b:
        return True
    # A plural is another word, and the usual way to name a list.
    return a.removesuffix("s") != b.removesuffix("s") and min(len(a), len(b)) >= _CLOSE_FROM
