"""How risky a tool is, by the words of its own definition.

Each word that says something is evidence: for one class, with a weight from `evidence.toml`, and
with the place it stands at. Evidence adds up; the class with the most wins, and Read only by a
margin over the classes that harm.

INVARIANT: the same definition gives the same verdict, everywhere and always: nothing but the
definition is looked at, nothing is asked of anyone, and only its first characters are read.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from gateway.author.tools import Tool

Class = Literal["Read", "Write", "Execute", "Destructive", "Financial"]
Severity = Literal["low", "medium", "high", "critical"]

CLASSES: tuple[Class, ...] = get_args(Class)
SEVERITY: dict[Class, Severity] = {
    "Read": "low",
    "Write": "medium",
    "Execute": "high",
    "Destructive": "critical",
    "Financial": "critical",
}
WORSE: tuple[Class, ...] = ("Financial", "Destructive", "Execute")
"""What Read must not be taken for; the worst first."""

DESCRIPTION_CHARS = 2_000
MOST_ARGUMENTS = 200

_HEAD_WORDS = 12
_SHOWN = 3
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n\s*\n|\n\s*[-*#]")
_CLAUSE = re.compile(r"[,;:()]|\b(?:by|from|in|for|with|to|of|on|that|which|using|when|if)\b")
_WORD = re.compile(r"[a-z][a-z'-]*")
_JOINS = {"and", "or"}
_FILLERS = re.compile(
    r"^(?:\W*(?:this|the|a|an|tool|function|endpoint|api|use|used|using|to|for|it|will|can|you|let|lets|allow|allows|"
    r"enable|enables|ability|user|users|in|on|operation|always|safely|quickly|efficiently|new|all|please|directly)\b)*"
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing the definition says.

    Attributes:
        source: where it stands: `name`, `description`, `argument` or `annotation`.
        quote: its own words.
        supports: the class it speaks for, or against where the weight is negative.
    """

    source: str
    quote: str
    supports: Class
    weight: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a tool is taken for.

    Attributes:
        confidence: from 0 to 1, how far the class leads the others; not a probability.
        rationale: what decided it, in the tool's own words.
    """

    kind: Class
    confidence: float
    rationale: str
    evidence: tuple[Evidence, ...]

    @property
    def severity(self) -> Severity:
        """How bad a wrong call can be."""
        return SEVERITY[self.kind]


def classify(tool: Tool) -> Verdict:
    """The class of a tool."""
    evidence = tuple(_evidence(tool))
    scores = dict.fromkeys(CLASSES, 0.0)
    for one in evidence:
        scores[one.supports] += one.weight
    kind = _winner(scores)
    rest = [score for other, score in scores.items() if other != kind]
    confidence = math.exp(scores[kind]) / sum(math.exp(s) for s in (*rest, scores[kind]))
    return Verdict(kind, round(confidence, 2), _rationale(kind, evidence), evidence)


def _winner(scores: Mapping[Class, float]) -> Class:
    """The class with the most evidence, the worst of them where several have the same."""
    best = max(reversed(CLASSES), key=lambda kind: scores[kind])
    if best == "Read":
        worse = max(WORSE, key=lambda kind: scores[kind])
        if scores[best] - scores[worse] < _table().weights["margin"]:
            return worse
    return best


def _rationale(kind: Class, evidence: tuple[Evidence, ...]) -> str:
    decisive = sorted(
        (one for one in evidence if one.supports == kind and one.weight > 0 and one.quote),
        key=lambda one: -one.weight,
    )
    if not decisive:
        return f"nothing in its definition says what it does, which is taken for {kind}"
    said = [f'{one.source} "{one.quote}"' for one in decisive[:_SHOWN]]
    return f"{kind} by its {', '.join(said)}"


@dataclass(frozen=True, slots=True)
class _Table:
    """`evidence.toml`, indexed."""

    weights: Mapping[str, float]
    annotations: Mapping[str, Mapping[Class, float]]
    verbs: Mapping[str, Class]
    objects: Mapping[str, Class]
    objects_not: frozenset[str]
    phrases: tuple[tuple[Class, re.Pattern[str]], ...]
    arguments: Mapping[str, Class]


@cache
def _table() -> _Table:
    text = files("gateway.author").joinpath("evidence.toml").read_text(encoding="utf-8")
    raw: dict[str, Any] = tomllib.loads(text)
    verbs = {
        form: kind
        for kind in reversed(CLASSES)
        for verb in raw["verbs"].get(kind, [])
        for form in _forms(verb)
    }
    return _Table(
        weights=raw["weights"],
        annotations=raw["annotations"],
        verbs=verbs,
        objects={word: kind for kind, words in raw["objects"].items() for word in words},
        objects_not=frozenset(raw["objects-not"]["words"]),
        phrases=tuple(
            (kind, re.compile("|".join(patterns))) for kind, patterns in raw["phrases"].items()
        ),
        arguments={word: kind for kind, words in raw["arguments"].items() for word in words},
    )


def _forms(verb: str) -> set[str]:
    """A verb as the head of a name or a sentence may have it: get, gets, getting."""
    stem = verb.removesuffix("e")
    third = verb + ("es" if re.search(r"(?:s|x|z|ch|sh)$", verb) else "s")
    forms = {verb, third, stem + "ing", verb + verb[-1] + "ing"}
    if re.search(r"[^aeiou]y$", verb):
        forms.add(verb[:-1] + "ies")
    return forms


def _evidence(tool: Tool) -> Iterator[Evidence]:
    table = _table()
    verbs = [*_name_verbs(tool.name), *_description_verbs(tool.description)]
    yield from verbs
    others = [*_phrases(tool.description), *_annotations(tool.annotations)]
    yield from others
    acts = _acts([*verbs, *others])
    if acts:
        yield from _objects(tool)
    yield from _arguments(tool, acts=acts)
    yield Evidence("silence", "", "Write", table.weights["prior"])


def _acts(evidence: list[Evidence]) -> bool:
    """Whether the tool does more than look: only then it matters what it is done to."""
    looks = sum(one.weight for one in evidence if one.supports == "Read")
    does = sum(one.weight for one in evidence if one.supports != "Read")
    return does >= looks


def tokens(name: str) -> list[str]:
    """The words of a name in snake, kebab or camel case, in lower case."""
    return [token.lower() for token in _TOKEN.findall(name)]


def _name_verbs(name: str) -> Iterator[Evidence]:
    table = _table()
    found = False
    before = ""
    for token in tokens(name):
        kind = table.verbs.get(token)
        if kind is not None and not found:
            found = True
            yield Evidence("name", token, kind, table.weights["name-verb"])
        elif kind is not None and before in _JOINS:
            yield Evidence("name", token, kind, table.weights["name-verb-and"])
        before = token


def _description_verbs(description: str) -> Iterator[Evidence]:
    table = _table()
    text = _first_sentence(description).lower()
    text = text[_end(_FILLERS.match(text)) :]
    clause = _CLAUSE.split(text, maxsplit=1)[0]
    found = False
    before = ""
    for word in _WORD.findall(clause)[:_HEAD_WORDS] or _WORD.findall(text)[:1]:
        kind = table.verbs.get(word)
        if kind is not None and not found:
            found = True
            yield Evidence("description", word, kind, table.weights["description-verb"])
        elif kind is not None and before in _JOINS:
            yield Evidence("description", word, kind, table.weights["description-verb-and"])
        before = word


def _first_sentence(description: str) -> str:
    return _SENTENCE.split(description[:DESCRIPTION_CHARS].strip(), maxsplit=1)[0]


def _end(found: re.Match[str] | None) -> int:
    return found.end() if found is not None else 0


def _phrases(description: str) -> Iterator[Evidence]:
    table = _table()
    text = description[:DESCRIPTION_CHARS].lower()
    for kind, pattern in table.phrases:
        if found := pattern.search(text):
            yield Evidence("description", found[0], kind, table.weights["phrase"])


def _annotations(annotations: Mapping[str, Any]) -> Iterator[Evidence]:
    hints = {
        ("readOnlyHint", True): "read-only",
        ("readOnlyHint", False): "not-read-only",
        ("destructiveHint", True): "destructive",
        ("destructiveHint", False): "not-destructive",
    }
    read_only = annotations.get("readOnlyHint") is True
    for (hint, value), name in hints.items():
        # Of a tool that only reads, the other hint says nothing (MCP, `ToolAnnotations`).
        if annotations.get(hint) is value and not (read_only and hint == "destructiveHint"):
            for kind, weight in _table().annotations[name].items():
                yield Evidence("annotation", f"{hint}: {str(value).lower()}", kind, weight)


def _objects(tool: Tool) -> Iterator[Evidence]:
    table = _table()
    for source, words in (
        ("name", tokens(tool.name)),
        ("description", _WORD.findall(_first_sentence(tool.description).lower())),
    ):
        if table.objects_not.intersection(words):
            continue
        for word in words:
            if (kind := table.objects.get(word)) is not None:
                yield Evidence(source, word, kind, table.weights[f"{source}-object"])
                break


def _arguments(tool: Tool, *, acts: bool) -> Iterator[Evidence]:
    """At most one argument for each class: many of one kind say no more than one does."""
    table = _table()
    seen: set[Class] = set()
    for name in list(tool.properties)[:MOST_ARGUMENTS]:
        kind = table.arguments.get("_".join(tokens(name)))
        if kind is None or kind in seen or (kind == "Financial" and not acts):
            continue
        seen.add(kind)
        yield Evidence("argument", name, kind, table.weights["argument"])
