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
_HEAD_CLAUSES = 4
_SHOWN = 3
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n\s*\n|\n\s*[-*#]")
_CLAUSE = re.compile(r"[,;:()]|\b(?:by|from|in|for|with|to|of|on|that|which|using|when|if)\b")
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
_JOINS = {"and", "or"}
_FILLERS = re.compile(
    r"^(?:\W*(?:this|the|a|an|tool|function|endpoint|api|use|used|using|to|for|it|will|can|you|let|lets|allow|allows|"
    r"enable|enables|ability|user|users|in|on|operation|always|safely|quickly|efficiently|new|all|please|directly|purpose)\b)*",
    re.I,
)
_HINTS = {
    ("readOnlyHint", True): "read-only",
    ("readOnlyHint", False): "not-read-only",
    ("destructiveHint", True): "destructive",
    ("destructiveHint", False): "not-destructive",
}


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
    kind = _winner(scores, evidence)
    rest = [score for other, score in scores.items() if other != kind]
    confidence = math.exp(scores[kind]) / sum(math.exp(s) for s in (*rest, scores[kind]))
    return Verdict(kind, round(confidence, 2), _rationale(kind, evidence), evidence)


def _winner(scores: Mapping[Class, float], evidence: tuple[Evidence, ...]) -> Class:
    """The class with the most evidence, the worst of them where several have the same.

    Read is not to be had for a name that says otherwise, and only by a margin over what is worse:
    descriptions and annotations are written by whom they are to convince.
    """
    best = max(reversed(CLASSES), key=lambda kind: scores[kind])
    if best != "Read":
        return best
    for one in evidence:
        if one.source == "name" and one.supports in WORSE:
            return one.supports
    worse = max(reversed(CLASSES[1:]), key=lambda kind: scores[kind])
    return worse if scores["Read"] - scores[worse] < _table().weights["margin"] else best


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
    bare: Mapping[str, Class]
    """Verbs as they stand in names."""
    verbs: Mapping[str, Class]
    """Verbs in every form that begins a sentence."""
    tails: Mapping[str, Class]
    objects: Mapping[str, Class]
    objects_not: frozenset[str]
    phrases: tuple[tuple[Class, re.Pattern[str]], ...]
    arguments: Mapping[str, Class]


@cache
def _table() -> _Table:
    text = files("gateway.author").joinpath("evidence.toml").read_text(encoding="utf-8")
    raw: dict[str, Any] = tomllib.loads(text)
    return _Table(
        weights=raw["weights"],
        annotations=raw["annotations"],
        bare={verb: kind for kind, verb in _pairs(raw["verbs"])},
        verbs={form: kind for kind, verb in _pairs(raw["verbs"]) for form in _forms(verb)},
        tails={word: kind for kind, word in _pairs(raw["tails"])},
        objects={word: kind for kind, word in _pairs(raw["objects"])},
        objects_not=frozenset(raw["objects-not"]["words"]),
        phrases=tuple(
            (kind, re.compile("|".join(patterns), re.I))
            for kind, patterns in raw["phrases"].items()
        ),
        arguments={word: kind for kind, word in _pairs(raw["arguments"])},
    )


def _pairs(lists: Mapping[Class, list[str]]) -> Iterator[tuple[Class, str]]:
    """Each class with each of its words."""
    for kind in CLASSES:
        for word in lists.get(kind, []):
            yield kind, word


def _forms(verb: str) -> set[str]:
    """A verb as the head of a sentence may have it: get, gets, getting."""
    stem = verb.removesuffix("e")
    third = verb + ("es" if re.search(r"(?:s|x|z|ch|sh)$", verb) else "s")
    forms = {verb, third, stem + "ing", verb + verb[-1] + "ing"}
    if re.search(r"[^aeiou]y$", verb):
        forms.add(verb[:-1] + "ies")
    return forms


def _evidence(tool: Tool) -> Iterator[Evidence]:
    table = _table()
    words = _first_sentence(tool.description)
    told = [
        *_name_verbs(tokens(tool.name)),
        *_description_verbs(words),
        *_phrases(tool.description),
        *_annotations(tool.annotations),
    ]
    yield from told
    acts = _acts(told)
    if acts:
        yield from _objects("name", tokens(tool.name), told)
        yield from _objects("description", _WORD.findall(words), told)
    yield from _arguments(tool, acts=acts)
    yield Evidence("silence", "", "Write", table.weights["prior"])


def _acts(evidence: list[Evidence]) -> bool:
    """Whether the tool does more than look: only then it matters what it is done to."""
    looks = sum(one.weight for one in evidence if one.supports == "Read")
    does = sum(one.weight for one in evidence if one.supports != "Read")
    return does >= looks


def tokens(name: str) -> list[str]:
    """The words of a name in snake, kebab or camel case, as they are written."""
    return _TOKEN.findall(name)


def _name_verbs(words: list[str]) -> Iterator[Evidence]:
    """Verbs in their bare form: in others they are things, as in `settings` and `orders`."""
    table = _table()
    first: Class | None = None
    before = ""
    for word in words:
        kind = table.bare.get(word.lower())
        if kind is not None and first is None:
            first = kind
            yield Evidence("name", word, kind, table.weights["name-verb"])
        elif kind is not None and before in _JOINS:
            yield Evidence("name", word, kind, table.weights["name-verb-and"])
        before = word.lower()
    if words and first is None:
        kind = table.tails.get(words[-1].lower())
        if kind is not None:
            yield Evidence("name", words[-1], kind, table.weights["name-tail"])


def _description_verbs(sentence: str) -> Iterator[Evidence]:
    table = _table()
    text = sentence[_end(_FILLERS.match(sentence)) :]
    head = True
    for clause in _CLAUSE.split(text)[:_HEAD_CLAUSES]:
        words = _WORD.findall(clause)[:_HEAD_WORDS]
        found = False
        for before, word in zip(["", *words], words, strict=False):
            kind = table.verbs.get(word.lower())
            if kind is not None and not found:
                found = True
                weight = "description-verb" if head else "description-verb-later"
                yield Evidence("description", word, kind, table.weights[weight])
            elif kind is not None and before.lower() in _JOINS:
                yield Evidence("description", word, kind, table.weights["description-verb-and"])
            head = False
        if found:
            return


def _first_sentence(description: str) -> str:
    return _SENTENCE.split(description[:DESCRIPTION_CHARS].strip(), maxsplit=1)[0]


def _end(found: re.Match[str] | None) -> int:
    return found.end() if found is not None else 0


def _phrases(description: str) -> Iterator[Evidence]:
    table = _table()
    for kind, pattern in table.phrases:
        if found := pattern.search(description[:DESCRIPTION_CHARS]):
            yield Evidence("description", found[0], kind, table.weights["phrase"])


def _annotations(annotations: Mapping[str, Any]) -> Iterator[Evidence]:
    read_only = annotations.get("readOnlyHint") is True
    for (hint, value), name in _HINTS.items():
        # Of a tool that only reads, the other hint says nothing (MCP, `ToolAnnotations`).
        if annotations.get(hint) is value and not (read_only and hint == "destructiveHint"):
            for kind, weight in _table().annotations[name].items():
                yield Evidence("annotation", f"{hint}: {str(value).lower()}", kind, weight)


def _objects(source: str, words: list[str], told: list[Evidence]) -> Iterator[Evidence]:
    """What is acted on, once for each text; a word that was taken for a verb is no thing."""
    table = _table()
    if not table.objects_not.isdisjoint(word.lower() for word in words):
        return
    verbs = {one.quote for one in told if one.source == source}
    for word in words:
        kind = table.objects.get(word.lower())
        if kind is not None and word not in verbs:
            yield Evidence(source, word, kind, table.weights[f"{source}-object"])
            return


def _arguments(tool: Tool, *, acts: bool) -> Iterator[Evidence]:
    """At most one argument for each class: many of one kind say no more than one does."""
    table = _table()
    seen: set[Class] = set()
    for name in list(tool.properties)[:MOST_ARGUMENTS]:
        kind = table.arguments.get("_".join(tokens(name)).lower())
        if kind is None or kind in seen or (kind == "Financial" and not acts):
            continue
        seen.add(kind)
        yield Evidence("argument", name, kind, table.weights["argument"])
