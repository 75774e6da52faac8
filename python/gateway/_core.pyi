"""The decision core: everything that decides, counts, filters or words a refusal.

Bytes in, frozen values out. `Engine.decide` is total: malformed input is a denial with its own
code, never an exception; only arguments of a wrong type raise `TypeError`.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, final

__version__: str

__all__ = [
    "Approval",
    "Caller",
    "Decision",
    "DecisionLog",
    "Diagnostic",
    "Engine",
    "Exchange",
    "Failed",
    "Foreign",
    "Gate",
    "HandedOver",
    "Intake",
    "LimitTable",
    "Pins",
    "PolicyError",
    "PolicySet",
    "Spans",
    "__version__",
    "build_info",
    "did_you_mean",
    "fingerprint",
    "policy_schema",
    "quote",
    "read_document",
    "sum_expositions",
    "tool_digest",
    "verify_log",
]

def build_info() -> dict[str, str]:
    """Version, target and build profile of the extension, for `/version` and bug reports."""

def sum_expositions(
    present: Sequence[bytes], past: Sequence[bytes], added: Sequence[bytes]
) -> bytes:
    """One text of metrics for those of several processes.

    Counters and histograms are added up, and so are the gauges named in `added`; any other gauge is
    told as the first text that has it does.

    Args:
        past: texts of processes that ended, of which only counters and histograms count.
    """

def policy_schema() -> str:
    """The JSON Schema (draft 2020-12) of the policy document, as JSON text."""

def read_document(
    source: bytes, name: str
) -> tuple[Any, dict[str, tuple[int, int, int, int]], list[Diagnostic]]:
    """Read JSON or YAML as a policy is read: the same bounds, the same strictness.

    Args:
        name: its suffix says how it is written, as for `PolicySet.parse`.

    Returns:
        The content in Python's own types, None where nothing can be read; by JSON pointer the line
        and column of each key and of its value; and what is wrong with its syntax. Content that
        comes with problems lacks the parts that they are about.
    """

def fingerprint(value: bytes) -> bytes | None:
    """The SHA-256 of the token in the value of an Authorization field; None if it is none."""

def tool_digest(definition: bytes) -> str:
    """The SHA-256 of a tool's definition, a JSON object, in its canonical form (RFC 8785) and
    without `_meta`; in hexadecimal.

    Raises:
        ValueError: it cannot be read exactly.
    """

def did_you_mean(text: str, options: Sequence[str]) -> str | None:
    """The option that `text` was probably meant to be."""

def quote(text: str) -> str:
    """Somebody's text as a message shows it: in backticks, on one line, not too long."""

@final
class Diagnostic:
    """One problem found in a policy document."""

    @property
    def code(self) -> str:
        """Kebab slug that never changes its meaning, for example `unknown-key`."""
    @property
    def severity(self) -> Literal["error", "warning"]: ...
    @property
    def message(self) -> str: ...
    @property
    def help(self) -> str | None: ...
    @property
    def path(self) -> str:
        """RFC 6901 pointer into the document; `""` is the whole of it."""
    @property
    def line(self) -> int:
        """1-based."""
    @property
    def column(self) -> int:
        """1-based, in characters."""

class PolicyError(ValueError):
    """A policy document that cannot be used; carries every problem found, not the first."""

    diagnostics: list[Diagnostic]

@final
class PolicySet:
    """A compiled, immutable policy document."""

    @staticmethod
    def parse(source: bytes, *, name: str) -> PolicySet:
        """Compile a document.

        Args:
            source: JSON or YAML text in UTF-8, at most 1 MiB.
            name: shown in messages; its suffix (`.json`, `.yaml`, `.yml`) decides the syntax.

        Raises:
            PolicyError: with every problem found.
        """
    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str:
        """SHA-256 of the source, 64 hexadecimal digits."""
    @property
    def language_version(self) -> str: ...
    @property
    def entries(self) -> list[str]:
        """RFC 6901 pointers of what is in `tools`, `methods` and `all_tools`, in document order."""
    @property
    def warnings(self) -> list[Diagnostic]: ...

