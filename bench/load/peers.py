"""Who is compared: each proxy, with the configuration that its own documentation would lead to.

INVARIANT: every proxy here has one worker unless its name says otherwise, keeps connections alive
on both sides, and writes no log unless its name says so.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.load.processes import Process
from bench.load.secure import certificate

ROOT = Path(__file__).parents[2]
BUILT = ROOT / ".cache" / "bench"
ANSWER = (
    '{"jsonrpc":"2.0","id":42,"result":{"content":[{"type":"text","text":"'
    + "The proposal was submitted. " * 4
    + 'Thank you very much."}],"structuredContent":{"proposal_id":"~0123456789","accepted":true},'
    + '"isError":false}}'
)
"""What the server answers every call with."""


class Missing(Exception):
    """A program that is needed and not there; how to get it."""


@dataclass(frozen=True)
class Site:
    """Where one process of a run is to be.

    Attributes:
        port: it listens here.
        upstream: port of the server behind it.
        folder: of its own, for what it wants to write.
        cpus: cores it may use.
    """

    port: int
    upstream: int
    folder: Path
    cpus: frozenset[int]

    def write(self, name: str, text: str) -> str:
        """A file in the folder; its path."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)


def find(program: str, package: str) -> str:
    """The path of a program.

    Raises:
        Missing: it is not installed.
    """
    path = shutil.which(
        program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    )
    path = path or shutil.which(program)
    if path is None:
        raise Missing(f"`{program}` is needed: install the package {package}")
    return path


@cache
def built_go(name: str) -> str:
    """A program of this directory in Go, built.

    Raises:
        Missing: there is no Go.
    """
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise Missing("`go` is needed: install the package golang")
    BUILT.mkdir(parents=True, exist_ok=True)
    command = [go, "build", "-C", str(ROOT / "bench"), "-o", f"{BUILT}/", f"./{name}"]
    subprocess.run(command, check=True)
    return str(BUILT / name)


@cache
def built_c(name: str) -> str:
    """A program of this directory in C, built.

    Raises:
        Missing: there is no C compiler.
    """
    BUILT.mkdir(parents=True, exist_ok=True)
    source = ROOT / "bench" / name / "main.c"
    command = [find("cc", "gcc"), "-O2", "-Wall", "-o", str(BUILT / name), str(source)]
    subprocess.run(command, check=True)
    return str(BUILT / name)


