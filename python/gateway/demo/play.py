"""The demo: a bundled server, a sidecar before it, a real MCP client, and an account of it all.

INVARIANT: it says that all is well only if the client saw what the policy promises and the sidecar
counted what the client saw.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
import urllib.request
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.resources import as_file, files

from mcp.client import Client

from gateway.demo.children import start_server, start_sidecar

TOOL = "upwork_close_session"
TOOLS = 18
LIMIT = 30
WINDOW_S = 60
ENOUGH_S = 5
"""What must be left of a calendar minute, so that all calls fall into it."""
ATTEMPTS = 3
META = "interlock/decision"

_HOW_TO_GO_ON = """
It goes on serving until Ctrl-C. To point a client at it:

  claude mcp add --transport http upwork {mcp}
  {{"mcpServers": {{"upwork": {{"type": "http", "url": "{mcp}"}}}}}}

and to look behind it:

  curl {admin}/limits
  curl {admin}/metrics"""


@dataclass(slots=True)
class Account:
    """What the client saw, and what of it was wrong."""

    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each tool was answered with each code; `allowed` where the tool itself answered."""
    wrong: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Remember what is wrong, if something is."""
        if not holds:
            self.wrong.append(otherwise)


async def play(*, once: bool, listen: str, admin: str) -> bool:
    """Run the demo; whether all that was seen was right.

    Args:
        once: end after the calls, instead of going on serving.
        listen: where the sidecar listens, `HOST:PORT`.
        admin: where operators look, `HOST:PORT`.

    Raises:
        StartError: the server or the sidecar did not come up.
    """
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        policy = stack.enter_context(as_file(files("gateway.demo") / "policy.json"))
        upstream = await start_server(stack)
        mcp_url, admin_url = await start_sidecar(
            stack, policy=str(policy), upstream=upstream, listen=listen, admin=admin
        )
        _say("Interlock, between a real MCP client and a bundled MCP server\n")
        _say(f"  server   {upstream}")
        _say(f"  sidecar  {mcp_url}, for operators {admin_url}")
        _say(f"  policy   `{TOOL}` {LIMIT} times a minute, everything else denied")
        acting = asyncio.create_task(_act(mcp_url, admin_url))
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait({acting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not acting.done():
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)
            return False
        wrong = acting.result().wrong
        for problem in wrong:
            _say(f"  WRONG    {problem}")
        _say("\nNot as it should be." if wrong else "\nAll as the policy says.")
        if not once:
            _say(_HOW_TO_GO_ON.format(mcp=mcp_url, admin=admin_url))
            await stopping
        stopping.cancel()
        return not wrong


async def _act(mcp_url: str, admin_url: str) -> Account:
    account = Account()
    async with Client(mcp_url) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        _say(f"  client   speaks MCP {client.protocol_version}, is shown {len(tools)} tools\n")
        account.expect(len(tools) == TOOLS, f"{TOOLS} tools should be shown, not {len(tools)}")
        for _ in range(ATTEMPTS):
            if await _use_up_a_minute(client, account):
                break
        else:
            account.expect(False, f"{LIMIT} calls took over a minute, {ATTEMPTS} times")
        await _try_the_others(client, account, [name for name in tools if name != TOOL])
    await _compare_counts(admin_url, account)
    return account


async def _use_up_a_minute(client: Client, account: Account) -> bool:
    """Call until the limit refuses; False where the calendar minute turned in between."""
    left_s = WINDOW_S - time.time() % WINDOW_S
    if left_s < ENOUGH_S:
        _say(f"  wait     {left_s:.0f} s, for a minute that is long enough to fill")
        await asyncio.sleep(left_s)
    minute = time.time() // WINDOW_S
    codes: Counter[str] = Counter()
    for number in range(1, LIMIT + 1):
        codes[(await _call(client, account, TOOL))[0]] += 1
        _progress(f"  call     {TOOL}: {number} of {LIMIT}")
    code, text = await _call(client, account, TOOL)
    _progress("")
    if time.time() // WINDOW_S != minute:
        left_s = WINDOW_S - time.time() % WINDOW_S
        _say(f"  wait     {left_s:.0f} s: the minute turned during the calls, so once more")
        await asyncio.sleep(left_s)
        return False
    _say(f"  call     {TOOL}, {LIMIT} times: {_words(codes)}")
    _say(f"  call     {TOOL}, once more: {code}")
    _say(f"           {text}")
    account.expect(codes == {"allowed": LIMIT}, f"all {LIMIT} calls should be allowed")
    account.expect(code == "limit-exceeded", "the call after them should exceed the limit")
    return True


async def _try_the_others(client: Client, account: Account, names: list[str]) -> None:
    codes: Counter[str] = Counter()
    text = ""
    for name in names:
        code, text = await _call(client, account, name)
        codes[code] += 1
    _say(f"  call     each of the other {len(names)} tools: {_words(codes)}")
    _say(f"           {text}")
    account.expect(codes == {"default-deny": len(names)}, "every other tool should be denied")


async def _compare_counts(admin_url: str, account: Account) -> None:
    """Set what the sidecar counted against what the client saw."""
    counted = _decisions(await asyncio.to_thread(_fetch, f"{admin_url}/metrics"))
    by_code: Counter[str] = Counter()
    for (_, code), count in account.seen.items():
        by_code[code] += count
    # Requests that are no tool calls are allowed and counted too, under other labels.
    told = Counter({"allowed": counted[TOOL, "allowed"]})
    for (_, code), count in counted.items():
        if code != "allowed":
            told[code] += count
    _say(f"  counts   {_words(told)}, says {admin_url}/metrics")
    account.expect(told == by_code, f"the client saw {_words(by_code)}")


async def _call(client: Client, account: Account, tool: str) -> tuple[str, str]:
    """Call a tool without arguments; the decision's code, and what a model would read."""
    result = await client.call_tool(tool, {})
    text = next((part.text for part in result.content if part.type == "text"), "")
    decision = (result.meta or {}).get(META, {})
    code = str(decision.get("code", "tool-failed")) if result.is_error else "allowed"
    account.seen[tool, code] += 1
    return code, text


def _decisions(metrics: str) -> Counter[tuple[str, str]]:
    """Decisions by tool and code, from a scrape."""
    counts: Counter[tuple[str, str]] = Counter()
    for labels, value in re.findall(r"^interlock_decisions_total{(.*)} (\S+)$", metrics, re.M):
        found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        counts[found["tool"], found["code"]] += int(float(value))
    return counts


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        body: bytes = response.read()
        return body.decode()


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {code}" for code, count in counts.items() if count)


def _say(line: str) -> None:
    print(line, flush=True)


def _progress(line: str) -> None:
    """A line that the next one replaces; nothing where nobody watches."""
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="", flush=True)
