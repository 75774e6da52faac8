"""Where the data plane learns what people say of a call that needs an approval.

INVARIANT: a call is let through by an approval that was taken from the store for it alone, and that
is given back only if no server can have seen the call. Whatever fails here refuses. The store is
used by a thread of its own, so that the event loop waits for no disk.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import orjson

from gateway._core import Approval as Said
from gateway.approvals.calls import digest, parameters
from gateway.approvals.store import (
    MAX_CALL_BYTES,
    Approval,
    Approvals,
    State,
    StoreError,
    StoreFull,
    Unshowable,
    Wanted,
)
from gateway.errors import Problem, StartError

if TYPE_CHECKING:
    from gateway._core import Caller, Decision
    from gateway.approvals.settings import ApprovalSettings
    from gateway.enforcement import EnforcementPoint

T = TypeVar("T")

MAX_MESSAGE_BYTES = 2 * MAX_CALL_BYTES
"""Longer messages are not looked into: hardly anything of one could be left out."""
LOOK_S = 0.25
"""How often it is looked whether what calls wait for was decided."""
SWEEP_S = 5.0
"""How often what has ended is withdrawn, and what waits is counted."""
MAX_HELD = 100
"""Calls that are held for a decision at once, unless half of all that may be served are fewer."""

Hold = Callable[[Awaitable[None], str], Awaitable[None]]
"""Awaits that a request was decided, or its time is over, on behalf of a client; it is given the
request's id."""

_log = logging.getLogger("interlock.approvals")


async def _patiently(decided: Awaitable[None], _: str) -> None:
    await decided


class GivenUp(StoreError):
    """The client does not want it any more."""


class _Held(NamedTuple):
    """A call that is held."""

    id: str
    """Of the request that it waits for."""
    caller: Caller
    request_id: bytes | None


