"""docs/errors.md: an entry for every code there is, and each example ends as its entry says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from itertools import islice, product
from string import ascii_letters, digits
from typing import Any

import pytest

from gateway import Caller, Engine, LimitTable, PolicyError, PolicySet
from gateway.author.document import Fault
from gateway.cli import problems
from gateway.denial import WORDINGS
from support.door import ALLOW, Reply, Rig
from support.pages import Block, blocks, codes, page, sections, table

PAGE = "docs/errors.md"
DECISIONS, ADMISSION, SERVING, PROBLEMS = (
    "Decisions",
    "Requests that are not admitted",
    "Requests that could not be served",
    "Problems of a policy",
)
ADDED = "What `check` adds"
CORE_CODE = re.compile(r'^ +\w+ = "([a-z-]+)",$', re.M)
DIAGNOSTIC = re.compile(r'^ +\w+ "([a-z-]+)" (Error|Warning) "(.*)";$', re.M)

GENERATED: dict[str, Callable[[], bytes]] = {
    "encoding": lambda: b"\xef\xbb\xbf{}",
    "too-large": lambda: b" " * 1_048_577,
    "too-deep": lambda: b"[" * 70 + b"]" * 70,
    "too-many-keys": lambda: policy_of(tools={name: {} for name in names(100_001)}),
    "too-many-rules": lambda: policy_of(tools={name: {} for name in names(20_001)}),
    "too-many-problems": lambda: policy_of(hide=[""] * 300),
    "name-too-long": lambda: policy_of(hide=["x" * 257]),
}
"""Documents that are too long to be shown."""


def policy_of(**members: Any) -> bytes:
    document = {"version": "1", "default": "deny", **members}
    return json.dumps(document, separators=(",", ":")).encode()


def names(count: int) -> list[str]:
    """So many names, as short as they can be."""
    return ["".join(three) for three in islice(product(ascii_letters + digits, repeat=3), count)]


def part(heading: str) -> dict[str, str]:
    """The entries of a part of the page, by code."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in sections(PAGE, 2)[heading].splitlines():
        if line.startswith("### "):
            (code,) = codes(line)
            assert code not in found, f"`{code}` has two entries"
            current = found[code] = []
        else:
            current.append(line)
    return {code: "\n".join(lines) for code, lines in found.items()}


def examples() -> list[tuple[str, str, list[Block]]]:
    """The blocks of each entry of the page, with its part and its code."""
    starts = [
        (number, line.lstrip("# "))
        for number, line in enumerate(page(PAGE).splitlines(), 1)
        if line.startswith(("## ", "### "))
    ]
    found: list[tuple[str, str, list[Block]]] = []
    under = ""
    for (begin, heading), (end, _) in zip(starts, [*starts[1:], (10**9, "")], strict=True):
        if not heading.startswith("`"):
            under = heading
            continue
        within = [block for block in blocks(PAGE) if begin < block.line < end]
        found.append((under, heading.strip("`"), within))
    return found


EXAMPLES = examples()
REQUESTS = [e for e in EXAMPLES if any(block.language == "http" for block in e[2])]
DOCUMENTS = [e for e in EXAMPLES if e[0] == PROBLEMS]


def named(example: tuple[str, str, list[Block]]) -> str:
    return f"{example[0]}: {example[1]}"


def status_line(entry: str) -> tuple[int, int | None]:
    """HTTP status and JSON-RPC code that an entry begins with."""
    found = re.match(r"\s*(\d{3})(?:, (-\d+))?\. ", entry)
    assert found is not None, entry
    return int(found[1]), int(found[2]) if found[2] else None


def send(policy: bytes, block: Block) -> Reply:
    """Send a request of the page through a door."""
    head, _, body = block.text.rstrip("\n").partition("\n\n")
    request, *lines = head.splitlines()
    method, path = request.split(" ")
    fields = [tuple(line.split(": ", 1)) for line in lines]
    headers = [(name.lower().encode(), value.encode()) for name, value in fields]
    given = {name for name, _ in headers}
    usual = {b"content-type": b"application/json", b"accept": b"application/json"}
    headers += [pair for pair in usual.items() if pair[0] not in given and method == "POST"]

    async def main() -> Reply:
        client = Rig(policy=policy).client
        for _ in range(2 if block.note == "twice" else 1):
            reply = await client.request(method, body.encode(), headers, path=path.encode())
        return reply

    return asyncio.run(main())


