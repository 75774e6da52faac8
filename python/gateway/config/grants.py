"""The grants file: what `interlock grant` writes, and the tokens that it makes.

It is a file of its own so that the configuration, which people write and comment, is never
rewritten by a program.

INVARIANT: a token is in nobody's file, only its SHA-256; and whoever reads the grants file finds
the old one or the new one whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PREFIX = "ilk_"
"""By which scanners for secrets find a token: `ilk_[0-9a-f]{72}`."""

Grant = dict[str, Any]
"""A grant as it is written."""


def new_token() -> str:
    """A token of 256 random bits in hexadecimal, and the CRC-32 of what comes before it, so that a
    scanner can tell a token from what only looks like one."""
    front = PREFIX + secrets.token_hex(32)
    return f"{front}{zlib.crc32(front.encode()):08x}"


def sha256(token: str) -> str:
    """What is stored of a token, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def moment(seconds: float) -> str:
    """A time as it is written, from seconds since 1970 UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def tokens_of(grant: Grant) -> list[dict[str, str]]:
    """Its tokens, however they are written."""
    found = list(grant.get("tokens", []))
    if "token_sha256" in grant:
        one = {"sha256": grant["token_sha256"]}
        found.append(one | ({"expires": grant["expires"]} if "expires" in grant else {}))
    return found


class GrantsFile:
    """A grants file, whether there is one yet or not.

    Args:
        path: where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Grant]:
        """The grants in it.

        Raises:
            OSError: it is there and cannot be read.
            ValueError: it is not what `edit` writes.
        """
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        if not isinstance(found, dict) or not isinstance(found.get("grants"), list):
            raise ValueError(f"`{self.path}` is not a grants file")
        grants: list[Grant] = found["grants"]
        return grants

    def edit(self, change: Callable[[list[Grant]], None]) -> None:
        """Change the grants and put the file in its place, alone among those who do so.

        Raises:
            OSError, ValueError: as `read`, or it cannot be written; nothing was changed.
        """
        with self._alone():
            grants = self.read()
            change(grants)
            text = json.dumps({"version": "1", "grants": grants}, indent=2) + "\n"
            self._replace(text.encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _replace(self, content: bytes) -> None:
        """Write beside it, and rename over it: whoever watches sees one change."""
        target = Path(os.path.realpath(self.path))
        new = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(file, "wb") as out:
                if target.exists():
                    os.fchmod(out.fileno(), target.stat().st_mode & 0o777)
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            new.replace(target)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
