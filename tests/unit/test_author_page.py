"""The HTML report: nothing a server sent is more than text in it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.author.assess import assess
from gateway.author.page import html
from gateway.author.tools import Listing, read_tool

HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=http://{}/x onerror=document.title='owned'>",
    "</code></td></tr></table><iframe src=http://{}/f></iframe>",
    "\"><svg onload=document.title='owned'>",
    "</style><style>@import 'http://{}/c';</style><link rel=stylesheet href=http://{}/l>",
    "<meta http-equiv=refresh content='0;url=http://{}/m'>",
    "<!-- --!><body onload=document.title='owned'>",
    "\u202e\u200b\x1b[2J&#60;script&#62;",
]


def page(address: str = "127.0.0.1:9") -> str:
    texts = [text.replace("{}", address) for text in HOSTILE]
    entries = [
        {
            "name": f"t{n}{text}"[:250],
            "description": text,
            "inputSchema": {"properties": {text: {}}},
        }
        for n, text in enumerate(texts)
    ]
    tools = tuple(read_tool(entry) for entry in entries)
    return html(assess([Listing(texts[0], tools), Listing(texts[2], tools[:1])]))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(name for name, _ in attrs)))


def test_only_our_own_tags_are_in_it() -> None:
    tags = Tags()
    text = page()
    tags.feed(text)
    ours = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "span", "b"}
    ours |= {"table", "tr", "th", "td", "code", "br", "div"}
    assert {tag for tag, _ in tags.seen} <= ours
    attributes = {name for _, names in tags.seen for name in names}
    assert attributes <= {"lang", "charset", "http-equiv", "content", "name", "class"}
    assert [tag for tag, _ in tags.seen].count("style") == 1
    assert text.count("http-equiv") == len(re.findall(r'http-equiv="Content-Security', text)) + (
        text.count("meta http-equiv=refresh")
    )


def test_its_policy_lets_nothing_run_or_load() -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page())
    assert policy is not None
    assert policy[1].startswith("default-src &#x27;none&#x27;; style-src &#x27;sha256-")
    assert "unsafe" not in policy[1]


def test_nothing_hides_in_it() -> None:
    text = page()
    assert not any(c in text for c in "\u202e\u200b\x1b")
    assert "\\u{202e}" in text


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("guarded", [True, False], ids=["as it is", "without its policy"])
def test_a_browser_runs_nothing_and_asks_for_nothing(tmp_path: Path, guarded: bool) -> None:
    """A browser shows the page, also where it does not know the page's policy."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        came: list[bytes] = []

        def listen() -> None:
            while True:
                try:
                    with listening.accept()[0] as client:
                        came.append(client.recv(100))
                except OSError:
                    return

        threading.Thread(target=listen, daemon=True).start()
        text = page(f"127.0.0.1:{port}")
        if not guarded:
            text = re.sub(r"<meta http-equiv=\"Content-Security[^>]*>", "", text)
        done = dumped(tmp_path, text)
        assert "<title>MCP tools</title>" in done
        assert "owned" in done
        assert came == []
        # The same browser does run and ask where it is let, so that the above says something.
        bait = f"<title>a</title><script>document.title='owned'</script><img src=http://127.0.0.1:{port}/>"
        assert "<title>owned</title>" in dumped(tmp_path, bait)
        assert len(came) == 1
        listening.shutdown(socket.SHUT_RDWR)


def dumped(folder: Path, text: str) -> str:
    """The document as a browser has it once it has loaded."""
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    assert CHROMIUM is not None
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    quiet = ("--no-first-run", "--disable-background-networking", f"--user-data-dir={folder / 'p'}")
    done = subprocess.run(
        [CHROMIUM, *flags, *quiet, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return done.stdout