@final
class Caller:
    """Who asks, through which server and session; made once, cached, so that names cross once."""

    def __new__(
        cls,
        grant: str,
        *,
        server: str,
        session: str | None = None,
        revision: str | None = None,
    ) -> Caller:
        """`revision` is the protocol revision that the session negotiated, where it is known."""
    @property
    def grant(self) -> str: ...
    @property
    def server(self) -> str: ...
    @property
    def session(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...

_Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""HTTP status, header fields (lower-case names, `content-type` included, no framing), body."""

@final
class Approval:
    """What people say of a call that needs an approval."""

    def __new__(
        cls,
        state: Literal["pending", "approved", "denied", "unavailable"] | str,
        *,
        policy: str,
        id: str | None = None,
        by: str | None = None,
        until_s: float | None = None,
        remark: str | None = None,
    ) -> Approval:
        """`approved` lets the call through, and nothing else does.

        Args:
            policy: digest of the policy that asked for it; under another one it lifts nothing.
            id: what people call it.
            by: who decided it.
            until_s: when it ends, in seconds since 1970 UTC.
            remark: what that person said, or why nobody can be asked.

        Raises:
            ValueError: there is no such state, or no such time.
        """

@final
class Decision:
    """What was decided of one message, and the reservation that goes with it.

    A decision that is dropped without `Engine.settle` stays charged; only its concurrency is freed.
    """

    @property
    def allowed(self) -> bool: ...
    @property
    def code(self) -> str:
        """`allowed`, or the kebab slug of the refusal."""
    @property
    def held(self) -> bool:
        """Refused because a person must approve, by an engine that is told what people say: to be
        decided again with that. It is not counted and not recorded."""
    @property
    def approved(self) -> bool:
        """Allowed, and not without an approval."""
    @property
    def given_back(self) -> bool:
        """It was allowed, and settled as not sent."""
    @property
    def rule(self) -> str | None:
        """RFC 6901 pointer into the policy document of what decided."""
    @property
    def message(self) -> str:
        """For the agent: what was refused, why, and when to try again."""
    @property
    def kind(self) -> Literal["request", "notification", "response", "batch", "invalid"]: ...
    @property
    def modern(self) -> bool:
        """The message is of revision 2026-07-28 or later (stateless)."""
    @property
    def method(self) -> str | None: ...
    @property
    def target(self) -> str | None:
        """Tool or prompt name, resource URI, or task id."""
    @property
    def request_id(self) -> bytes | None:
        """The id as it was spelt, raw JSON."""
    @property
    def counter(self) -> str | None: ...
    @property
    def limit(self) -> int | float | None: ...
    @property
    def window(self) -> str | None: ...
    @property
    def remaining(self) -> int | float | None: ...
    @property
    def retry_after_ms(self) -> int | None: ...
    @property
    def shadowed(self) -> bool:
        """Allowed, but a rule in shadow mode would have refused."""
    @property
    def shadow(self) -> list[tuple[str, str]]:
        """(rule pointer, code) of each shadow rule that would have refused."""
    @property
    def policy(self) -> str:
        """Digest of the policy that decided."""
    @property
    def traceparent(self) -> bytes | None:
        """The field of this name on what a server is asked on its behalf; None where nothing is
        traced, and the client's passes as it is."""
    @property
    def progress_token(self) -> bytes | None:
        """`params._meta.progressToken` as it was spelt, raw JSON."""
    def limit_headers(self) -> list[tuple[bytes, bytes]]:
        """`ratelimit` and `ratelimit-policy` fields of a limited call; empty where none applied."""
    def answer(self) -> _Answer:
        """The refusal as it goes to the client. Raises `ValueError` on an allowed decision."""
    def fault(self, code: str, message: str, *, status: int) -> _Answer:
        """The answer when an admitted message could not be served (upstream down, overload, drain).

        A request whose id is known gets HTTP 200: an `isError` result for `tools/call`, a JSON-RPC
        error otherwise. `initialize`, `server/discover` and what has no id get `status` (502, 503
        or 504).
        """

@final
class LimitTable:
    """Counts of every limit: atomics in a mapped file, shared by workers, outliving policies."""

    def __new__(cls, slots: int = 16384, *, path: str | None = None) -> LimitTable:
        """Own a table: in memory, or in the file at `path` (made if absent).

        Raises:
            OSError: the file cannot be made, read or locked; or it is damaged or of another
                version; what to do about it follows the message, after a line break and `help: `.
            BlockingIOError: another instance has it.
        """
    @staticmethod
    def join(path: str) -> LimitTable:
        """Share the table that a parent process owns."""
    @staticmethod
    def shared(slots: int = 16384) -> tuple[LimitTable, int]:
        """A table in anonymous memory, and a file descriptor that worker processes may inherit and
        join as `/proc/self/fd/N`."""
    @property
    def slots(self) -> int: ...
    @property
    def used(self) -> int: ...
    def evict_idle(self, now_ns: int | None = None) -> int:
        """Free slots whose limits hold nothing any more; the number freed."""
    def bind(
        self,
        kind: str,
        server: str,
        id: str,
        grant: str,
        payload: int = 0,
        *,
        now_ns: int | None = None,
    ) -> bool:
        """Remember that `grant` owns this session or task id. False: another's, or no room."""
    def owned(
        self, kind: str, server: str, id: str, grant: str, *, now_ns: int | None = None
    ) -> int | None:
        """The payload if `grant` owns this id, else None (owned by another, or unknown)."""
    def unbind(self, kind: str, server: str, id: str) -> None: ...
    def stats(self) -> dict[str, int]:
        """`slots`, `used`, `insert_refusals`, `evictions` and `clock_floor_ns`."""
    def dump(self) -> list[dict[str, str | int]]:
        """What the table holds, for people."""

@final
class DecisionLog:
    """A decision log that is open. What is decided, an engine tells it."""

    def __new__(
        cls,
        path: str,
        *,
        on_overflow: Literal["deny", "drop"] = "deny",
        include_args: Sequence[str] = ...,
        buffer_bytes: int = ...,
        rotate_bytes: int | None = None,
        rotate_s: float | None = None,
        keep: int | None = None,
        worker: int | None = None,
        about: Sequence[tuple[str, str]] = ...,
    ) -> DecisionLog:
        """Open a log and start its writer.

        Args:
            path: a file, or `-` for standard output.
            include_args: names of arguments whose values are logged.
            buffer_bytes: how much may wait to be written; 8 MiB by default.
            rotate_bytes, rotate_s: size and age at which the next file is begun.
            keep: how many old files are kept; None keeps all.
            worker: the number of this process, where several write.
            about: members of the line that says that it was opened.

        Raises:
            OSError: the file cannot be opened, or does not end like a log.
            ValueError: an argument is none of those that there are.
        """

    def request(
        self,
        code: str,
        *,
        method: str | None = None,
        grant: str | None = None,
        server: str | None = None,
        session: str | None = None,
    ) -> bool:
        """Log a request that has no decision; False if there was no room, which is counted.

        Args:
            code: why it was refused; `allowed` if it was not.
            method: HTTP's, unless the request brings a message.
            session: its id, of which a digest is logged.
        """

    def event(self, name: str, members: Sequence[tuple[str, str]]) -> None:
        """Log something that happened to the gateway."""
    @property
    def required(self) -> bool:
        """Whether what cannot be logged is not allowed."""
    @property
    def trouble(self) -> str | None:
        """Why lines cannot be written at present."""
    def stats(self) -> dict[str, int]:
        """`lines` and `bytes` written, lines `dropped`, and `waiting_bytes`."""
    def close(self, patience_s: float) -> int:
        """Write what waits, and end; how many records could not be written in that time."""

@final
class Pins:
    """The pinned definitions of one server's tools, and what lists have shown of them. May be
    shared by the engines of several grants."""

    @staticmethod
    def parse(
        source: bytes,
        server: str,
        mode: Literal["enforce", "warn"],
        before: Pins | None = None,
    ) -> Pins:
        """Read the part of an `interlock.lock` that is a server's.

        Args:
            before: what was in force until now; what lists have shown while it was is taken over.

        Raises:
            ValueError: it is no lock, or does not pin this server.
        """
    @property
    def changed(self) -> list[str]:
        """Pinned tools whose definition was another when they were last listed."""
    @property
    def strange(self) -> int:
        """How many entries of lists were not as pinned so far."""

@final
class Spans:
    """Spans of decided messages that wait to be exported; a bounded number of them."""

    def __new__(
        cls, log: DecisionLog | None, *, most: int, root: int, sampled: int, unsampled: int
    ) -> Spans:
        """
        Args:
            log: what records decisions besides.
            most: how many may wait; what finds no room is left out.
            root, sampled, unsampled: a trace is recorded if the last 64 bits of its id are less
                than this: without a parent, with one that is recorded, with one that is not.
        """

    @property
    def made(self) -> int:
        """How many there were so far, those that found no room included."""
    def take(self, patience_s: float) -> list[dict[str, Any]] | None:
        """What waits (`gateway.tracing.SpanRow`), once half of the room is used or so many seconds
        have passed; None when it was closed and nothing waits. Lets other threads run meanwhile."""
    def close(self) -> None:
        """Keep no more, and let nobody wait."""

@final
class Engine:
    """The decision point of one grant on one server."""

    def __new__(
        cls,
        policies: PolicySet,
        table: LimitTable,
        *,
        shadow: bool = False,
        max_body_bytes: int = 1048576,
        max_depth: int = 64,
        denials: Literal["result", "protocol"] = "result",
        log: DecisionLog | None = None,
        approvals: bool = False,
        spans: Spans | None = None,
    ) -> Engine:
        """
        Args:
            log: where decisions are recorded.
            approvals: messages that need one are held, since whoever decides can find out.
            spans: what keeps them for tracing; made with the log, which it passes them on to.
        """

    @property
    def policies(self) -> PolicySet: ...
    @property
    def filters(self) -> bool:
        """Whether `filter_list` has work to do: the policy hides something."""
    def pin(self, pins: Pins | None) -> None:
        """Swap the pinned definitions: a tool that is not as it is pinned is taken out of lists and
        refused with `tool-changed`, or under `warn` told of as shadow mode does."""
    def install(self, policies: PolicySet) -> None:
        """Swap the policy; each decision sees one policy whole. Counts of unchanged limits stay."""
    def decide(
        self,
        caller: Caller,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]] | None = None,
        *,
        approval: Approval | None = None,
        full: bool = False,
        now_ns: int | None = None,
    ) -> Decision:
        """Decide one message on the very bytes that will be forwarded.

        Args:
            headers: the request's header fields, lower-case names, checked against the body
                (SEP-2243); None on stdio, where there are none.
            approval: what people say of it, where it was held.
            full: as many messages are in flight as may be: what wants an answer is refused as
                `overloaded` before any rule is evaluated.
            now_ns: nanoseconds since 1970 UTC; omitted, the clock is read.
        """
    def settle(
        self,
        decision: Decision,
        outcome: Literal["done", "unknown", "not-sent"],
        *,
        status: int | None = None,
        fault: str | None = None,
        now_ns: int | None = None,
    ) -> None:
        """End a decision's reservation, once, and record it: `not-sent` gives it back to the window
        it came from, the others leave it charged and free its concurrency. The time since `decide`
        is counted as that of the `request` and, unless it was not sent, of the `upstream`; a
        refusal's was
        counted when it was decided, and that of `subscriptions/listen` says nothing.

        Args:
            status: the server's, for the decision log.
            fault: slug of what kept the message from being served, likewise.
        """

    def record(self, decision: Decision) -> None:
        """Tell the decision log of an allowed message now, and not when it is settled."""
    def filter_list(self, caller: Caller, body: bytes) -> bytes:
        """A server's message without its hidden tools; the same object where nothing was to do.

        Raises:
            ValueError: the message cannot be read exactly, so it must not be passed on.
        """
    def explain(self, caller: Caller, body: bytes, *, now_ns: int | None = None) -> str:
        """Which entries matched, which rules held and what each limit has left, as JSON; charges
        nothing."""
    def counters(self) -> list[tuple[str, str, str, int]]:
        """(tool, effect, code, count); tool is an entry of the policy or `other`."""
    def shadow_counters(self) -> list[tuple[str, int]]:
        """(rule, count) of refusals that shadow mode only recorded."""
    def usage(
        self, caller: Caller, *, now_ns: int | None = None
    ) -> list[dict[str, str | int | float | None]]:
        """Live use of each limit without a `key`: rule, counter, window, max, used, remaining,
        reset_ms."""
    def usage_ratios(self, caller: Caller, *, now_ns: int | None = None) -> list[tuple[str, float]]:
        """(counter, used share of the fullest of its limits, 1 being all); limits without a
        `key`."""
    def decision_lines(self, caller: Caller) -> bytes:
        """`counters` as lines of `interlock_decisions_total`, labelled with the caller's names."""
    def usage_lines(self, caller: Caller, *, now_ns: int | None = None) -> bytes:
        """`usage_ratios` as lines of `interlock_limit_usage_ratio`, likewise."""
    def observe(self, phase: Literal["decide", "request", "upstream"], duration_ns: int) -> None:
        """Count how long something took that was not decided here; `decide` and `settle` count what
        was.

        Raises:
            ValueError: there is no such phase.
        """
    def histogram(
        self, phase: Literal["decide", "request", "upstream"]
    ) -> tuple[list[int], int, int]:
        """Power-of-two buckets of a phase's nanoseconds, their sum, and count.

        Raises:
            ValueError: there is no such phase.
        """

