"""The demo's freelance market: made up, the same on every run, and changed by nothing.

INVARIANT: nothing here leaves the process; a tool that would act on the real site only says what it
would have done.
"""

from __future__ import annotations

from dataclasses import dataclass

_SITE = "https://www.upwork.example"


@dataclass(frozen=True)
class Job:
    """A job that a client offers."""

    job_url: str
    title: str
    category: str
    budget: int
    experience_level: str
    job_type: str


@dataclass(frozen=True)
class Proposal:
    """An offer that the freelancer made."""

    proposal_url: str
    job_url: str
    status: str
    bid: int


@dataclass(frozen=True)
class Line:
    """A message of a conversation."""

    sender: str
    text: str


@dataclass(frozen=True)
class Room:
    """A conversation with a client."""

    room_id: str
    client: str
    unread: int
    lines: list[Line]


@dataclass(frozen=True)
class Contract:
    """Work that was agreed on."""

    contract_url: str
    client: str
    status: str
    rate: int
    weekly_hours: list[int]


@dataclass(frozen=True)
class Profile:
    """The freelancer, as clients see them."""

    name: str
    title: str
    hourly_rate: int


@dataclass(frozen=True)
class Stats:
    """How the profile fares."""

    views_last_week: int
    job_success: float
    response_hours: int


JOBS = [
    Job(
        f"{_SITE}/jobs/~0101",
        "Move a Django service to asynchronous workers",
        "web-development",
        2400,
        "expert",
        "fixed",
    ),
    Job(
        f"{_SITE}/jobs/~0102",
        "Rust parser for a sensor's binary format",
        "embedded",
        900,
        "intermediate",
        "fixed",
    ),
    Job(
        f"{_SITE}/jobs/~0103",
        "Keep our dashboards tidy, a few hours a week",
        "data",
        45,
        "entry",
        "hourly",
    ),
]
PROPOSALS = [
    Proposal(f"{_SITE}/proposals/502", JOBS[1].job_url, "archived", 850),
    Proposal(f"{_SITE}/proposals/501", JOBS[0].job_url, "submitted", 2200),
]
ROOMS = [
    Room(
        "room-7",
        "Harbour Analytics",
        1,
        [
            Line("you", "The first draft is in the shared folder."),
            Line("client", "Looks good. Can we talk on Thursday?"),
        ],
    ),
    Room(
        "room-9",
        "Lindgren & Daughters",
        0,
        [Line("client", "Thank you, the invoice is paid.")],
    ),
]
CONTRACTS = [
    Contract(f"{_SITE}/contracts/31", "Harbour Analytics", "active", 85, [12, 16, 9]),
    Contract(f"{_SITE}/contracts/28", "Lindgren & Daughters", "ended", 80, [0, 0, 0]),
]
PROFILE = Profile("Demo Freelancer", "Backend engineer", 85)
STATS = Stats(41, 0.97, 3)
CONNECTS = 64
