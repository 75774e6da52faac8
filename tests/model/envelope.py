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
NAMED_IN_HEADER = {"tools/call", "prompts/get", "resources/read"}
ROUTING = ("mcp-protocol-version", "mcp-method", "mcp-name")
ONCE = ("mcp-session-id", "content-type", "content-length", "host", "authorization")
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


def disguised(method: str) -> bool:
    """Whether it becomes one of the protocol's when case and all but letters and digits go."""
    every = set().union(*METHODS.values())
    return method not in every and bare(method) in {bare(name) for name in every}


def bare(method: str) -> str:
    return "".join(c for c in fold(method) if c.isalnum())


def passes_unnamed(message: Message) -> bool:
    """Whether it needs no entry under `default: deny`: it asks for nothing that acts or reads.

    What a server makes of a notification's method on a request, or the reverse, is not known.
    """
    method = str(message.method)
    if message.kind == "notification":
        return method.startswith("notifications/")
    return method in FREE or (method.endswith("/list") and not method.startswith("notifications/"))


def fold(key: str) -> str:
    """A key as the most forgiving readers see it: they lower its case, raise it, or do both."""
    folded = key.replace("\u0130", "i")
    for change in (str.lower, str.upper, str.lower):
        folded = "".join(change(c) for c in folded)  # each by itself: a sigma may be a final one
    return folded


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


def messages(body: bytes, bounds: Bounds = USUAL, *, arrays: bool = False) -> list[Any]:
    """The documents of the messages in a body: one, or where arrays are spoken, maybe several.

    Raises:
        Fault: what the body is refused as.
    """
    document = read(body, bounds)
    if isinstance(document, list) and not (arrays and document):
        raise refuse("an array of messages", "batch-not-allowed")
    return document if isinstance(document, list) else [document]


def understand(document: Any) -> Message:
    """Read one message.

    Raises:
        Fault: what it is refused as.
    """
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


def opens_or_is_stateless(document: Any) -> bool:
    """Whether a lawful message may not be one of an array for all that."""
    message = understand(document)
    return message.modern or message.method == "initialize"


def once(headers: Headers) -> None:
    """Refuse headers of which two servers could read two values.

    Raises:
        Fault: `header-mismatch` for those of the protocol, `malformed-request` for others.
    """
    names = [name.decode("latin-1").lower() for name, _ in headers]
    for name in (*ROUTING, *ONCE):
        if names.count(name) > 1:
            code = "header-mismatch" if name.startswith("mcp-") else "malformed-request"
            raise refuse(f"{name} twice", code)


def agree(message: Message, headers: Headers) -> None:
    """Compare the routing headers with the body.

    Raises:
        Fault: `header-mismatch`.
    """
    fields = {name.decode("latin-1").lower(): value for name, value in headers}
    present = {
        name: fields[name].decode("latin-1").strip(" \t") for name in ROUTING if name in fields
    }
    if "mcp-name" in present:
        present["mcp-name"] = decode_field(fields["mcp-name"])
    wanted: dict[str, str | None] = {}
    if message.modern and message.params is not None:
        wanted["mcp-protocol-version"] = message.params["_meta"][VERSION_KEY]
    elif message.kind != "notification" and stateless(present.get("mcp-protocol-version", "")):
        raise refuse("the header says stateless, the body does not", "header-mismatch")
    if message.modern or "mcp-method" in present:
        wanted["mcp-method"] = message.method
    if "mcp-name" in present or (message.modern and message.method in NAMED_IN_HEADER):
        wanted["mcp-name"] = message.target
    for name, expected in wanted.items():
        if name not in present or present[name] != expected:
            raise refuse(f"{name} disagrees with the body", "header-mismatch")


def claims_one_message(headers: Headers) -> bool:
    """Whether the routing headers cannot be about an array, which one revision has."""
    fields = {name.decode("latin-1").lower(): value for name, value in headers}
    version = fields.get("mcp-protocol-version", b"2025-03-26").decode("latin-1").strip(" \t")
    return "mcp-method" in fields or "mcp-name" in fields or version != "2025-03-26"


def stateless(version: str) -> bool:
    """Whether a version header names a revision without sessions: any date after the last with."""
    return (
        re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", version) is not None and version > "2025-11-25"
    )