_Way: TypeAlias = tuple[bytes, Engine, str, str, bytes, Sequence[bytes], int, bool]
"""One way of the fast path: the path, its engine, the grant, the server's name, the head of a
request to the server (request line and fields of ours, each line with its end), the names of these
fields in lower case, the tag (the same for one grant on one server, always), and whether requests
without credentials go this way."""

@final
class Gate:
    """What one listener's fast path is sure of: its hosts, its bounds, and its servers by path."""

    def __new__(
        cls,
        *,
        hosts: Sequence[bytes] | None,
        routes: Sequence[_Way],
        max_body_bytes: int = 1048576,
        tokens: Sequence[tuple[bytes, str, float | None]] = ...,
        learns: bool = False,
    ) -> Gate:
        """Put together what a listener goes by.

        Args:
            hosts: Host values that are this listener's own, as they are spelt; None for any.
            routes: for each path and grant one.
            max_body_bytes: bound on a message.
            tokens: their SHA-256, the grants they stand for, and when they end, in seconds since
                1970 UTC. If there is one, or some may be learned, a request's credentials are
                looked at.
            learns: whether `learn` will be called.

        Raises:
            ValueError: an end is not a time.
        """

    def install(
        self,
        *,
        routes: Sequence[_Way],
        tokens: Sequence[tuple[bytes, str, float | None]] = ...,
        learns: bool = False,
    ) -> None:
        """Go by these from the next message on; what was learned is forgotten."""

    def learn(self, token: bytes, grant: str, *, until: float | None = None) -> None:
        """Let a token that was verified elsewhere stand for a grant, for as long as there is room.

        Raises:
            ValueError: the end is not a time.
        """

    def set_full(self, full: bool) -> None:
        """Say whether as many messages are in flight as may be: while it is so, what wants an
        answer is refused as `overloaded` before any rule is evaluated."""

    def drain(self) -> None:
        """Hand everything over from now on."""

