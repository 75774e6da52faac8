"""What a message says, and what makes it no message at all.

INVARIANT: every question is answered from the body; a header is only ever compared with it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.reader import USUAL, Bounds, Fault, Number, Text, read

Headers = Sequence[tuple[bytes, bytes]]

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
MODERN_FROM = "2026-07-28"
TARGETS = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "resources/subscribe": "uri",
    "resources/unsubscribe": "uri",
    "tasks/get": "taskId",
    "tasks/result": "taskId",
    "tasks/cancel": "taskId",
    "tasks/update": "taskId",
}
NAMED_IN_HEADER = {
    "tools/call", "prompts/get", "resources/read", "tasks/get", "tasks/update", "tasks/cancel",
}  # fmt: skip
ROUTING = ("mcp-protocol-version", "mcp-method", "mcp-name")
PARAMS_KEYS = {"name", "arguments", "uri", "taskId", "_meta"}
META_KEYS = {VERSION_KEY, CAPABILITIES_KEY, "progressToken"}

ALWAYS = {
    "tools/list", "tools/call", "resources/list", "resources/templates/list", "resources/read",
    "prompts/list", "prompts/get", "completion/complete",
}  # fmt: skip
HANDSHAKE = {
    *ALWAYS, "initialize", "ping", "resources/subscribe", "resources/unsubscribe",
    "logging/setLevel", "notifications/initialized", "notifications/roots/list_changed",
    "notifications/cancelled", "notifications/progress",
}  # fmt: skip
TASKS_OF_2025 = {
    "tasks/get", "tasks/result", "tasks/cancel", "tasks/list", "notifications/tasks/status",
}  # fmt: skip
STATELESS = {
    *ALWAYS, "server/discover", "subscriptions/listen", "tasks/get", "tasks/update",
    "tasks/cancel", "notifications/cancelled",
}  # fmt: skip
METHODS = {
    "2024-11-05": HANDSHAKE,
    "2025-03-26": HANDSHAKE,
    "2025-06-18": HANDSHAKE,
    "2025-11-25": HANDSHAKE | TASKS_OF_2025,
    MODERN_FROM: STATELESS,
}
FREE = {
    "initialize", "ping", "server/discover", "logging/setLevel", "completion/complete",
    "subscriptions/listen",
}  # fmt: skip


@dataclass(frozen=True)
class Message:
    """One JSON-RPC message, understood."""

    kind: str  # request, notification or response
    modern: bool
    id: str | None = None  # as it was spelt
    method: str | None = None
    params: dict[str, Any] | None = None
    target: str | None = None

    def argument_root(self) -> Any:
        """What `args` means in a policy, or None where there is nothing."""
        if self.params is None:
            return None
        if self.method in ("tools/call", "prompts/get"):
            return self.params.get("arguments")
        return self.params


def known(method: str, *, modern: bool, revision: str | None) -> bool:
    """Whether the revision has the method; with none known, whether any handshake one has."""
    if modern:
        return method in METHODS[MODERN_FROM]
    if revision in METHODS and revision != MODERN_FROM:
        return method in METHODS[revision]
    return any(method in names for name, names in METHODS.items() if name != MODERN_FROM)


def passes_unnamed(method: str) -> bool:
    """Methods that need no entry under `default: deny`: they ask for nothing that acts or reads."""
    return method in FREE or method.startswith("notifications/") or method.endswith("/list")


def fold(key: str) -> str:
    """A key as the most forgiving readers see it: they fold ASCII case, and two look-alikes."""
    folded = key.replace("\u017f", "s").replace("\u212a", "k")
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in folded)


def refuse(reason: str, code: str = "malformed-request") -> Fault:
    return Fault(code, reason)


def no_variants(members: dict[str, Any], keys: set[str]) -> None:
    exact = {fold(key): key for key in keys}
    for name in members:
        if fold(name) in exact and name != exact[fold(name)]:
            raise refuse(f"`{name}` could be read as `{exact[fold(name)]}`")


def read_id(value: Any) -> str:
    if isinstance(value, Text) and len(value.raw.encode()) <= 256 and "\0" not in value:
        return f'"{value.raw}"'
    if isinstance(value, Number) and re.fullmatch("-?[0-9]+", value.text):
        return value.text
    raise refuse("an id is a string or an integer")


def understand(body: bytes, bounds: Bounds = USUAL) -> Message:
    """Read one message.

    Raises:
        Fault: what it is refused as.
    """
    document = read(body, bounds)
    if isinstance(document, list):
        raise refuse("an array of messages", "batch-not-allowed")
    if not isinstance(document, dict):
        raise refuse("not an object")
    if set(document) - {"jsonrpc", "id", "method", "params", "result", "error"}:
        raise refuse("a key that no message has")
    if document.get("jsonrpc") != "2.0":
        raise refuse("jsonrpc is not 2.0")
    ident = read_id(document["id"]) if "id" in document else None
    if "method" not in document:
        one_outcome = ("result" in document) != ("error" in document)
        if ident is None or not one_outcome or "params" in document:
            raise refuse("neither a request nor a response")
        return Message(kind="response", modern=False, id=ident)
    if "result" in document or "error" in document:
        raise refuse("both a request and a response")
    method = document["method"]
    if not isinstance(method, str) or "\0" in method:
        raise refuse("a method is a string")
    params = document.get("params")
    if "params" in document and not isinstance(params, dict):
        raise refuse("params is an object")
    modern = read_params(method, params or {}, has_id=ident is not None)
    target = (params or {}).get(TARGETS.get(method, ""))
    return Message(
        kind="request" if ident is not None else "notification",
        modern=modern,
        id=ident,
        method=method,
        params=params,
        target=target if isinstance(target, str) else None,
    )


def read_params(method: str, params: dict[str, Any], *, has_id: bool) -> bool:
    """Check what is common to all methods and what is particular to calls; whether it is modern."""
    no_variants(params, PARAMS_KEYS)
    meta = params.get("_meta", {})
    if not isinstance(meta, dict):
        raise refuse("_meta is an object")
    no_variants(meta, META_KEYS)
    modern = VERSION_KEY in meta
    if modern and not isinstance(meta[VERSION_KEY], str):
        raise refuse("a version is a string")
    if modern and not isinstance(meta.get(CAPABILITIES_KEY), dict):
        raise refuse("a stateless request names its capabilities")
    if method == "tools/call":
        if not isinstance(params.get("name"), str):
            raise refuse("a call names its tool")
        if not isinstance(params.get("arguments", {}), dict):
            raise refuse("arguments is an object")
        if not has_id:
            raise refuse("a call has an id")
    return modern


def decode_field(value: bytes) -> str:
    """A header field's value: outer blanks dropped, the base64 form decoded.

    Raises:
        Fault: the base64 form is damaged.
    """
    text = value.decode("latin-1").strip(" \t")
    if not (text.startswith("=?base64?") and text.endswith("?=") and len(text) >= 11):
        return text
    inner = text[9:-2].encode("latin-1")
    try:
        content = base64.b64decode(inner, validate=True)
        if base64.b64encode(content) != inner:
            raise refuse("base64 with bits left over", "header-mismatch")
        return content.decode("utf-8", "strict")
    except (binascii.Error, ValueError) as error:
        raise refuse(str(error), "header-mismatch") from None


def agree(message: Message, headers: Headers) -> None:
    """Compare the routing headers with the body.

    Raises:
        Fault: `header-mismatch`, or `malformed-request` where the header promises a stateless
            request and the body is none.
    """
    fields: dict[str, list[bytes]] = {}
    for name, value in headers:
        fields.setdefault(name.decode("latin-1").lower(), []).append(value)
    routing = {name: fields[name] for name in ROUTING if name in fields}
    if any(len(values) > 1 for values in routing.values()):
        raise refuse("a routing header twice", "header-mismatch")
    present = {name: values[0].decode("latin-1").strip(" \t") for name, values in routing.items()}
    if "mcp-name" in routing:
        present["mcp-name"] = decode_field(routing["mcp-name"][0])
    wanted: dict[str, str | None] = {}
    if message.modern and message.params is not None:
        wanted["mcp-protocol-version"] = message.params["_meta"][VERSION_KEY]
    elif message.kind != "response" and present.get("mcp-protocol-version", "") >= MODERN_FROM:
        raise refuse("the header says stateless, the body does not")
    if message.method is not None:
        if message.modern or "mcp-method" in present:
            wanted["mcp-method"] = message.method
        if "mcp-name" in present or (message.modern and message.method in NAMED_IN_HEADER):
            wanted["mcp-name"] = message.target
    for name, expected in wanted.items():
        if present.get(name) is None or present[name] != expected:
            raise refuse(f"{name} disagrees with the body", "header-mismatch")