@pytest.mark.parametrize("example", REQUESTS, ids=named)
def test_a_request_is_answered_as_its_entry_says(example: tuple[str, str, list[Block]]) -> None:
    under, code, within = example
    status, rpc_code = status_line(part(under)[code])
    policy = next((b.text.encode() for b in within if b.language == "json"), ALLOW)
    block = next(b for b in within if b.language == "http")
    reply = send(policy, block)
    assert reply.status == status
    answer = reply.json
    if code == "allowed":
        assert "isError" not in answer["result"]
        return
    assert reply.code == code
    if "error" in answer:
        assert answer["error"]["code"] == rpc_code
        return
    engine = Engine(PolicySet.parse(policy, name="p.json"), LimitTable(64), denials="protocol")
    body = block.text.partition("\n\n")[2].rstrip("\n").encode()
    for _ in range(2 if block.note == "twice" else 1):
        decision = engine.decide(Caller("default", server="default"), body)
    assert json.loads(decision.answer()[2])["error"]["code"] == rpc_code


def test_every_code_of_a_decision_has_an_entry() -> None:
    found = CORE_CODE.findall(page("rust/core/src/decision.rs"))
    assert len(found) > 20
    assert set(found) == set(part(DECISIONS))


def test_every_code_of_the_doors_has_an_entry_with_its_status() -> None:
    entries = [*part(ADMISSION).items(), *part(SERVING).items()]
    assert {code for code, _ in entries} == set(WORDINGS)
    for code, entry in entries:
        assert status_line(entry) == (WORDINGS[code].status, WORDINGS[code].rpc_code), code


@pytest.mark.parametrize("heading", [DECISIONS, ADMISSION, SERVING, PROBLEMS, ADDED])
def test_every_entry_has_an_example_and_a_fix(heading: str) -> None:
    for code, entry in part(heading).items():
        assert "```" in entry or "\nFor example: " in entry, code
        assert "\nFix: " in entry or code == "allowed", code


def diagnostics(source: bytes, name: str) -> list[Any]:
    try:
        return list(PolicySet.parse(source, name=name).warnings)
    except PolicyError as error:
        return error.diagnostics


def test_every_problem_of_a_policy_has_an_entry() -> None:
    known = DIAGNOSTIC.findall(page("rust/core/src/policy/diagnostic.rs"))
    entries = part(PROBLEMS)
    assert len(known) > 30
    assert [code for code, _, _ in known] == list(entries)
    for code, severity, meaning in known:
        flat = " ".join(entries[code].split())
        assert flat.startswith(f"{severity}. {meaning}"), code


@pytest.mark.parametrize("example", DOCUMENTS, ids=named)
def test_a_document_has_the_problem_that_is_shown(example: tuple[str, str, list[Block]]) -> None:
    _, code, within = example
    *written, shown = within
    assert shown.language == "text"
    if code in GENERATED:
        assert not written
        found = [d for d in diagnostics(GENERATED[code](), "policy.json") if d.code == code]
        name = "policy.json"
    else:
        (document,) = written
        name = f"policy.{document.language}"
        found = diagnostics(document.text.encode(), name)
    lines = [line for d in found for line in Fault.of(name, d).lines()]
    assert {d.code for d in found} == {code}
    assert lines == shown.text.splitlines()


def test_what_check_adds_has_an_entry() -> None:
    errors = set(re.findall(r'1, 1, "([a-z-]+)"', page("python/gateway/cli/check.py")))
    fit = page("python/gateway/author/fit.py")
    warnings = set(re.findall(r'(?:Misfit|_nobody)\(\s*"([a-z-]+)"', fit))
    entries = part(ADDED)
    assert errors | warnings == set(entries)
    for code, text in entries.items():
        assert text.strip().startswith("Error." if code in errors else "Warning.")


def test_the_refusal_that_is_shown_is_the_one_that_is_sent() -> None:
    block = next(block for block in blocks(PAGE) if block.note == "answer")
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "delete_user"}}
    engine = Engine(PolicySet.parse(policy_of(), name="p.json"), LimitTable(64))
    sent = engine.decide(Caller("g", server="s"), json.dumps(body).encode()).answer()[2]
    digest = r'"policy":\s*"[^"]*"'
    shown = re.sub(digest, '"policy":""', block.text)
    assert json.loads(re.sub(digest, '"policy":""', sent.decode())) == json.loads(shown)


def test_exit_codes_are_the_command_lines() -> None:
    told = {int(row["code"]) for row in table(sections(PAGE, 2)["Exit codes"].splitlines())}
    ours = {value for name, value in vars(problems).items() if name.startswith("EXIT_")}
    assert told == ours | {0, 2}