class Desk:
    """Asks for approvals, and uses them.

    Args:
        settings: of the store, which is made if it is absent.
        clock: seconds since 1970 UTC, as whoever decides counts them.
        most_held: calls that are held for a decision at once; more are answered at once.

    Raises:
        StartError: the store cannot be used.

    Attributes:
        pending: requests that wait, as of a few seconds ago.
    """

    def __init__(
        self,
        settings: ApprovalSettings,
        clock: Callable[[], float] = time.time,
        most_held: int = MAX_HELD,
    ) -> None:
        self.pending = 0
        self._outcomes: Counter[str] = Counter()
        self._clock = clock
        self._most_held = most_held
        self._wait_s = settings.wait_s
        self._troubled = False
        self._draining = False
        self._held: dict[asyncio.Future[None], _Held] = {}
        """Calls that are held, and the requests that they wait for."""
        self._looking: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None
        try:
            settings.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store = Approvals(
                settings.path, pending_s=settings.pending_s, approved_s=settings.approved_s
            )
        except (StoreError, OSError) as error:
            help = (
                "name a file in a folder that can be written; a store of another release has to go"
            )
            raise StartError(Problem(str(error), help)) from error
        self._thread = ThreadPoolExecutor(1, "approvals")

    @property
    def outcomes(self) -> Mapping[str, int]:
        """What became of requests in this process: people were `asked`, an approval was `used`, a
        call was refused because one was `denied` or nobody could be asked (`unavailable`), and what
        `expired`, a request or what a person said, was found here at its end."""
        return {**self._outcomes, "expired": self._store.ended}

    def start(self) -> None:
        """Begin to withdraw what has ended."""
        self._sweeping = asyncio.create_task(self._sweep())

    def drain(self) -> None:
        """Hold nobody any longer."""
        self._draining = True
        for decided in self._held:
            if not decided.done():
                decided.set_result(None)

    async def aclose(self) -> None:
        """Let go of the store, once what is under way is written."""
        for task in (self._sweeping, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)
        self._store.close()

    @asynccontextmanager
    async def judged(
        self,
        point: EnforcementPoint,
        caller: Caller,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]] | None,
        held: Decision,
        hold: Hold = _patiently,
    ) -> AsyncIterator[Decision]:
        """Decide a held message with what people say of it.

        An approval that let it through is given back unless it was delivered, by the end of the
        context.

        Args:
            hold: waits for people, where the settings say so.

        Raises:
            Refused: the core failed.
        """
        found: Approval | None = None
        said = Said("unavailable", policy=held.policy, remark="the call was given up")
        decision: Decision | None = None
        try:
            try:
                found = await self._found(caller, body, held, hold)
                said = _said(found)
            except StoreError as error:
                self._outcomes["unavailable"] += not isinstance(error, GivenUp)
                said = Said("unavailable", policy=held.policy, remark=self._reason(error))
            finally:
                # Also where nobody waits for it any more: each request is told of once.
                decision = point.decide(caller, body, headers, said)
            if decision.code == "approval-denied":
                self._outcomes["denied"] += 1
            yield decision
        finally:
            if found is not None and found.state is State.USED:
                if decision is None or not decision.approved or decision.given_back:
                    self._give_back(found)
                else:
                    self._outcomes["used"] += 1

    async def _found(self, caller: Caller, body: bytes, held: Decision, hold: Hold) -> Approval:
        """What people say of a call: used by it, pending or denied."""

        def claim() -> Approval:
            return self._store.claim(_wanted(caller, body, held), self._clock())

        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_s
        found = await self._claimed(claim)
        if found.state is State.PENDING and found.asked == 1:
            self._outcomes["asked"] += 1
            self.pending += 1
        while found.state is State.PENDING and self._may_hold() and loop.time() < deadline:
            this = _Held(found.id, caller, held.request_id)
            await hold(self._decided(this, deadline), found.id)
            found = await self._claimed(claim)
        self._troubled = False
        return found

    async def _claimed(self, claim: Callable[[], Approval]) -> Approval:
        """What was claimed; given back if nobody waits for it any more."""
        try:
            claiming = self._thread.submit(claim)
        except RuntimeError as error:
            raise StoreError("the store is closed") from error
        try:
            return await asyncio.wrap_future(claiming)
        except asyncio.CancelledError:

            def unclaim() -> None:
                # In the same thread, so that it has ended, unless it was never begun.
                if not claiming.cancelled() and claiming.exception() is None:
                    found = claiming.result()
                    if found.state is State.USED:
                        self._store.give_back(found, self._clock())

            self._later(unclaim)
            raise
        except StoreError:
            raise
        except Exception as error:
            _log.exception("what people say of a call could not be found out")
            raise StoreError("a defect") from error

    def _give_back(self, found: Approval) -> None:
        self._later(lambda: self._store.give_back(found, self._clock()))

    def _later(self, work: Callable[[], object]) -> None:
        """Have something done of which nobody waits for the end, before whatever comes later."""

        def done() -> None:
            try:
                work()
            except StoreError as error:
                _log.error("an approval was not given back: %s", error)

        with suppress(RuntimeError):  # the process ends
            self._thread.submit(done)

    def _reason(self, error: StoreError) -> str:
        """What the agent is told; where the file is, is not its business."""
        if isinstance(error, (StoreFull, Unshowable, GivenUp)):
            return str(error)
        if not self._troubled:
            _log.error("calls that need an approval are refused: %s", error)
        self._troubled = True
        return "approvals cannot be kept at present"

    # For calls that are held.

    def _may_hold(self) -> bool:
        return len(self._held) < self._most_held and not self._draining

    def give_up(self, caller: Caller, notification: bytes) -> None:
        """Hold a call no longer that its session cancels, and refuse it.

        Args:
            notification: `notifications/cancelled`, admitted.
        """
        params = orjson.loads(notification).get("params")
        ident = params.get("requestId") if isinstance(params, dict) else None
        if caller.session is None or ident is None:
            return  # without a session, closing the request says it
        for decided, held in self._held.items():
            mine = held.caller == caller and held.request_id is not None
            if mine and _same(orjson.loads(held.request_id or b""), ident) and not decided.done():
                decided.set_exception(GivenUp("the call was cancelled"))

    async def _decided(self, held: _Held, deadline: float) -> None:
        """Wait until a request does not wait any more, or a time of the event loop.

        Raises:
            GivenUp: the client cancelled the call.
        """
        decided = asyncio.get_running_loop().create_future()
        self._held[decided] = held
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout_at(deadline):
                await decided
        except TimeoutError:
            return
        finally:
            del self._held[decided]

    async def _look(self) -> None:
        """Look what was decided, for all who wait, as long as somebody does."""
        while self._held:
            await asyncio.sleep(LOOK_S)
            try:
                waiting = await self._in_thread(lambda: self._store.waiting(self._clock()))
            except StoreError:
                waiting = set()  # who asks again is told
            for decided, held in self._held.items():
                if held.id not in waiting and not decided.done():
                    decided.set_result(None)

    async def _sweep(self) -> None:
        while True:
            with suppress(StoreError):
                self.pending = await self._in_thread(lambda: self._store.sweep(self._clock()))
            await asyncio.sleep(SWEEP_S)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(work))


def _same(one: object, other: object) -> bool:
    """Whether two ids are the same; 1 and `"1"` are not, nor are 1 and true."""
    return type(one) is type(other) and one == other


def _wanted(caller: Caller, body: bytes, held: Decision) -> Wanted:
    """What is to be approved.

    Raises:
        Unshowable: it is too long.
    """
    if len(body) > MAX_MESSAGE_BYTES:
        raise Unshowable("the call is too long to be shown to whoever approves it")
    whole, shown = parameters(body)
    tool = held.target if held.method == "tools/call" else held.method
    parts = {
        "grant": caller.grant,
        "server": caller.server,
        "tool": tool or "",
        "rule": held.rule or "",
        "policy": held.policy,
    }
    return Wanted(digest=digest(**parts, call=whole), **parts, reason=held.message, call=shown)


def _said(found: Approval) -> Said:
    """The same for the core."""
    state = "approved" if found.state is State.USED else found.state.value
    return Said(
        state,
        policy=found.wanted.policy,
        id=found.id,
        by=found.decided_by,
        until_s=found.until,
        remark=found.remark,
    )
