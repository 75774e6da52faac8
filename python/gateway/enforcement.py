"""The enforcement point: a message in, a decision, and its reservation settled by what became of
it.

INVARIANT: only an allowed decision reaches a server, once; every allowed decision is settled
exactly once, and given back only if the server cannot have seen the message. A decision that fails
is a refusal.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gateway.denial import FAULT_CODES, Refused, refuse
from gateway.errors import UpstreamError

if TYPE_CHECKING:
    from gateway._core import Approval, Caller, Decision, DecisionLog, Engine
    from gateway.approvals.desk import Desk

_log = logging.getLogger("interlock.enforcement")

PASSING = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)
"""Exceptions that end work on purpose and are nobody's failure."""


@dataclass(slots=True)
class Traffic:
    """What one server was asked, for the metrics."""

    in_flight: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """Faults of the server by `UpstreamReason`."""


class EnforcementPoint:
    """Decides for one grant on one server, whichever door a message came through.

    Attributes:
        desk: where people are asked for approvals; there is one where the engine holds messages.
    """

    def __init__(
        self, engine: Engine, log: DecisionLog | None = None, desk: Desk | None = None
    ) -> None:
        self.engine = engine
        self.log = log
        self.desk = desk
        self.failures = 0
        """Decisions that failed and therefore refused."""

    def decide(
        self,
        caller: Caller,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]] | None = None,
        approval: Approval | None = None,
        *,
        full: bool = False,
    ) -> Decision:
        """Decide a message; the decision is total, but a defect must refuse as well.

        Args:
            approval: what people say of a message that was held.
            full: no more may be in flight; see `Engine.decide`.

        Raises:
            Refused: the core failed.
        """
        try:
            return self.engine.decide(caller, body, headers, approval=approval, full=full)
        except PASSING:
            raise
        except BaseException as error:  # a panic of the core is no `Exception`
            if self.failures == 0:
                _log.exception("a decision failed and was refused; further ones are only counted")
            self.failures += 1
            if self.log is not None:
                self.log.request(
                    "internal-error",
                    grant=caller.grant,
                    server=caller.server,
                    session=caller.session,
                )
            raise Refused(refuse("internal-error"), recorded=True) from error

    async def settle_by(
        self,
        decision: Decision,
        served: Awaitable[None],
        status: Callable[[], int] | None = None,
    ) -> None:
        """Await the serving of an allowed message and settle its reservation by how that ends.

        Args:
            status: says the server's, 0 if there is none.

        Raises:
            UpstreamError: and whatever else `served` raises, after settling.
        """
        outcome: Literal["done", "unknown", "not-sent"] = "unknown"
        fault = None
        try:
            await served
            outcome = "done"
        except UpstreamError as error:
            fault = FAULT_CODES[error.reason]
            if not error.sent:
                outcome = "not-sent"
            raise
        except Refused as refusal:
            fault = refusal.code
            raise
        finally:
            seen = status() if status is not None else 0
            self.engine.settle(decision, outcome, status=seen or None, fault=fault)

    def give_back(self, decision: Decision, fault: str | None = None) -> None:
        """Settle an allowed message that is not going to be sent.

        Args:
            fault: slug of the reason, for the decision log.
        """
        self.engine.settle(decision, "not-sent", fault=fault)

    def filter_for(self, caller: Caller) -> Callable[[bytes], bytes] | None:
        """What removes hidden entries from answers to this caller; None where the policy hides
        nothing."""
        if not self.engine.filters:
            return None
        return lambda body: self.engine.filter_list(caller, body)
