"""The image keeps its promises: small, few rights, nothing to break in with, its parts told."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from podman import inspect, podman

from k8s.generate import ROOT

HARDENED = (
    *("run", "--rm", "--no-healthcheck", "--read-only", "--network", "none"),
    *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
)
PYTHON = ("--entrypoint", "/opt/interlock/bin/python")
POLICY = '{"version": "1", "default": "deny", "tools": {"echo": {}}}'


def interlock(image: str, *arguments: str) -> str:
    """Run Interlock, to its end, with as few rights as Kubernetes can give it."""
    return podman(*HARDENED, image, *arguments)


def test_it_runs_with_a_read_only_root_and_no_rights(image: str) -> None:
    told = interlock(image, "version", "--verbose")
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"interlock {version[1]}" in told
    assert "profile release" in told
    assert "loop uvloop" in told
    assert inspect(image)["Config"]["Labels"]["org.opencontainers.image.version"] == version[1]


def test_it_is_small(image: str) -> None:
    assert inspect(image)["Size"] < 150_000_000


def test_its_user_is_a_number_and_not_root(image: str) -> None:
    config = inspect(image)["Config"]
    assert config["User"] == "10001:10001"
    told = podman(*HARDENED, *PYTHON, image, "-I", "-c", "import os; print(os.getresuid())")
    assert told.strip() == "(10001, 10001, 10001)"


def test_there_is_nothing_to_break_in_with(image: str) -> None:
    """No shell, no package manager, no compiler, no set-uid program, nothing that it may write."""
    script = """
import os, stat
seen = set()
for folder, _, files in os.walk("/"):
    if folder.startswith(("/proc", "/sys", "/dev", "/run", "/etc/resolv")):
        continue
    if os.access(folder, os.W_OK):
        print("WRITABLE", folder)
    for file in files:
        path = os.path.join(folder, file)
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode) and mode & 0o6000:
            print("SETUID", path)
        if stat.S_ISREG(mode) and os.access(path, os.X_OK) and ".so" not in file:
            print("PROGRAM", path)
"""
    told = podman(
        *(arg for arg in HARDENED if arg != "--read-only"), *PYTHON, image, "-I", "-c", script
    )
    assert "SETUID" not in told
    programs = {line.rpartition("/")[2] for line in told.splitlines() if "PROGRAM" in line}
    assert not [
        name for name in programs if re.fullmatch(r"(ba|da|a)?sh|busybox|apt.*|dpkg.*|pip.*", name)
    ]
    assert {line.split()[1] for line in told.splitlines() if "WRITABLE" in line} <= {
        *("/tmp", "/var/lib/interlock")
    }


def test_what_it_loads_is_compiled(image: str) -> None:
    """A read-only root would otherwise compile it at every start."""
    script = """
import os, sys, gateway.cli.run, gateway.process
loaded = [(m.__file__, m.__spec__) for m in sys.modules.values() if getattr(m, "__file__", None)]
# What is frozen into the interpreter has nothing compiled beside it.
print([f for f, spec in loaded
       if f.endswith(".py") and spec.origin != "frozen" and not os.path.exists(spec.cached)])
"""
    assert podman(*HARDENED, *PYTHON, image, "-I", "-c", script).strip() == "[]"


def test_a_policy_with_errors_ends_it_with_64_and_says_where(image: str) -> None:
    script = "import subprocess, sys; open('/tmp/p.json', 'w').write('{\"version\": \"1\"}')\n"
    script += "sys.exit(subprocess.call(['interlock', 'run', '--policy', '/tmp/p.json', "
    script += "'--upstream', 'http://127.0.0.1:1/mcp']))"
    arguments = [*HARDENED, "--tmpfs", "/tmp", *PYTHON, image, "-I", "-c", script]
    done = subprocess.run(
        ["podman", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 64
    assert "/tmp/p.json:1:1: error" in done.stderr


def test_its_health_check_tells_life_from_death(image: str) -> None:
    name = "interlock-health-test"
    podman("rm", "--force", "--ignore", name)
    options = ["--detach", "--name", name, "--no-healthcheck", "--read-only", "--tmpfs", "/tmp"]
    script = f"open('/tmp/p.json', 'w').write({POLICY!r})\n"
    script += "import os; os.execv('/opt/interlock/bin/interlock', ['interlock', 'run', "
    script += "'--policy', '/tmp/p.json', '--upstream', 'http://127.0.0.1:1/mcp'])"
    podman("run", *options, *PYTHON, image, "-I", "-c", script)
    try:
        check = inspect(image)["Healthcheck"]["Test"]
        assert check[0] == "CMD", "there is no shell to run it"
        with subprocess.Popen(
            ["podman", "logs", "--follow", name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as logs:
            assert logs.stderr is not None
            assert any("interlock ready" in line for line in logs.stderr)
            logs.terminate()
        podman("exec", name, *check[1:])
        with pytest.raises(AssertionError):
            podman("exec", "--env", "INTERLOCK_ADMIN=127.0.0.1:1", name, *check[1:])
    finally:
        podman("rm", "--force", "--time", "0", name)


def test_it_tells_what_is_in_it(image: str) -> None:
    script = "print(open('/usr/share/sbom/interlock.cdx.json').read())"
    bill = json.loads(podman(*HARDENED, *PYTHON, image, "-I", "-c", script))
    told = {component["purl"].partition("?")[0] for component in bill["components"]}
    for line in (ROOT / "python" / "locks" / "runtime.txt").read_text().splitlines():
        if found := re.match(r"(\S+)==(\S+)", line):
            assert f"pkg:pypi/{found[1]}@{found[2]}" in told
    lock = (ROOT / "Cargo.lock").read_text()
    crates = re.findall(r'name = "(.*)"\nversion = "(.*)"', lock)
    assert sum(f"pkg:cargo/{name}@{version}" in told for name, version in crates) > 30
    assert any(purl.startswith("pkg:deb/debian/libc6@") for purl in told)
    assert any(purl.startswith("pkg:deb/debian/libssl3@") for purl in told)
