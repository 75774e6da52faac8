"""Counts over time, in unbounded integers: nanoseconds and units.

INVARIANT: a call is charged to all of its quotas or to none, and only a call that every enforced
maximum has room for is charged. Time is an argument and never runs backwards inside a ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000_000
SPANS = {
    "second": SECOND,
    "minute": 60 * SECOND,
    "hour": 3600 * SECOND,
    "day": 86_400 * SECOND,
    "week": 7 * 86_400 * SECOND,
}
ZERO = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH = int((datetime(2025, 12, 29, tzinfo=UTC) - ZERO).total_seconds()) * SECOND
"""A Monday's midnight, so that weeks begin on Mondays and days and hours are the calendar's."""

SUB_WINDOWS = 7
"""A sliding window is this many past sub-windows and the current one."""


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def month_of(t: int) -> tuple[int, int]:
    """Start and end of the UTC month that `t` is in."""
    now = ZERO + timedelta(seconds=t // SECOND)
    start = now.replace(day=1, hour=0, minute=0, second=0)
    end = (start + timedelta(days=32)).replace(day=1)
    return tuple(int((edge - ZERO).total_seconds()) * SECOND for edge in (start, end))  # type: ignore[return-value]


@dataclass
class Reservation:
    """What one charge took: where in time, how much, when."""

    place: int
    cost: int
    at: int


@dataclass
class Fixed:
    """At most `max` in each calendar window; `span` None is the month."""

    span: int | None
    start: int = 0
    used: int = 0

    def window(self, t: int) -> tuple[int, int]:
        if self.span is None:
            return month_of(t)
        start = EPOCH + (t - EPOCH) // self.span * self.span
        return start, start + self.span

    def in_use(self, t: int) -> int:
        return self.used if self.window(t)[0] == self.start else 0

    def remaining(self, t: int, most: int) -> int:
        return max(0, most - self.in_use(t))

    def has_room(self, t: int, cost: int, most: int) -> bool:
        return self.in_use(t) + cost <= most

    def wait(self, t: int, cost: int, most: int) -> int | None:
        if self.has_room(t, cost, most):
            return 0
        return self.window(t)[1] - t if cost <= most else None

    def take(self, t: int, cost: int) -> Reservation:
        self.used = self.in_use(t) + cost
        self.start = self.window(t)[0]
        return Reservation(self.start, cost, t)

    def give_back(self, taken: Reservation, now: int) -> None:
        if taken.place == self.start:
            self.used -= taken.cost

    def finish(self, taken: Reservation) -> None:
        """The call ended: what it used stays used."""


@dataclass
class Sliding:
    """At most `max` in any interval of `span`: in this sub-window and the seven before it."""

    span: int
    used: dict[int, int] = field(default_factory=dict)

    def width(self) -> int:
        return ceil_div(self.span, SUB_WINDOWS)

    def epoch(self, t: int) -> int:
        return (t - EPOCH) // self.width()

    def in_use(self, epoch: int) -> int:
        return sum(n for e, n in self.used.items() if epoch - SUB_WINDOWS <= e <= epoch)

    def remaining(self, t: int, most: int) -> int:
        return max(0, most - self.in_use(self.epoch(t)))

    def has_room(self, t: int, cost: int, most: int) -> bool:
        return self.in_use(self.epoch(t)) + cost <= most

    def wait(self, t: int, cost: int, most: int) -> int | None:
        now = self.epoch(t)
        if self.has_room(t, cost, most):
            return 0
        for later in range(now + 1, now + SUB_WINDOWS + 2):
            if self.in_use(later) + cost <= most:
                return EPOCH + later * self.width() - t
        return None

    def take(self, t: int, cost: int) -> Reservation:
        epoch = self.epoch(t)
        self.used[epoch] = self.used.get(epoch, 0) + cost
        return Reservation(epoch, cost, t)

    def give_back(self, taken: Reservation, now: int) -> None:
        self.used[taken.place] -= taken.cost

    def finish(self, taken: Reservation) -> None:
        """The call ended: what it used stays used."""


@dataclass
class Bucket:
    """`burst` units at once, one more each `interval`; full again at `full_at`."""

    interval: int
    burst: int
    full_at: int = 0

    def debt(self, t: int) -> int:
        return max(0, self.full_at - t)

    def remaining(self, t: int, most: int) -> int:
        return max(0, self.burst * self.interval - self.debt(t)) // self.interval

    def has_room(self, t: int, cost: int, most: int) -> bool:
        return self.debt(t) + cost * self.interval <= self.burst * self.interval

    def wait(self, t: int, cost: int, most: int) -> int | None:
        if cost > self.burst:
            return None
        return max(0, self.debt(t) - (self.burst - cost) * self.interval)

    def take(self, t: int, cost: int) -> Reservation:
        self.full_at = t + self.debt(t) + cost * self.interval
        return Reservation(0, cost, t)

    def give_back(self, taken: Reservation, now: int) -> None:
        # What the bucket would have regained by itself since then is not handed out a second time.
        self.full_at -= max(0, taken.cost * self.interval - max(0, now - taken.at))

    def finish(self, taken: Reservation) -> None:
        """The call ended: what it used stays used."""


@dataclass
class Concurrency:
    """At most `max` at the same time."""

    running: int = 0

    def remaining(self, t: int, most: int) -> int:
        return max(0, most - self.running)

    def has_room(self, t: int, cost: int, most: int) -> bool:
        return self.running + cost <= most

    def wait(self, t: int, cost: int, most: int) -> int | None:
        return 0 if self.has_room(t, cost, most) else None

    def take(self, t: int, cost: int) -> Reservation:
        self.running += cost
        return Reservation(0, cost, t)

    def give_back(self, taken: Reservation, now: int) -> None:
        self.running -= taken.cost

    def finish(self, taken: Reservation) -> None:
        self.running -= taken.cost


State = Fixed | Sliding | Bucket | Concurrency


@dataclass(frozen=True)
class Charge:
    """One quota a call uses, with the maxima of all places that name it."""

    key: tuple[object, ...]
    state: State  # how it starts, if the ledger has none yet
    cost: int
    maxima: tuple[int, ...]
    shadow_maxima: tuple[int, ...]


class Ledger:
    """Every count there is, and the latest time it was asked about."""

    def __init__(self) -> None:
        self.states: dict[tuple[object, ...], State] = {}
        self.floor = 0

    def clock(self, now: int) -> int:
        """`now`, or the latest time seen where the clock stepped back."""
        self.floor = max(self.floor, now)
        return self.floor

    def state(self, charge: Charge) -> State:
        state = self.states.setdefault(charge.key, charge.state)
        if isinstance(state, Bucket) and isinstance(charge.state, Bucket):
            # A reload may have changed the rate; the debt stays a debt in time.
            state.interval, state.burst = charge.state.interval, charge.state.burst
        return state

    def take(self, charges: list[Charge], t: int) -> list[tuple[State, Reservation]]:
        """Charge every quota; the caller has seen that each enforced maximum has room.

        A quota that only shadow limits watch is charged where they have room, so that it shows what
        enforcing them would have done.
        """
        taken = []
        for charge in charges:
            state = self.state(charge)
            watched = charge.maxima or charge.shadow_maxima
            if charge.maxima or state.has_room(t, charge.cost, min(watched)):
                taken.append((state, state.take(t, charge.cost)))
        return taken


def settle(taken: list[tuple[State, Reservation]], outcome: str, now: int) -> None:
    """End a call: `not-sent` gives everything back, anything else frees only concurrency."""
    for state, reservation in taken:
        if outcome == "not-sent":
            state.give_back(reservation, now)
        else:
            state.finish(reservation)
