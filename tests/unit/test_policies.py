"""A policy file that is written, renamed over, swapped and broken while it is in force."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway._core import PolicyError, PolicySet
from gateway.policies import PolicySource

ALLOW = json.dumps({"version": "1", "default": "allow"}).encode()
DENY = json.dumps({"version": "1", "default": "deny"}).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_bytes(ALLOW)
    return path


def test_nothing_is_in_force_before_the_first_load(path: Path) -> None:
    with pytest.raises(LookupError, match="not loaded"):
        _ = PolicySource(path).policies


def test_load_raises_what_is_wrong(path: Path) -> None:
    path.write_bytes(b"{")
    with pytest.raises(PolicyError):
        PolicySource(path).load()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        PolicySource(path).load()


def test_status_says_what_is_in_force(path: Path) -> None:
    source = PolicySource(path, clock=lambda: 1234.5)
    policies = source.load()
    status = source.status()
    assert status.digest == policies.digest
    assert status.source == str(path)
    assert status.loaded_at == 1234.5
    assert status.last_error is None
    assert status.reloads == {"success": 0, "failure": 0, "unchanged": 0}


def test_reload_swaps_only_what_changed(path: Path) -> None:
    source = PolicySource(path)
    first = source.load()
    assert source.reload() is None
    assert source.policies is first
    path.write_bytes(DENY)
    second = source.reload()
    assert second is not None
    assert source.policies is second
    assert source.status().reloads == {"success": 1, "failure": 0, "unchanged": 1}


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": "1", "def', None])
def test_a_bad_file_leaves_the_last_good_policy(path: Path, content: bytes | None) -> None:
    source = PolicySource(path)
    first = source.load()
    path.unlink() if content is None else path.write_bytes(content)
    assert source.reload() is None
    assert source.policies is first
    status = source.status()
    assert status.last_error is not None
    assert str(path) in status.last_error
    assert status.reloads["failure"] == 1
    path.write_bytes(ALLOW)
    assert source.reload() is None  # the bytes that are in force came back
    assert source.status().last_error is None


def watched(source: PolicySource, change: object) -> PolicySet:
    """Start watching, make the change, and give what the watcher found, within a bound."""

    async def run() -> PolicySet:
        found: asyncio.Future[PolicySet] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(source.watch(found.set_result, period_s=0.001))
        await asyncio.sleep(0)  # the watcher is set up once the task has run to its first wait
        try:
            assert callable(change)
            change()
            return await asyncio.wait_for(found, 10)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return asyncio.run(run())


def test_watch_sees_a_write_in_place(path: Path) -> None:
    source = PolicySource(path)
    source.load()
    assert watched(source, lambda: path.write_bytes(DENY)) is source.policies


def test_watch_sees_a_rename_over_the_file(path: Path) -> None:
    source = PolicySource(path)
    source.load()

    def rename() -> None:
        fresh = path.with_name("policy.json.tmp")
        fresh.write_bytes(DENY)
        fresh.replace(path)

    assert watched(source, rename) is source.policies


def test_watch_sees_the_swap_of_a_link_to_a_folder(tmp_path: Path) -> None:
    for name, content in (("..1", ALLOW), ("..2", DENY)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.json").write_bytes(content)
    (tmp_path / "..data").symlink_to("..1")
    path = tmp_path / "policy.json"
    path.symlink_to("..data/policy.json")
    source = PolicySource(path)
    before = source.load().digest

    def swap() -> None:
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    assert watched(source, swap).digest != before


def test_watch_passes_over_what_changes_nothing(path: Path) -> None:
    source = PolicySource(path)
    source.load()

    def touch_then_write() -> None:
        path.write_bytes(ALLOW)
        source._look()
        assert source.status().reloads == {"success": 0, "failure": 0, "unchanged": 0}
        path.write_bytes(DENY)

    watched(source, touch_then_write)
    assert source.status().reloads["success"] == 1


class Over(Exception):
    """A watch has nothing more to see."""


@pytest.mark.parametrize(
    ("stamps", "now", "reads"),
    [
        ("a", 100.0, 0),  # it may still be being written
        ("aa", 100.0, 1),
        ("aaaa", 100.0, 1),
        ("aaabcb", 100.0, 1),
        ("aaabbb", 100.0, 2),
        ("aaaa", 10.0, 3),  # so new that another write would not show in its time
    ],
)
def test_what_stays_the_same_is_read_once(
    path: Path, stamps: str, now: float, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PolicySource(path, clock=lambda: now)
    found, looks = iter(stamps), []

    def stamp() -> tuple[float, ...]:
        for name in found:
            return (float(ord(name)), 9.0)
        raise Over

    monkeypatch.setattr(source, "_stamp", stamp)
    monkeypatch.setattr(source, "_look", lambda: looks.append(1))
    with pytest.raises(Over):
        asyncio.run(source.watch(lambda _: None, period_s=0))
    assert len(looks) == reads


def test_one_bad_content_is_one_failure(path: Path) -> None:
    source = PolicySource(path)
    source.load()
    path.write_bytes(b"{")
    for _ in range(3):
        assert source._look() is None
    assert source.status().reloads["failure"] == 1