_Found: TypeAlias = bytes | Exchange | HandedOver | Foreign | Failed

@final
class Intake:
    """The incoming half of one client's connection (RFC 9112), without the socket."""

    def __new__(cls, gate: Gate) -> Intake: ...
    def receive(self, data: bytes) -> _Found | tuple[_Found] | None:
        """Take what came and say what is to be done with the first whole message.

        In a tuple where more is kept behind that message, to be looked at once it is served.

        Args:
            data: may be empty, to have what came behind the last message looked at.

        Returns:
            None: no message is complete.
            bytes: the whole answer to a refused message.
            Exchange: an allowed message, to be sent.
            HandedOver: a request for the ASGI application.
            Foreign: bytes that are not plain HTTP/1.1, for whoever knows them.
            Failed: a defect; the connection must end with its answer.
        """

    def set_peer(self, grant: str | None) -> None:
        """Say whose the connection is, whatever its messages say: this grant's, or if None nobody's
        who may be taken for the anonymous grant. A message with a token goes by that."""
    def take_raw(self) -> bytes:
        """All that was not served yet, as it came; nothing is kept after this."""
    @property
    def pending(self) -> bool:
        """Whether anything is kept that was not served yet."""
    @property
    def stage(self) -> Literal["idle", "head", "body"]:
        """What is incomplete."""
    @property
    def received(self) -> int:
        """Bytes of the incomplete body that have come."""

