"""A server that can be asked, and what of it may be shown.

INVARIANT: what is shown of a target has no argument, no header, no variable and no query in it:
any of them can be a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

SHORTEST_SECRET = 4
_ENVIRONMENT = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


class ScanError(Exception):
    """A server could not be asked, or did not answer as MCP says; the message is for people."""


@dataclass(frozen=True, slots=True)
class Target:
    """One server: a `url` or a `command`.

    Attributes:
        name: what it is called where it was found; empty to take the server's own word.
        source: the file that names it; empty for the command line.
        env: variables that a command gets beside those that every server gets.
        headers: fields that are sent to a URL.
        ca_file: certificates to trust instead of the system's.
    """

    name: str = ""
    url: str | None = None
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    ca_file: Path | None = None

    @property
    def shown(self) -> str:
        """How it is called in messages."""
        return self.name or self.place

    @property
    def place(self) -> str:
        """Where it is: the program, or the URL without what may be secret in it."""
        if self.url is None:
            return os.path.basename(self.command[0]) if self.command else "nothing"
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def redact(self, text: str) -> str:
        """Text of the server without the secrets that it was given."""
        given = [*self.env.values(), *self.headers.values(), *self.command[1:]]
        if self.url is not None:
            given.append(urlsplit(self.url).query)
        words = {word for value in given for word in (value, *re.split(r"[\s=&]+", value))}
        for word in sorted(words, key=len, reverse=True):
            if len(word) >= SHORTEST_SECRET:
                text = text.replace(word, "…")
        return text


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Text with `${env:NAME}` replaced by the variable.

    Raises:
        ScanError: there is no such variable.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in variables:
            raise ScanError(f"the variable `{found[1]}` is not set")
        return variables[found[1]]

    return _ENVIRONMENT.sub(value, text)
