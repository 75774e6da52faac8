"""The SDK's client and server with the gateway between: over pipes, and from HTTP to a pipe."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError, StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.types import ElicitResult

from support.process import sidecar

pytestmark = pytest.mark.e2e

SUPPORT = Path(__file__).parent.parent / "support"
SERVER = (sys.executable, str(SUPPORT / "sdk_server.py"))
POLICY = {
    "version": "1",
    "default": "allow",
    "hide": ["die"],
    "tools": {"shut": {"action": "deny"}},
}
LIMIT_S = 30.0


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY))
    return path


@asynccontextmanager
async def wrapped(policy: Path, mode: str, **callbacks: Any) -> AsyncIterator[Client]:
    arguments = [str(SUPPORT / "wrap_main.py"), str(policy), *SERVER]
    environment = {"PYTHONPATH": str(SUPPORT.parents[1] / "python")}
    parameters = StdioServerParameters(command=sys.executable, args=arguments, env=environment)
    async with Client(stdio_client(parameters), mode=mode, **callbacks) as client:
        yield client


@asynccontextmanager
async def served(policy: Path, mode: str, **callbacks: Any) -> AsyncIterator[Client]:
    with sidecar("--policy", str(policy), "--state", "memory", "--", *SERVER) as it:
        async with Client(f"http://{it.mcp}/mcp", mode=mode, **callbacks) as client:
            yield client


def run(scenario: AbstractAsyncContextManager[Client], use: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S), scenario as client:
            await use(client)

    asyncio.run(bounded())


def text(result: Any) -> str:
    return str(result.content[0].text)


doors = pytest.mark.parametrize("door", [wrapped, served])
eras = pytest.mark.parametrize("mode", ["legacy", "auto"])


@doors
@eras
def test_calls_pass_or_are_refused_and_lists_are_filtered(
    door: Any, mode: str, policy: Path
) -> None:
    async def use(client: Client) -> None:
        modern = client.session.protocol_version >= "2026"
        assert modern == (mode == "auto")
        assert text(await client.call_tool("greet", {"name": "you"})) == "hello you"
        refused = await client.call_tool("shut")
        assert refused.is_error
        assert text(refused).startswith("[POLICY DENIED]")
        assert (await client.call_tool("die")).is_error
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "greet" in names
        assert "die" not in names
        assert len(text(await client.call_tool("picture", {"size": 2_000_000}))) == 2_000_000

    run(door(policy, mode), use)


@doors
@eras
def test_progress_arrives(door: Any, mode: str, policy: Path) -> None:
    async def use(client: Client) -> None:
        seen = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            seen.append((progress, total, message))

        result = await client.call_tool("steps", {"count": 3}, progress_callback=note)
        assert text(result) == "done"
        assert seen == [(0, 3, "step 0"), (1, 3, "step 1"), (2, 3, "step 2")]

    run(door(policy, mode), use)


@doors
@eras
def test_calls_run_side_by_side(door: Any, mode: str, policy: Path) -> None:
    async def use(client: Client) -> None:
        names = [str(number) for number in range(30)]
        results = await asyncio.gather(*(client.call_tool("greet", {"name": n}) for n in names))
        assert [text(result) for result in results] == [f"hello {n}" for n in names]

    run(door(policy, mode), use)


@doors
def test_a_server_may_ask(door: Any, policy: Path) -> None:
    async def answer(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "me"})

    async def use(client: Client) -> None:
        assert text(await client.call_tool("ask")) == "hello me"

    run(door(policy, "legacy", elicitation_callback=answer), use)


@doors
def test_a_listener_hears_of_changes(door: Any, policy: Path) -> None:
    async def use(client: Client) -> None:
        async with client.listen(tools_list_changed=True) as changes:
            await client.call_tool("change")
            async for change in changes:
                assert "Tools" in type(change).__name__
                break

    run(door(policy, "auto"), use)


@doors
@eras
def test_a_call_that_is_given_up_harms_no_other(door: Any, mode: str, policy: Path) -> None:
    async def use(client: Client) -> None:
        begun = asyncio.Event()

        async def note(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        hanging = asyncio.ensure_future(client.call_tool("hang", progress_callback=note))
        await begun.wait()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert text(await client.call_tool("greet", {"name": "you"})) == "hello you"

    run(door(policy, mode), use)


def test_legacy_clients_have_a_process_each_and_modern_ones_share(policy: Path) -> None:
    async def scenario() -> None:
        with sidecar("--policy", str(policy), "--state", "memory", "--", *SERVER) as it:
            found: dict[str, list[str]] = {}
            for mode in ("legacy", "auto"):
                for _ in range(2):
                    async with Client(f"http://{it.mcp}/mcp", mode=mode) as client:
                        found.setdefault(mode, []).append(text(await client.call_tool("pid")))
            assert len(set(found["legacy"])) == 2
            assert len(set(found["auto"])) == 1
            assert it.stop() == 0

    asyncio.run(scenario())


def test_a_server_that_dies_fails_its_calls_and_comes_back(policy: Path) -> None:
    policy.write_text('{"version":"1","default":"allow"}')

    async def use(client: Client) -> None:
        died = await client.call_tool("die")
        assert died.is_error
        assert text(await client.call_tool("greet", {"name": "you"})) == "hello you"

    run(served(policy, "auto"), use)


def test_a_session_whose_server_died_is_gone(policy: Path) -> None:
    policy.write_text('{"version":"1","default":"allow"}')

    async def use(client: Client) -> None:
        assert (await client.call_tool("die")).is_error
        with pytest.raises(MCPError):
            await client.call_tool("greet", {"name": "you"})

    run(served(policy, "legacy"), use)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_streams_do_not_hold_up_a_drain(mode: str, policy: Path) -> None:
    async def scenario() -> None:
        options = ("--policy", str(policy), "--state", "memory", "--grace", "60")
        with sidecar(*options, "--", *SERVER) as it:
            async with Client(f"http://{it.mcp}/mcp", mode=mode) as client:
                await client.call_tool("greet", {"name": "you"})
                if mode == "legacy":
                    it.process.terminate()
                else:
                    async with client.listen(tools_list_changed=True) as changes:
                        it.process.terminate()
                        # A graceful end ends the loop; any other raises.
                        assert [change async for change in changes] == []
                assert await asyncio.to_thread(it.wait) == 0

    asyncio.run(scenario())