@final
class HandedOver:
    """A whole request that the fast path does not serve."""

    @property
    def method(self) -> bytes: ...
    @property
    def target(self) -> bytes: ...
    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case, in the order they came."""
    @property
    def body(self) -> bytes: ...
    @property
    def tag(self) -> int:
        """Which route, where there is a decision."""
    @property
    def token(self) -> bytes | None:
        """The SHA-256 of the token that says whose it is, where there is a decision."""
    @property
    def caller(self) -> Caller | None:
        """Who asks, if that was settled."""
    @property
    def decision(self) -> Decision | None:
        """What was decided already, of which the charge is yet to be settled."""

@final
class Foreign:
    """Everything that came and was not served."""

    @property
    def raw(self) -> bytes: ...

@final
class Failed:
    """What is left to say where something of our own failed."""

    @property
    def answer(self) -> bytes: ...

@final
class Exchange:
    """An allowed message on its way, and the answer to it as it comes.

    Dropped unsettled, it stays charged.
    """

    MORE: int
    """The answer goes on."""
    DONE: int
    """It is whole, and the server's connection may be used again."""
    CLOSED: int
    """It is whole, and the server's connection may not."""
    ODD: int
    """Its head is not plain: `raw` is what came of it, and nothing has left."""
    FAULT: int
    """It cannot be passed on; `fault` says why."""
    LOOK: int
    """Added to another: `seen` or `document` must be looked at before the bytes leave."""

    @property
    def tag(self) -> int:
        """Which route."""
    @property
    def token(self) -> bytes | None:
        """The SHA-256 of the token that says whose it is."""
    @property
    def request(self) -> bytes:
        """What to send to the server, head and body."""
    @property
    def kind(self) -> Literal["request", "notification"]: ...
    @property
    def modern(self) -> bool:
        """Whether the message is of the stateless era."""
    @property
    def session(self) -> str | None: ...
    @property
    def caller(self) -> Caller: ...
    def feed(self, data: bytes) -> tuple[int, bytes | None]:
        """Take a piece of the server's answer: what has become of it, and what leaves for the
        client."""

    def end(self) -> tuple[int, bytes | None]:
        """Take it that the server closed its side."""

    def close(self) -> None:
        """Let the answer, if it has not begun, be its connection's last."""

    @property
    def started(self) -> bool:
        """Whether bytes of an answer have been handed out."""
    @property
    def raw(self) -> bytes: ...
    @property
    def seen(self) -> list[bytes]:
        """Messages of the last piece that may have to be remembered."""
    @property
    def document(self) -> bytes | None:
        """The answer, where whether it answers this message is not plain."""
    @property
    def fault(self) -> tuple[Literal["invalid", "reset"], str] | None:
        """Why the answer cannot be passed on."""
    def give_back(self) -> None:
        """Settle it as never sent."""

    def finish(self) -> None:
        """Settle it, if it is not yet: what the server made of it is unknown."""

    @property
    def decision(self) -> Decision: ...
    def refusal(self, code: str, message: str, *, status: int) -> bytes:
        """The whole HTTP answer that says why the message could not be served.

        Args:
            code: slug for the client.
            message: for people.
            status: HTTP's, where it has to say it.
        """

    def last_event(self, code: str, message: str, *, status: int) -> bytes | None:
        """What ends a broken event stream with a proper answer; None where nothing can."""

def verify_log(path: str, expected: Sequence[str] = ...) -> dict[str, Any]:
    """Read a log back, with its old files and those of its other writers.

    Args:
        path: as it was opened, or `-` for standard input.
        expected: hashes of lines that must be there.

    Returns:
        `lines`; `chains`, each with `file`, `worker`, `first_seq`, `last_seq`, `last_hash` and
        `dropped`; `problems` and `notes`, each with `file`, `line` and `message`; `more_problems`,
        the number of those that are not in the list; and `missing`, of what was expected.

    Raises:
        OSError: there is no such log, or it cannot be read.
    """
