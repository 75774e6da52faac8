"""Expands `cases/hostile.yaml` into messages with the code that each must be answered with."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import yaml

from casefile import FOLDER

ALLOW_ALL = '{"version":"1","default":"allow"}'
NAMES_POLICY = json.dumps(
    {
        "version": "1",
        "default": "allow",
        "hide": ["admin_*", "wipe"],
        "tools": {"delete_user": {"action": "deny"}, "read": {"action": "deny"}, "files": {}},
    }
)
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}'
PLACES = {
    "alone": b"%s",
    "as an argument": CALL.replace(b"%s", b'{"name":"t","arguments":{"x":%s}}'),
    "in an array": CALL.replace(b"%s", b'{"name":"t","arguments":{"x":[0,%s]}}'),
    "in meta": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"x":%s}}}',
}
"""Where a value is tried; in every place but the first, the rest of the message is lawful."""

STATELESS = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","_meta":'
    b'{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    b'"io.modelcontextprotocol/clientCapabilities":{}}}}'
)
ROUTING = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "read"}


ROW_KEYS = {
    "name", "code", "value", "body", "params", "tool", "tool_json", "tool_repeat", "headers",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One message; `code` is `allowed` for a lawful one."""

    name: str
    code: str
    body: bytes
    policy: str = ALLOW_ALL
    headers: list[tuple[bytes, bytes]] | None = None


def raw(value: Any) -> bytes:
    """Bytes as the file spells them."""
    if isinstance(value, str):
        return value.encode()
    if "join" in value:
        return b"".join(raw(part) for part in value["join"])
    if "hex" in value:
        return bytes.fromhex(value["hex"])
    if "base64" in value:
        return base64.b64decode(value["base64"])
    if "count" in value:
        numbered = (value["count"].replace("{}", str(n)) for n in range(value["times"]))
        return ",".join(numbered).encode()
    return raw(value["repeat"]) * int(value["times"])


def fields(changed: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """The right routing headers with some of them changed."""
    chosen = {name: value for name, value in {**ROUTING, **changed}.items() if value is not None}
    return [
        (name.encode(), each.encode())
        for name, value in chosen.items()
        for each in (value if isinstance(value, list) else [value])
    ]


def called(row: dict[str, Any]) -> bytes:
    """A call of the tool that a row of `names` names."""
    if "tool_repeat" in row:
        name = json.dumps("n" * row["tool_repeat"])
    else:
        name = row.get("tool_json", json.dumps(row.get("tool"), ensure_ascii=False))
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name}}}}}'.encode()


def samples() -> list[Sample]:
    """Every sample of the file."""
    data = yaml.safe_load((FOLDER / "hostile.yaml").read_text(encoding="utf-8"))
    for row in (row for rows in data.values() for row in rows):
        assert set(row) <= ROW_KEYS, f"unknown keys in {row}"
    found = []
    for row in data["bad_values"]:
        for place, frame in PLACES.items():
            code = row.get("code", "malformed-request")
            found.append(
                Sample(f"{row['name']}, {place}", code, frame.replace(b"%s", raw(row["value"])))
            )
    found += [
        Sample(row["name"], row.get("code", "malformed-request"), raw(row["body"]))
        for row in data["bad_documents"] + data["bad_envelopes"]
    ]
    for row in data["bad_params"]:
        body = CALL.replace(b"%s", raw(row["params"]))
        found.append(Sample(f"params: {row['name']}", row.get("code", "malformed-request"), body))
    for row in data["names"]:
        code = row.get("code", "tool-name-invalid")
        found.append(Sample(f"tool: {row['name']}", code, called(row), NAMES_POLICY))
    for row in data["bad_headers"]:
        headers = fields(row["headers"])
        found.append(
            Sample(f"headers: {row['name']}", "header-mismatch", STATELESS, headers=headers)
        )
    for row in data["good_values"]:
        for place, frame in list(PLACES.items())[1:]:
            body = frame.replace(b"%s", raw(row["value"]))
            found.append(Sample(f"lawful: {row['name']}, {place}", "allowed", body))
    found += [
        Sample(f"lawful: {row['name']}", "allowed", raw(row["body"])) for row in data["good_bodies"]
    ]
    for row in data["good_headers"]:
        headers = fields(row["headers"])
        found.append(
            Sample(f"lawful headers: {row['name']}", "allowed", STATELESS, headers=headers)
        )
    return found
