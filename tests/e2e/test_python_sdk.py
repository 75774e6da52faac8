"""The Python SDK's clients, of both lines and in both eras, live with the sidecar."""

from __future__ import annotations

from pathlib import Path

import pytest
import story
from peers import PYTHON_CLIENTS, Client

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.mark.parametrize("client", PYTHON_CLIENTS, ids=lambda client: client.name)
def test_a_client_is_refused_and_lives_on(
    client: Client, tmp_path: Path, everything_url: str
) -> None:
    story.tell(client, tmp_path, everything_url)
