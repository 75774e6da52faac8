"""The official conformance suite says the same of a server through Interlock as of the server.

Check for check, at each revision, whether one process serves and allows everything, with the fast
path and without, or two do and the policy lists just what the suite uses. The server is the Python
SDK's own for the suite, a fresh one for each run: some scenarios change what it offers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import conformance
import peers
import pytest
from processes import Sidecar

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

ALLOW_ALL: dict[str, Any] = {"default": "allow"}

TOOLS = {
    "2025-11-25": (
        "test_audio_content",
        "test_elicitation",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_embedded_resource",
        "test_error_handling",
        "test_image_content",
        "test_multiple_content_types",
        "test_reconnection",
        "test_sampling",
        "test_simple_text",
        "test_tool_with_logging",
        "test_tool_with_progress",
    ),
    "2026-07-28": (
        "confirm_delete",
        "failing_job",
        "greet",
        "multi_input",
        "protocol_error_job",
        "slow_compute",
        "test_audio_content",
        "test_embedded_resource",
        "test_error_handling",
        "test_image_content",
        "test_input_required_result_*",
        "test_logging_tool",
        "test_missing_capability",
        "test_multiple_content_types",
        "test_simple_text",
        "test_streaming_elicitation",
        "test_tool_with_progress",
        "test_tool_with_task",
        "test_trigger_prompt_change",
        "test_trigger_tool_change",
        "test_x_mcp_header",
    ),
}
METHODS = {
    "2025-11-25": ("prompts/get", "resources/read", "resources/subscribe", "resources/unsubscribe"),
    "2026-07-28": ("prompts/get", "resources/read", "tasks/cancel", "tasks/get", "tasks/update"),
}
"""What default deny lets pass only by name; the rest passes by itself or does not exist."""

REQUIRED = {"2025-11-25": 84, "2026-07-28": 169}
"""How many checks the server passes; fewer would mean that the suite looked at less."""


def only_what_is_used(revision: str) -> dict[str, Any]:
    """A policy under which nothing passes but what the suite asks for."""
    return {
        "default": "deny",
        "tools": {tool: {} for tool in TOOLS[revision]},
        "methods": {method: {} for method in METHODS[revision]},
    }


@pytest.fixture(scope="module")
def direct(
    real_peers: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, conformance.Report]:
    """The suite's verdicts on the server by itself."""
    reports = {}
    for revision in conformance.REVISIONS:
        with peers.python_everything_server() as url:
            reports[revision] = conformance.run(url, revision, tmp_path_factory.mktemp("direct"))
    return reports


@pytest.mark.parametrize("revision", conformance.REVISIONS)
def test_the_server_itself_conforms(direct: dict[str, conformance.Report], revision: str) -> None:
    assert direct[revision].failed() == {}
    assert direct[revision].passed() == REQUIRED[revision]


@pytest.mark.parametrize("revision", conformance.REVISIONS)
@pytest.mark.parametrize(
    ("policy", "options"),
    [
        ("allow-all", ()),
        ("allow-all", ("--no-fast-path",)),
        ("only-what-is-used", ("--workers", "2")),
    ],
)
def test_nothing_is_lost_on_the_way(
    direct: dict[str, conformance.Report],
    tmp_path: Path,
    revision: str,
    policy: str,
    options: tuple[str, ...],
) -> None:
    document = ALLOW_ALL if policy == "allow-all" else only_what_is_used(revision)
    with (
        peers.python_everything_server() as url,
        Sidecar(tmp_path, document, url, *options) as sidecar,
    ):
        through = conformance.run(sidecar.url, revision, tmp_path / "results")
    assert conformance.lost(direct[revision], through) == []
    assert through.failed() == {}
    assert through.passed() >= REQUIRED[revision]
