"""A policy file that is written, renamed over, swapped and broken while it is in force."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import watchfiles

from gateway._core import PolicyError, PolicySet
from gateway.policies import PolicySource, watch

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


def watched(
    source: PolicySource,
    change: Callable[[], object],
    *others: PolicySource,
    slow_ms: int = 60_000,
) -> PolicySet:
    """Start watching, make the change, and give what the watcher found, within a bound."""

    async def run() -> PolicySet:
        found: asyncio.Future[PolicySet] = asyncio.get_running_loop().create_future()
        installs = dict.fromkeys((*others, source), found.set_result)
        watching = watch(installs, step_ms=1, slow_ms=slow_ms)
        task = asyncio.create_task(watching)
        await asyncio.sleep(0)  # the watcher is set up once the task has run to its first wait
        try:
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


def test_watch_looks_now_and_then_without_a_notification(tmp_path: Path) -> None:
    for name, content in (("one", ALLOW), ("two", DENY)):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "policy.json").write_bytes(content)
    (tmp_path / "link").symlink_to("one")
    source = PolicySource(tmp_path / "link" / "inner" / "policy.json")
    before = source.load().digest

    def swap() -> None:  # two folders above the file, where nobody watches
        (tmp_path / "fresh").symlink_to("two")
        (tmp_path / "fresh").replace(tmp_path / "link")

    assert watched(source, swap, slow_ms=10).digest != before


@pytest.mark.parametrize("error", [OSError("no more watches"), RuntimeError("no more threads")])
def test_watch_looks_where_nothing_notifies(
    path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def awatch(*_: object, **__: object) -> AsyncIterator[object]:
        yield set()
        raise error

    monkeypatch.setattr(watchfiles, "awatch", awatch)
    source = PolicySource(path)
    source.load()
    assert watched(source, lambda: path.write_bytes(DENY), slow_ms=1) is source.policies
    assert str(error) in caplog.text


def test_a_file_that_never_settles_keeps_no_other_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restless, source = PolicySource(path.with_name("other.json")), PolicySource(path)
    source.load()
    stamps = itertools.count()
    monkeypatch.setattr(restless, "_stamp", lambda: (next(stamps),))
    path.write_bytes(DENY)
    assert watched(source, lambda: None, restless, slow_ms=1) is source.policies


def test_one_watch_sees_to_several_files(tmp_path: Path) -> None:
    sources = [PolicySource(tmp_path / name / "policy.json") for name in "ab"]
    for source in sources:
        source.path.parent.mkdir()
        source.path.write_bytes(ALLOW)
        source.load()

    async def run() -> None:
        found: asyncio.Queue[tuple[int, PolicySet]] = asyncio.Queue()
        installs = {
            source: lambda policies, index=index: found.put_nowait((index, policies))
            for index, source in enumerate(sources)
        }
        async with asyncio.timeout(10):
            task = asyncio.create_task(watch(installs, step_ms=1, slow_ms=60_000))
            await asyncio.sleep(0)
            for index, source in enumerate(sources):
                source.path.write_bytes(DENY)
                assert await found.get() == (index, source.policies)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("stamps", "reads"),
    [
        ("a", 0),  # it may still be being written
        ("abc", 0),
        ("abb", 1),
        ("aabcb", 1),
        ("aabbb", 3),
    ],
)
def test_only_what_stays_the_same_is_read(
    path: Path, stamps: str, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PolicySource(path)
    found, looks = iter(stamps), []
    monkeypatch.setattr(source, "_stamp", lambda: (ord(next(found)),))
    monkeypatch.setattr(source, "_look", lambda: looks.append(1))
    settled = [source.look(lambda _: None) for _ in stamps]
    assert settled.count(True) == len(looks) == reads


def test_every_write_has_a_stamp_of_its_own(path: Path) -> None:
    source = PolicySource(path)
    stamps = {source._stamp()}
    path.write_bytes(ALLOW[:-1])
    stamps.add(source._stamp())
    fresh = path.with_name("policy.json.tmp")
    fresh.write_bytes(ALLOW)
    fresh.replace(path)
    stamps.add(source._stamp())
    path.unlink()
    stamps.add(source._stamp())
    assert len(stamps) == 4


def test_one_bad_content_is_one_failure(path: Path) -> None:
    source = PolicySource(path)
    source.load()
    path.write_bytes(b"{")
    for _ in range(3):
        assert source._look() is None
    assert source.status().reloads["failure"] == 1