NGINX = """
daemon off;
worker_processes {workers};
error_log stderr error;
pid {folder}/pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 1m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    {http}
}}
"""
NGINX_PROXY = """
    upstream server {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port}{tls};
        access_log {log};
        location / {{
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""
NGINX_SERVER = """
    server {{
        listen 127.0.0.1:{port};
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
"""
HAPROXY = """
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    http-reuse always
frontend agents
    bind 127.0.0.1:{port}{tls}
    default_backend server
backend server
    server server 127.0.0.1:{upstream}
"""


def nginx(site: Site, http: str, workers: int = 1) -> Process:
    """nginx with what is given inside its `http` block."""
    program = find("nginx", "nginx-light")
    text = NGINX.format(workers=workers, folder=site.folder, http=http)
    if workers == 1:
        text += "master_process off;\n"
    path = site.write("nginx.conf", text)
    return Process([program, "-p", str(site.folder), "-c", path], site.port, site.cpus)


def nginx_proxy(site: Site, workers: int = 1, *, tls: bool = False, log: bool = False) -> Process:
    """nginx as a proxy: what all others are compared with.

    Args:
        log: whether each request is written to a file, in the format and the way it has by default.
    """
    end = ""
    if tls:
        shown, key = write_certificate(site)
        end = f" ssl; ssl_certificate {shown}; ssl_certificate_key {key}"
    path = site.folder / "access.log" if log else "off"
    http = NGINX_PROXY.format(port=site.port, upstream=site.upstream, tls=end, log=path)
    return nginx(site, http, workers)


def write_certificate(site: Site) -> tuple[str, str]:
    """The paths of a certificate and its key, for a proxy that ends TLS."""
    shown, key = certificate()
    return site.write("tls.crt", shown), site.write("tls.key", key)


def haproxy(site: Site, *, tls: bool = False) -> Process:
    """haproxy with one thread."""
    end = f" ssl crt {site.write('tls.pem', ''.join(certificate()))}" if tls else ""
    text = HAPROXY.format(port=site.port, upstream=site.upstream, tls=end)
    path = site.write("haproxy.cfg", text)
    return Process([find("haproxy", "haproxy"), "-db", "-f", path], site.port, site.cpus)


def goproxy(site: Site) -> Process:
    """A reverse proxy in Go that decodes each body."""
    upstream = f"http://127.0.0.1:{site.upstream}"
    command = [built_go("goproxy"), "-port", str(site.port), "-upstream", upstream]
    return Process(command, site.port, site.cpus)


LOGGING = "interlock with its log"
"""Interlock as it comes; by itself it is compared without, as the others write none."""


def interlock(site: Site, policy: bytes, *options: str, log: bool = False) -> Process:
    """Interlock before the server, with its admin port and its defaults but for `options`.

    Args:
        log: whether each decision is written to a file.
    """
    policy_file = site.write("policy.json", policy.decode())
    command = [sys.executable, "-m", "gateway", "run", "--policy", policy_file]
    command += ["--upstream", f"http://127.0.0.1:{site.upstream}/mcp"]
    command += ["--listen", f"127.0.0.1:{site.port}", "--admin", "127.0.0.1:0"]
    command += ["--state", str(site.folder / "state"), *options]
    command += ["--log", str(site.folder / "decisions.jsonl") if log else "none"]
    return Process(command, site.port, site.cpus)


def interlock_tls(site: Site, policy: bytes, *options: str) -> Process:
    """Interlock whose listener speaks TLS, which takes a configuration file."""
    policy_file = site.write("policy.json", policy.decode())
    shown, key = write_certificate(site)
    upstream = f"http://127.0.0.1:{site.upstream}/mcp"
    config = {
        "version": "1",
        "listen": f"127.0.0.1:{site.port}",
        "admin": "127.0.0.1:0",
        "state": str(site.folder / "state"),
        "tls": {"certificate": shown, "key": key},
        "servers": {"server": {"url": upstream, "policy": policy_file}},
    }
    path = site.write("interlock.yaml", json.dumps(config))
    command = [sys.executable, "-m", "gateway", "run", "--config", path, "--log", "none"]
    return Process([*command, *options], site.port, site.cpus)


@cache
def has_option(option: str) -> bool:
    """Whether `interlock run` knows an option."""
    command = [sys.executable, "-m", "gateway", "run", "--help"]
    return option in subprocess.run(command, check=True, capture_output=True, text=True).stdout


Peer = Callable[[Site], Process]


def peers(policy: bytes) -> dict[str, Peer]:
    """Every proxy with one worker, by name; nginx first."""
    found: dict[str, Peer] = {
        "nginx": nginx_proxy,
        "nginx with its log": lambda site: nginx_proxy(site, log=True),
        "haproxy": haproxy,
        "go": goproxy,
        "interlock": lambda site: interlock(site, policy),
        LOGGING: lambda site: interlock(site, policy, log=True),
    }
    if has_option("--no-fast-path"):
        found["interlock --no-fast-path"] = lambda site: interlock(site, policy, "--no-fast-path")
    return found


def pairs(policy: bytes) -> dict[str, Peer]:
    """nginx and Interlock with one worker and with two."""
    return {
        "nginx": nginx_proxy,
        "nginx, 2 workers": lambda site: nginx_proxy(site, 2),
        "interlock": lambda site: interlock(site, policy),
        "interlock, 2 workers": lambda site: interlock(site, policy, "--workers", "2"),
    }


def secured(policy: bytes) -> dict[str, Peer]:
    """Those that end TLS, each with its defaults."""
    return {
        "nginx": lambda site: nginx_proxy(site, tls=True),
        "haproxy": lambda site: haproxy(site, tls=True),
        "interlock": lambda site: interlock_tls(site, policy),
        "interlock --no-fast-path": lambda site: interlock_tls(site, policy, "--no-fast-path"),
    }


def echo(site: Site) -> Process:
    """The MCP server: the same answer to everything, from nginx's memory."""
    return nginx(site, NGINX_SERVER.format(port=site.port, answer=ANSWER))


def streamer(site: Site) -> Process:
    """The MCP server that answers with a stream of events."""
    return Process([built_go("streamer"), "-port", str(site.port)], site.port, site.cpus)
