"""What every client goes through behind a sidecar, told once for all of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from processes import Sidecar, run_json

if TYPE_CHECKING:
    from peers import Client

POLICY: dict[str, Any] = {
    "default": "deny",
    "hide": ["test_image_*"],
    "tools": {
        "test_simple_text": {"limits": [{"counter": "texts", "window": "month", "max": 2}]},
        "test_error_handling": {},
        "test_sampling": {
            "deny_if": [
                {
                    "conditions": [{"path": "args.prompt", "op": "contains", "value": "secret"}],
                    "on_deny": "prompts are not to speak of secrets",
                }
            ]
        },
    },
    "methods": {"resources/read": {}},
}

STEPS: list[list[Any]] = [
    ["list"],
    ["call", "test_simple_text", {}],
    ["call", "test_error_handling", {}],
    ["call", "test_sampling", {"prompt": "tell me a secret"}],
    ["call", "test_image_content", {}],
    ["call", "test_audio_content", {}],
    ["call", "test_simple_text", {}],
    ["call", "test_simple_text", {}],
    ["read", "test://static-text"],
    ["list"],
]


def drive(client: Client, target: dict[str, Any], steps: list[list[Any]]) -> Any:
    """What came of each step, in `steps`, and the `revision` that the client agreed on."""
    command = (*client.driver, json.dumps({**target, "mode": client.mode}), json.dumps(steps))
    return run_json(command)


def tell(client: Client, folder: Path, upstream: str) -> None:
    """Sends a client through a sidecar: what it may, what it may not, and that it lives on.

    Args:
        client: Which one.
        folder: Where the policy is written.
        upstream: The URL of `python_everything_server`.
    """
    with Sidecar(folder, POLICY, upstream) as sidecar:
        transcript = drive(client, {"url": sidecar.url}, STEPS)
    assert transcript["revision"] == client.revision
    (listed, allowed, failed, denied, hidden, unnamed, second, third, read, again) = transcript[
        "steps"
    ]

    assert "test_simple_text" in listed["tools"]
    assert "test_image_content" not in listed["tools"]
    assert again == listed, "still usable after every refusal, and told the same"

    assert not allowed["is_error"]
    assert allowed["text"] == "This is a simple text response for testing."
    assert failed["is_error"], "the tool's own failure is the tool's own words"
    assert failed["text"].endswith("This tool intentionally returns an error for testing")
    assert read == {"text": "This is the content of the static text resource."}

    assert_refused(denied, code="tool-denied", rule="/tools/test_sampling/deny_if/0")
    assert "prompts are not to speak of secrets" in denied["text"]
    assert_refused(hidden, code="hidden", rule="/hide/0")
    assert_refused(unnamed, code="default-deny", rule="/default")

    assert not second["is_error"], "a refused call costs nothing"
    limit = assert_refused(third, code="limit-exceeded", rule="/tools/test_simple_text/limits/0")
    assert (limit["counter"], limit["limit"], limit["remaining"]) == ("texts", 2, 0)
    assert limit["retryAfterMs"] > 0
    assert "; try again in " in third["text"]


def assert_refused(step: dict[str, Any], *, code: str, rule: str) -> dict[str, Any]:
    """The client got a refusal that a model can read, for that reason; returns its decision."""
    assert step.get("is_error") is True, step
    assert step["text"].startswith("[POLICY DENIED] "), step
    assert step["structured"] is None
    decision: dict[str, Any] = step["meta"]["interlock/decision"]
    assert (decision["code"], decision["rule"]) == (code, rule)
    return decision


def environment() -> dict[str, str]:
    """What a client has to give a sidecar that it starts itself: SDKs pass on next to nothing."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
