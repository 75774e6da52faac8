"""A pod as the chart renders it, played by podman: a real agent, a real server, a real Prometheus.

Podman plays no native sidecars, so the chart's classic way is played. The server is in a pod of
its own, and what arrives there is the judge. The kubelet's part in a changed ConfigMap is played by
hand: the files of the volume are swapped by a rename.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python.chart import Chart
from podman import PATIENCE_S, inspect, podman

from k8s.generate import CHART, objects
from support.prometheus import Prometheus, prometheus

pytestmark = pytest.mark.timeout(240)

# Podman publishes the port on this machine too: one that nobody has.
ADMIN = 19099
URL = "http://127.0.0.1:8080/mcp"
POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {
        "echo": {"limits": [{"counter": "echoes", "window": "day", "max": 20, "scope": "grant"}]},
        "slow": {},
    },
}
SERVER = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "interlock-e2e-server"},
    "spec": {"containers": [{"name": "server", "args": ["serve"]}]},
}


@dataclass(frozen=True)
class Pod:
    """The agent's pod, as podman runs it."""

    address: str
    sidecar: str
    agent: str
    server: str
    pod: str

    def call(self, tool: str, count: int = 1) -> Counter[str]:
        """Calls of a tool by the agent's client; how often each code was answered."""
        command = ("/opt/interlock/bin/python", "/peer/peer.py", "call", URL, tool, str(count))
        return Counter(podman("exec", self.agent, *command).split())

    def arrived(self, tool: str) -> int:
        """How many calls of a tool the server has seen."""
        return podman("logs", self.server).count(f"arrived {tool}")

    def get(self, path: str) -> tuple[int, str]:
        """Ask the admin port, from another host's address."""
        with closing(http.client.HTTPConnection(self.address, ADMIN, timeout=10)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def decisions(self, tool: str, code: str) -> int:
        """How many calls the sidecar's metrics tell of."""
        lines = [
            line
            for line in self.get("/metrics")[1].splitlines()
            if line.startswith("interlock_decisions_total")
            and f'tool="{tool}"' in line
            and f'code="{code}"' in line
        ]
        return sum(int(float(line.rpartition(" ")[2])) for line in lines)

    def log(self) -> list[str]:
        """The lines of the decision log, which is the sidecar's standard output."""
        told = podman("logs", self.sidecar).splitlines()
        return [line for line in told if line.startswith("{")]

    def logged(self) -> Counter[tuple[str, str]]:
        """How often the log has each tool with each code."""
        every = [json.loads(line) for line in self.log()]
        calls = [line for line in every if line.get("method") == "tools/call"]
        return Counter((line["tool"], line["code"]) for line in calls)

    def until_ready(self) -> None:
        """Wait until it serves; a container that starts anew is asked until it answers."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            try:
                if self.get("/readyz")[0] == 200:
                    return
            except OSError:
                pass
        raise AssertionError(podman("logs", self.sidecar))


def chains(lines: list[str]) -> int:
    """How many whole chains the lines of a log are.

    Raises:
        AssertionError: a line was changed, or one is missing or has moved.
    """
    found, prev = 0, ""
    for line in lines:
        record = json.loads(line)
        text = line.removesuffix(f',"hash":"{record["hash"]}"}}') + "}"
        assert hashlib.sha256(text.encode()).hexdigest() == record["hash"]
        if record["prev"] == "0" * 64:
            found += 1
        else:
            assert record["prev"] == prev
        prev = record["hash"]
    return found


def play(*items: Any) -> None:
    podman("kube", "play", "--network", "podman", "-", given=yaml.safe_dump_all(items))


def address(pod: str) -> str:
    infra = json.loads(podman("pod", "inspect", pod))["InfraContainerID"]
    (network,) = inspect(infra)["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def remove() -> None:
    for name in ("interlock-agent-pod-0", "interlock-e2e-server"):
        podman("pod", "rm", "--force", "--ignore", "--time", "0", name, check=False)
    kept = podman("volume", "ls", "--quiet").split()
    for volume in {"interlock", "interlock-state", "interlock-no-token"} & set(kept):
        podman("volume", "rm", "--force", volume)


@pytest.fixture(scope="module")
def pod(image: str, peers: str) -> Iterator[Pod]:
    remove()
    SERVER["spec"]["containers"][0]["image"] = peers
    play(SERVER)
    name, _, tag = image.partition(":")
    values = {
        "image": {"repository": name, "tag": tag},
        "sidecar": {"native": False, "adminPort": ADMIN},
        "agent": {"enabled": True, "image": peers, "args": ["wait"]},
        "config": {
            "upstream": f"http://{address('interlock-e2e-server')}:8000/mcp",
            "policies": {"policy.yaml": json.dumps(POLICY)},
        },
    }
    with Chart.load(CHART) as chart:
        items = [
            *objects(chart, values, "configmap.yaml"),
            *objects(chart, values, "agent.yaml"),
        ]
    play(*items)
    pod = "interlock-agent-pod-0"
    found = Pod(
        address=address(pod),
        sidecar=f"{pod}-interlock",
        agent=f"{pod}-agent",
        server="interlock-e2e-server-server",
        pod=pod,
    )
    try:
        found.until_ready()
        yield found
    finally:
        remove()


@pytest.fixture(scope="module")
def watching(pod: Pod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    targets = {f"{pod.address}:{ADMIN}": {"namespace": "agents", "pod": "agent"}}
    with prometheus(tmp_path_factory.mktemp("prometheus"), targets) as found:
        yield found


def test_client_server_metrics_and_prometheus_agree(pod: Pod, watching: Prometheus) -> None:
    seen = pod.call("echo", 5) + pod.call("secret", 3)
    assert seen == {"allowed": 5, "default-deny": 3}
    assert pod.arrived("echo") == pod.decisions("echo", "allowed") == 5
    assert pod.arrived("secret") == 0
    assert pod.logged() == {("echo", "allowed"): 5, ("secret", "default-deny"): 3}
    watching.until('sum(interlock_decisions_total{effect="deny", code="default-deny"}) == 3')
    watching.until('sum(interlock_decisions_total{tool="echo", effect="allow"}) == 5')


def test_from_outside_only_the_admin_port_answers(pod: Pod) -> None:
    assert pod.get("/livez")[0] == 200
    with (
        closing(http.client.HTTPConnection(pod.address, 8080, timeout=5)) as connection,
        pytest.raises(OSError, match="refused"),
    ):
        connection.request("POST", "/mcp", b"{}")


def test_it_runs_with_the_rights_that_the_chart_says(pod: Pod) -> None:
    found = inspect(pod.sidecar)
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["EffectiveCaps"] in (None, [])
    status = Path(f"/proc/{found['State']['Pid']}/status").read_text()
    assert re.search(r"^Uid:\s+10001\s+10001", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1", status, re.MULTILINE)
    agent = Path(f"/proc/{inspect(pod.agent)['State']['Pid']}/status").read_text()
    assert re.search(r"^Uid:\s+20001", agent, re.MULTILINE)


def test_the_agent_can_neither_signal_nor_read_it(pod: Pod) -> None:
    script = """
import os
print([pid for pid in os.listdir("/proc") if pid.isdigit()
       and b"interlock\\0run" in open(f"/proc/{pid}/cmdline", "rb").read()],
      os.path.exists("/etc/interlock"), os.path.exists("/var/lib/interlock/limits.state"))
"""
    told = podman("exec", pod.agent, "/opt/interlock/bin/python", "-c", script)
    assert told.strip() == "[] False False"


def test_a_killed_container_forgives_nothing(pod: Pod) -> None:
    used, logged = pod.arrived("echo"), pod.logged()
    podman("kill", "--signal", "KILL", pod.sidecar)
    podman("wait", "--condition", "stopped", pod.sidecar, check=False)
    with pytest.raises(AssertionError, match="Connect"):
        pod.call("echo")
    podman("start", pod.sidecar)
    pod.until_ready()
    seen = pod.call("echo", 25)
    assert seen == {"allowed": 20 - used, "limit-exceeded": 5 + used}
    assert pod.arrived("echo") == 20
    since = pod.logged() - logged
    assert since == {("echo", "allowed"): 20 - used, ("echo", "limit-exceeded"): 5 + used}
    assert chains(pod.log()) == 2, "one for each start"


def test_a_swapped_policy_is_obeyed(pod: Pod) -> None:
    (mount,) = (m for m in inspect(pod.sidecar)["Mounts"] if m["Destination"] == "/etc/interlock")
    folder = Path(mount["Source"])

    def swap(text: str) -> None:
        (folder / "..new").write_text(text)
        (folder / "..new").chmod(0o644)
        (folder / "..new").rename(folder / "policy.yaml")

    def reloads(result: str) -> int:
        line = f'interlock_policy_reloads_total{{result="{result}"}} '
        (found,) = (told for told in pod.get("/metrics")[1].splitlines() if told.startswith(line))
        return int(float(found.removeprefix(line)))

    def until(result: str, count: int) -> None:
        ends = time.monotonic() + PATIENCE_S
        while reloads(result) < count:
            assert time.monotonic() < ends, podman("logs", pod.sidecar)

    assert pod.call("secret") == {"default-deny": 1}
    before = reloads("success"), reloads("failure")
    swap(json.dumps({**POLICY, "tools": {"secret": {}}}))
    until("success", before[0] + 1)
    assert pod.call("secret") == {"allowed": 1}
    assert pod.call("slow") == {"default-deny": 1}
    swap("version: 2")
    until("failure", before[1] + 1)
    assert pod.call("secret") == {"allowed": 1}, "the last good policy stays"
    swap(json.dumps(POLICY))
    until("success", before[0] + 2)
    assert pod.call("secret") == {"default-deny": 1}


def test_a_stop_under_load_cuts_no_call(pod: Pod) -> None:
    """The last test: it ends the sidecar."""
    before, count = pod.arrived("slow"), 8
    command = ["/opt/interlock/bin/python", "/peer/peer.py", "load", URL, str(count), "1"]
    with subprocess.Popen(
        ["podman", "exec", pod.agent, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as load:
        ends = time.monotonic() + PATIENCE_S
        while pod.arrived("slow") < before + count:
            assert time.monotonic() < ends
        podman("stop", "--time", "20", pod.sidecar)
        assert inspect(pod.sidecar)["State"]["ExitCode"] == 0
        told, _ = load.communicate(timeout=PATIENCE_S)
    assert told.split() == ["allowed"] * count, told
