"""What a decision is compared with: the same rules in plain Python, written as one would.

Both read the message, look the tool up and charge the three limits that a call is under. Neither
does what else `Engine.decide` does: hold the message to one reading, charge all limits or none,
keep counts across processes, count for the metrics, or word a refusal.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import RateLimiter

SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}


class PlainLimiter:
    """A dictionary of counts behind a lock, by tool, counter and window.

    Args:
        document: a policy document as `bench.message.policy` writes them.
    """

    def __init__(self, document: bytes) -> None:
        policy = json.loads(document)
        shared = policy["all_tools"]["limits"]
        self._limits: dict[str, list[tuple[str, int, int]]] = {
            tool: [
                (each["counter"], SECONDS[each["window"]], each["max"])
                for each in shared + entry["limits"]
            ]
            for tool, entry in policy["tools"].items()
            if entry["action"] == "allow"
        }
        self._counts: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._lock = threading.Lock()

    def decide(self, grant: str, body: bytes) -> bool:
        """Whether the call passes; if so it has been charged."""
        message = json.loads(body)
        if message["method"] != "tools/call":
            return True
        limits = self._limits.get(message["params"]["name"])
        if limits is None:
            return False
        now = time.time()
        with self._lock:
            charged = {}
            for counter, seconds, most in limits:
                key = (grant, counter, seconds)
                window = int(now // seconds)
                begun, used = self._counts.get(key, (window, 0))
                used = used + 1 if begun == window else 1
                if used > most:
                    return False
                charged[key] = (window, used)
            self._counts.update(charged)
        return True


class LibraryLimiter:
    """The same with the package `limits` and its storage in memory.

    Args:
        document: as for `PlainLimiter`.
        moving: by moving windows, which keep an entry for each call, instead of fixed ones.
    """

    def __init__(self, document: bytes, *, moving: bool = False) -> None:
        from limits import RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute
        from limits.storage import MemoryStorage
        from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

        kinds = {
            "minute": RateLimitItemPerMinute,
            "hour": RateLimitItemPerHour,
            "day": RateLimitItemPerDay,
        }
        policy = json.loads(document)
        shared = policy["all_tools"]["limits"]
        self._limits: dict[str, list[tuple[str, RateLimitItem]]] = {
            tool: [
                (each["counter"], kinds[each["window"]](each["max"]))
                for each in shared + entry["limits"]
            ]
            for tool, entry in policy["tools"].items()
            if entry["action"] == "allow"
        }
        strategy = MovingWindowRateLimiter if moving else FixedWindowRateLimiter
        self._limiter: RateLimiter = strategy(MemoryStorage())

    def decide(self, grant: str, body: bytes) -> bool:
        """Whether the call passes; limits before one that refuses have been charged."""
        message = json.loads(body)
        if message["method"] != "tools/call":
            return True
        limits = self._limits.get(message["params"]["name"])
        if limits is None:
            return False
        return all(self._limiter.hit(item, grant, counter) for counter, item in limits)
