"""The demo's MCP server: the eighteen tools of the Upwork server, over made-up data.

Run by `python -m gateway.demo.server`: it picks a free port of the loopback interface, prints it,
and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Literal, TypeVar

import uvicorn
from mcp.server.mcpserver import MCPServer

from gateway.demo import market

T = TypeVar("T")

server = MCPServer(
    "upwork-demo",
    instructions="A freelance market in which nothing is real.",
    log_level="WARNING",
)


@server.tool()
def upwork_search_jobs(
    query: str,
    category: str | None = None,
    budget_min: int | None = None,
    budget_max: int | None = None,
    experience_level: Literal["entry", "intermediate", "expert"] | None = None,
    job_type: Literal["fixed", "hourly"] | None = None,
    limit: int = 10,
) -> list[market.Job]:
    """Find open jobs whose title holds the query, narrowed by category, budget, level and type."""
    found = [
        job
        for job in market.JOBS
        if query.lower() in job.title.lower()
        and category in (None, job.category)
        and experience_level in (None, job.experience_level)
        and job_type in (None, job.job_type)
        and (budget_min is None or job.budget >= budget_min)
        and (budget_max is None or job.budget <= budget_max)
    ]
    return found[:limit]


@server.tool()
def upwork_get_job_details(job_url: str) -> market.Job:
    """Everything that is known about one job."""
    return _one([job for job in market.JOBS if job.job_url == job_url], job_url)


@server.tool()
def upwork_get_my_profile() -> market.Profile:
    """The freelancer's own profile, as clients see it."""
    return market.PROFILE


@server.tool()
def upwork_get_connects_balance() -> int:
    """How many connects are left to spend on proposals."""
    return market.CONNECTS


@server.tool()
def upwork_get_profile_stats() -> market.Stats:
    """How often the profile was seen, and how clients rate it."""
    return market.STATS


@server.tool()
def upwork_get_proposals(
    status: Literal["submitted", "active", "archived"] | None = None, limit: int = 10
) -> list[market.Proposal]:
    """The proposals that were sent, the newest first."""
    found = [one for one in market.PROPOSALS if status in (None, one.status)]
    return found[:limit]


@server.tool()
def upwork_get_proposal_details(proposal_url: str) -> market.Proposal:
    """One proposal and what became of it."""
    matching = [one for one in market.PROPOSALS if one.proposal_url == proposal_url]
    return _one(matching, proposal_url)


@server.tool()
def upwork_submit_proposal(
    job_url: str,
    cover_letter: str,
    rate: float | None = None,
    bid: float | None = None,
    answers: list[str] | None = None,
) -> str:
    """Offer to do a job, for an hourly rate or a fixed bid. Spends connects."""
    price = f"{bid} in all" if bid is not None else f"{rate or market.PROFILE.hourly_rate} an hour"
    extra = f" and {len(answers)} answers" if answers else ""
    return f"would offer {price} for {job_url}, with {len(cover_letter)} characters{extra}"


@server.tool()
def upwork_withdraw_proposal(proposal_url: str) -> str:
    """Take a proposal back. It cannot be sent again."""
    return f"would withdraw {proposal_url}"


@server.tool()
def upwork_get_messages(
    room_id: str | None = None, unread_only: bool = False, limit: int = 10
) -> list[market.Room]:
    """The conversations with clients, or one of them."""
    found = [
        room
        for room in market.ROOMS
        if room_id in (None, room.room_id) and (room.unread or not unread_only)
    ]
    return found[:limit]


@server.tool()
def upwork_get_conversation(room_id: str, limit: int = 20) -> list[market.Line]:
    """The latest messages of one conversation."""
    room = _one([room for room in market.ROOMS if room.room_id == room_id], room_id)
    return room.lines[-limit:]


@server.tool()
def upwork_send_message(room_id: str, message: str) -> str:
    """Write to a client."""
    return f"would send {len(message)} characters to {room_id}"


@server.tool()
def upwork_get_unread_count() -> int:
    """How many messages have not been read."""
    return sum(room.unread for room in market.ROOMS)


@server.tool()
def upwork_get_contracts(
    status: Literal["active", "ended"] | None = None, limit: int = 10
) -> list[market.Contract]:
    """The contracts, running and ended."""
    found = [one for one in market.CONTRACTS if status in (None, one.status)]
    return found[:limit]


@server.tool()
def upwork_get_contract_details(contract_url: str) -> market.Contract:
    """One contract and its terms."""
    matching = [one for one in market.CONTRACTS if one.contract_url == contract_url]
    return _one(matching, contract_url)


@server.tool()
def upwork_get_work_diary(contract_url: str, week_offset: int = 0) -> dict[str, int]:
    """The hours logged on a contract in one week; 0 is this week, 1 the one before."""
    hours = upwork_get_contract_details(contract_url).weekly_hours
    return {"week_offset": week_offset, "hours": dict(enumerate(hours)).get(week_offset, 0)}


@server.tool()
def upwork_check_session() -> str:
    """Whether the browser session is signed in."""
    return "signed in as Demo Freelancer"


@server.tool()
def upwork_close_session() -> str:
    """Close the browser session and free what it holds."""
    return "session closed"


def _one(found: list[T], name: str) -> T:
    if not found:
        raise ValueError(f"`{name}` is not known")
    return found[0]


async def serve() -> None:
    """Serve on a free port, which is printed, until standard input ends."""
    sock = socket.create_server(("127.0.0.1", 0))
    host = uvicorn.Server(
        uvicorn.Config(server.streamable_http_app(), log_level="warning", access_log=False)
    )
    serving = asyncio.create_task(host.serve(sockets=[sock]))
    print(sock.getsockname()[1], flush=True)
    # Whoever started this holds the other end: when it goes, so does this.
    await asyncio.to_thread(sys.stdin.buffer.read)
    host.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(serve())
