"""Which parts of a policy were seen to do something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway._core import PolicySet
    from gateway.author.document import Node

RULES = ("deny_if", "require", "require_approval")


def parts(root: Node, policies: PolicySet) -> list[str]:
    """RFC 6901 pointers of all that can refuse a call, and of the entries, as they are written.

    Args:
        root: the document that `policies` was compiled from.
    """
    document = root.value
    found = ["/default"] if document.get("default") == "deny" else []
    found += [f"/hide/{index}" for index in range(len(document.get("hide") or []))]
    for entry in policies.entries:
        found += [entry, *refusing(entry, at(root, entry).value)]
    return found


def refusing(pointer: str, entry: Mapping[str, Any]) -> list[str]:
    """What can refuse a call in one entry."""
    found = [] if entry.get("action", "allow") == "allow" else [f"{pointer}/action"]
    for key in (*RULES, "limits"):
        found += [f"{pointer}/{key}/{index}" for index in range(len(entry.get(key) or []))]
    return found + ([f"{pointer}/rate_limit"] if "rate_limit" in entry else [])


def at(root: Node, pointer: str) -> Node:
    """What an RFC 6901 pointer leads to.

    Raises:
        LookupError: nothing is there.
    """
    node = root
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        node = node.child(int(key) if isinstance(node.value, list) and key.isdigit() else key)
    return node


def bitten(told: Mapping[str, Any]) -> set[str]:
    """What an explanation (`Engine.explain`) shows at work: entries that matched, rules and limits
    that refused, or would have in shadow mode."""
    found = set(told["entries"])
    found |= {one["rule"] for one in told["rules"] if one["holds"] == _refuses(one["rule"])}
    found |= {one["rule"] for one in told["rules"] if one["holds"] == "indeterminate"}
    found |= {one["rule"] for one in told["limits"] if not one["room"]}
    found |= {one["rule"] for one in told["shadow"]}
    decided = told["decision"].get("rule")
    return found if told["allowed"] or not decided else found | {decided}


def _refuses(pointer: str) -> str:
    """What a rule says when it refuses: a requirement, that it does not hold."""
    return "false" if pointer.split("/")[-2] == "require" else "true"
