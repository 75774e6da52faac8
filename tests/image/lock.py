"""Of a lock file on standard input, the entries of some packages and all that they need.

lock.py PACKAGE...
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, requires


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(names: list[str]) -> set[str]:
    """The packages and what they require, as installed here; extras and platforms make it more."""
    found: set[str] = set()
    while names:
        name = normal(names.pop())
        if name not in found:
            found.add(name)
            try:
                required = requires(name) or []
            except PackageNotFoundError:
                continue
            names += [re.split(r"[^\w.-]", one)[0] for one in required if "extra ==" not in one]
    return found


wanted = needed(sys.argv[1:])
for entry in re.findall(r"^\S.*(?:\n    .*)*", sys.stdin.read(), re.MULTILINE):
    if normal(re.split(r"[ =;\[]", entry)[0]) in wanted:
        sys.stdout.write(entry + "\n")
