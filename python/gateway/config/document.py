"""The configuration's keys, and what each may say."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gateway.config import texts
from gateway.config.forms import (
    Flag,
    Form,
    Key,
    ListOf,
    ListOrMap,
    MapOf,
    Number,
    OneOrSeveral,
    Record,
    Text,
    TextOrFlag,
    Words,
)
from gateway.settings import ALGORITHMS, MAX_WORKERS, NAME, NAME_HELP
from gateway.validation import (
    MAX_LOG_BUFFER_BYTES,
    MIN_LOG_BUFFER_BYTES,
    MIN_LOG_FILE_BYTES,
    URL_HELP,
)

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
_NAME = NAME.pattern
_NAMED = f"cannot be a name: {NAME_HELP}"
_SECONDS = 86_400.0


def _seconds(least: float = 0.0) -> Number:
    return Number(least, _SECONDS)


SECRET_HELP = "`echo whsec_$(openssl rand -base64 32)` makes one"
_ADDRESS = r"(?:\[[^\]]+\]|[^:\[\]]+):[0-9]{1,5}"
_FILE = Text(texts.file)

SERVER = Record(
    {
        "url": Key(Text(texts.url, help=URL_HELP, hidden=True), "Where it speaks Streamable HTTP."),
        "command": Key(ListOf(Text(empty=True), 1), "What starts a server that speaks stdio."),
        "env": Key(
            MapOf(Text(empty=True), r"[A-Za-z_][A-Za-z0-9_]*", "cannot be a variable's name"),
            "Variables for `command`, besides the few that every command gets.",
        ),
        "headers": Key(
            MapOf(Text(), r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "cannot be a header's name"),
            "Sent to `url` with every request, the server's credentials among them.",
        ),
        "policy": Key(_FILE, "The policy of grants that name none for this server."),
        "ca_file": Key(_FILE, "Certificates, in PEM, that may vouch for `url`."),
        "lock": Key(
            _FILE, "Where the definitions of its tools are pinned (`interlock scan --lock`)."
        ),
        "pin": Key(
            Words(("enforce", "warn")),
            "What becomes of a tool that is not as it is pinned: hidden and refused, or only told.",
        ),
        "timeout_s": Key(_seconds(0.001), "How long the server may take to begin its answer."),
        "connect_timeout_s": Key(_seconds(0.001), "How long a connection to `url` may take."),
        "idle_timeout_s": Key(_seconds(0.001), "How long an answer that has begun may pause."),
        "max_children": Key(Number(1, 4096, whole=True), "Processes of `command` at once."),
        "session_idle_s": Key(
            _seconds(0.001), "How long a session of `command` lives without a request."
        ),
    },
    apart=(("url", "command"),),
    needed=(("url", "command"),),
    beside={
        "pin": "lock",
        "env": "command",
        "max_children": "command",
        "session_idle_s": "command",
        "headers": "url",
        "ca_file": "url",
        "connect_timeout_s": "url",
    },
)

_SHA256 = Text(texts.sha256, r"[0-9a-fA-F]{64}", "`interlock grant create` makes one")
_TIME = Text(texts.time_of, r"[0-9]{4}-[0-9]{2}-[0-9]{2}T.+", "for example `2030-01-31T12:00:00Z`")
_EXPIRES = Key(_TIME, "When it ends (RFC 3339, with its zone).")

TOKEN = Record(
    {
        "sha256": Key(_SHA256, "SHA-256 of the token, in hexadecimal.", required=True),
        "expires": _EXPIRES,
    }
)

JWT = Record(
    {
        "issuer": Key(Text(), "The `iss` of its tokens.", required=True),
        "audience": Key(
            OneOrSeveral(Text()),
            "The `aud` of its tokens, or several of which one is theirs.",
            True,
        ),
        "subject": Key(Text(), "The `sub` of its tokens; `*` stands for anything."),
        "claims": Key(
            MapOf(TextOrFlag(), ".+", "is empty"),
            "What its tokens say besides: each has the value, or a list that has it.",
        ),
        "algorithms": Key(ListOf(Words(ALGORITHMS), 1), "By which they may be signed."),
        "jwks_file": Key(_FILE, "The issuer's keys, as a JSON Web Key Set."),
        "jwks_url": Key(
            Text(texts.url, hidden=True),
            "Where the issuer publishes its keys; asked of the issuer if neither is given.",
        ),
        "ca_file": Key(_FILE, "Certificates, in PEM, that may vouch for where the keys are."),
        "headers": Key(
            MapOf(Text(), r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "cannot be a header's name"),
            "Sent when the keys are fetched.",
        ),
    },
    apart=(("jwks_file", "jwks_url"), ("jwks_file", "ca_file"), ("jwks_file", "headers")),
)

CERTIFICATE = Record(
    {
        "subject": Key(Text(), "Its names as they are, in their order: `CN=ci,O=Acme`."),
        "spiffe": Key(Text(), "Its SPIFFE id; `*` stands for anything."),
    },
    apart=(("subject", "spiffe"),),
    needed=(("subject", "spiffe"),),
)

GRANT = Record(
    {
        "name": Key(
            Text(texts.name, _NAME), "Shown in logs and metrics; limits count by it.", True
        ),
        "servers": Key(
            ListOrMap(
                ListOf(Text(texts.name, _NAME)),
                MapOf(_FILE, _NAME, _NAMED, absent=None),
            ),
            "The servers that it may use: names, or names with the policy for each. All if absent.",
        ),
        "token_sha256": Key(_SHA256, "SHA-256 of its token, in hexadecimal."),
        "expires": _EXPIRES,
        "tokens": Key(ListOf(TOKEN), "The same for several, as while a token is rotated."),
        "certificate": Key(CERTIFICATE, "A client certificate, which `tls` asks for."),
        "jwt": Key(JWT, "Tokens that an issuer signs (JWT)."),
    },
    beside={"expires": "token_sha256"},
)

GRANTS_FILE: Form = Record(
    {
        "version": Key(Words(("1",)), "Of this format.", required=True),
        "grants": Key(ListOf(GRANT), "As in the configuration.", required=True),
    }
)
"""The file that `interlock grant` writes."""

TLS = Record(
    {
        "certificate": Key(_FILE, "The listener's certificate with its chain, in PEM.", True),
        "key": Key(_FILE, "Its key, in PEM.", True),
        "client_ca": Key(_FILE, "Certificates that vouch for clients' own, in PEM."),
        "client_certificates": Key(
            Words(("required", "optional")), "Whether a client must show one."
        ),
    },
    beside={"client_certificates": "client_ca"},
)

LOG = Record(
    {
        "path": Key(_FILE, "A file, `-` for standard output, or `none`."),
        "on_overflow": Key(
            Words(("deny", "drop")),
            "What becomes of a message whose line has no room: refused, or its line left out.",
        ),
        "include_args": Key(ListOf(Text()), "Arguments whose values are logged as well."),
        "buffer_bytes": Key(
            Number(MIN_LOG_BUFFER_BYTES, MAX_LOG_BUFFER_BYTES, whole=True),
            "How much may wait to be written.",
        ),
        "rotate_bytes": Key(Number(MIN_LOG_FILE_BYTES, whole=True), "How long a file may get."),
        "rotate_s": Key(Number(1), "How old a file may get."),
        "keep": Key(Number(0, whole=True), "How many files that were rotated away are kept."),
    },
)

WEBHOOK = Record(
    {
        "url": Key(
            Text(texts.url, hidden=True),
            "Where requests for approval are told; https, or on this machine.",
            required=True,
        ),
        "secret": Key(
            Text(texts.secret, texts.SECRET, help=SECRET_HELP, hidden=True),
            "The key that signs them, as Standard Webhooks writes it: `whsec_` and base64.",
            required=True,
        ),
        "ca_file": Key(_FILE, "Certificates, in PEM, that may vouch for `url`."),
        "include_arguments": Key(Flag(), "Send the call's arguments as well."),
    }
)

APPROVALS = Record(
    {
        "path": Key(_FILE, "The file in which they are kept.", required=True),
        "pending_s": Key(Number(1, 30 * _SECONDS), "How long a request waits for a person."),
        "approved_s": Key(Number(1, _SECONDS), "How long what a person said holds."),
        "wait_s": Key(
            Number(0, 3600), "How long a call is held for the decision before it is refused."
        ),
        "webhook": Key(WEBHOOK, "Who is told of each request."),
    }
)

CONFIG_KEYS: Mapping[str, Key] = {
    "$schema": Key(Text(), "For editors; means nothing here."),
    "version": Key(Words(("1",)), "Of this format.", required=True),
    "listen": Key(Text(texts.address, _ADDRESS), "Where agents connect, HOST:PORT."),
    "admin": Key(
        Text(texts.address_or_none, f"{_ADDRESS}|none"),
        "Where operators look, HOST:PORT, or `none`.",
    ),
    "admin_token_sha256": Key(
        _SHA256, "SHA-256 of the operators' token, for what is neither health nor metrics."
    ),
    "state": Key(_FILE, "The file in which limits are counted, or `memory`."),
    "slots": Key(Number(64, 1 << 24, whole=True), "How many counts the file has room for."),
    "workers": Key(Number(1, MAX_WORKERS, whole=True), "Processes that serve agents."),
    "grace_s": Key(_seconds(), "What running requests get when it is told to stop."),
    "shadow": Key(Flag(), "Decide and count everything, refuse nothing."),
    "denials": Key(
        Words(("result", "protocol")),
        "How a refused tools/call is answered: a tool result, or a JSON-RPC error.",
    ),
    "allow_host": Key(ListOf(Text()), "Names that a request's Host may have besides our own."),
    "allow_origin": Key(ListOf(Text()), "Web origins that may send requests besides our own."),
    "allow_anonymous": Key(Flag(), "Listen beyond this machine with an anonymous grant."),
    "max_body_bytes": Key(Number(1024, 1 << 30, whole=True), "The longest message."),
    "max_in_flight": Key(Number(1, 1 << 20, whole=True), "Requests that are served at once."),
    "tls": Key(TLS, "Certificates of the listener, and of clients."),
    "log": Key(LOG, "The decision log."),
    "approvals": Key(APPROVALS, "Calls that a person must approve. Refused for good if absent."),
    "otel": Key(Flag(), "Export spans to the collector that the `OTEL_` variables name."),
    "fast_path": Key(Flag(), "Serve plain HTTP/1.1 without ASGI: faster, and the same answers."),
    "servers": Key(
        MapOf(SERVER, _NAME, _NAMED, least=1),
        "MCP servers by name; each is served at /mcp/NAME.",
        required=True,
    ),
    "grants": Key(ListOf(GRANT), "Who may ask. One anonymous grant `default` if absent."),
    "grants_file": Key(_FILE, "A file with more grants, which `interlock grant` writes."),
    "authorization_servers": Key(
        ListOf(Text(texts.url)), "Where clients get tokens: told with every 401 (RFC 9728)."
    ),
    "public_url": Key(
        Text(texts.url), "Where clients see the listener, such as https://gateway.example."
    ),
    "anonymous": Key(
        Text(texts.name, _NAME),
        "The grant of a request without credentials; null, or absent beside `grants`, refuses it.",
        nullable=True,
    ),
}
CONFIG = Record(CONFIG_KEYS)


def config_schema() -> str:
    """The JSON Schema (draft 2020-12) of the configuration file, as JSON text."""
    head = {"$schema": SCHEMA_ID, "title": "Interlock's configuration"}
    return json.dumps(head | CONFIG.schema(), indent=2)
