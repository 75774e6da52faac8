"""Scrapers that ask without end get their share, and calls and probes are served beside them."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from gateway.operate.turns import AHEAD_S, REQUEST_S, SHARE
from support.process import Sidecar, request, sidecar, tools_call, upstream

pytestmark = pytest.mark.e2e

SCRAPERS, CALLS = 64, 50
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


class Scrapers:
    """Clients that scrape as fast as they are answered."""

    def __init__(self, place: str, field: str) -> None:
        self.host, _, port = place.rpartition(":")
        self.port = int(port)
        self.request = f"GET /metrics HTTP/1.1\r\nhost: {place}\r\n{field}\r\n".encode()
        self.answered = 0

    async def scrape(self) -> None:
        """Until it is cancelled, on one connection after the other."""
        while True:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                while not reader.at_eof():
                    writer.write(self.request)
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                    await reader.readexactly(length)
                    self.answered += 1
                    if b"connection: close" in head:
                        break
            finally:
                writer.close()


@pytest.mark.parametrize(
    ("options", "field"), [((), ""), ((), "connection: close\r\n"), (("--workers", "2"), "")]
)
def test_scrapes_without_end_leave_calls_and_probes_alone(
    tmp_path: Path, options: tuple[str, ...], field: str
) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"version": "1", "default": "deny", "tools": {"open": {}}}))
    body = json.dumps(tools_call("open")).encode()

    def work(it: Sidecar) -> None:
        for number in range(CALLS):
            assert request(it.mcp, "POST", "/mcp", body, HEADERS).decision == "allowed"
            if number % 10 == 0:
                assert it.get("/readyz").status == 200

    async def main(it: Sidecar) -> tuple[int, float]:
        began = time.monotonic()
        scrapers = Scrapers(it.admin, field)
        scraping = [asyncio.create_task(scrapers.scrape()) for _ in range(SCRAPERS)]
        await asyncio.to_thread(work, it)
        answered, passed_s = scrapers.answered, time.monotonic() - began
        for task in scraping:
            task.cancel()
        ended = await asyncio.gather(*scraping, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended)
        return answered, passed_s

    with (
        upstream() as server,
        sidecar(
            *("--policy", str(policy), "--upstream", server.url, "--log", "none", *options)
        ) as it,
    ):
        answered, passed_s = asyncio.run(main(it))
        assert 0 < answered <= SHARE * (AHEAD_S + passed_s) / REQUEST_S + 1
        assert len(server.calls) == CALLS
        assert it.stop() == 0
