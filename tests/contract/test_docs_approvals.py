"""docs/approvals.md: a sidecar, a client and a person play its story, and its receiver receives."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.approvals import store, webhook
from gateway.approvals.settings import APPROVED_S, PENDING_S
from gateway.approvals.store import Approvals, Wanted
from support.pages import blocks, page

PAGE = "docs/approvals.md"
BLOCKS = {block.note: block for block in blocks(PAGE) if block.note}
ID = "k3v9x2m7qa"
SERVER = """
import json, sys
for line in sys.stdin:
    said = json.loads(line)
    if "id" in said:
        answer = {"jsonrpc": "2.0", "id": said["id"], "result": {"content": []}}
        print(json.dumps(answer), flush=True)
"""


def same(text: str, id: str) -> str:
    """With the page's id, and without the times."""
    text = text.replace(id, ID)
    text = re.sub(r"[0-9-]{10}T[0-9:]{8}Z", "TIME", text)
    return re.sub(r" +[0-9]+ s  ", " LEFT  ", text)


def command(line: str, id: str, folder: Path) -> str:
    """What a command of the page prints."""
    words = shlex.split(line.replace(ID, id))
    assert words[0] == "interlock"
    return subprocess.run(
        [sys.executable, "-P", "-m", "gateway", *words[1:]],
        cwd=folder,
        env={"INTERLOCK_APPROVALS": "approvals.db", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=True,
    ).stdout


def lines() -> dict[str, str]:
    """The commands that decide, by their word."""
    told = [block.text for block in blocks(PAGE) if block.language == "sh"]
    found = re.findall(r"^interlock approvals (\w+).*$", "".join(told), re.M)
    return {
        word: next(line for line in "".join(told).splitlines() if f"approvals {word}" in line)
        for word in found
    }


def test_the_story_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(BLOCKS["policy.json"].text, encoding="utf-8")
    wrapped = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "gateway", "wrap", "--policy", "policy.json"),
            *("--approvals", "approvals.db", "--state", "memory"),
            *("--", sys.executable, "-c", SERVER),
        ],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert wrapped.stdin is not None
    assert wrapped.stdout is not None

    def call(text: str = BLOCKS["call.json"].text) -> Any:
        assert wrapped.stdin is not None
        assert wrapped.stdout is not None
        wrapped.stdin.write(text)
        wrapped.stdin.flush()
        return json.loads(wrapped.stdout.readline())["result"]

    try:
        refused = call()
        approval = refused["_meta"]["interlock/decision"]["approval"]
        id: str = approval["id"]
        assert approval.keys() == {"id", "state", "until"}
        shown = f"{refused['content'][0]['text']}\n"
        assert same(shown, id) == same(BLOCKS["answer"].text, ID)
        for word in ("list", "show", "approve"):
            told = command(lines()[word], id, tmp_path)
            assert same(told, id) == same(BLOCKS[word].text, ID), word
        assert call(BLOCKS["call.json"].text.replace("1250.50", "1250.5"))["_meta"]
        assert call() == {"content": []}
        again = call()
        assert again["_meta"]["interlock/decision"]["approval"]["id"] != id
    finally:
        wrapped.stdin.close()
        wrapped.wait(20)
        wrapped.stdout.close()


Received = Callable[[bytes, dict[str, str], str], dict[str, Any]]


@pytest.fixture
def received() -> Received:
    made: dict[str, Any] = {}
    exec(BLOCKS["receiver"].text, made)
    found: Received = made["received"]
    return found


KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def test_the_receiver_takes_what_is_sent_and_nothing_else(
    tmp_path: Path, received: Received
) -> None:
    wanted = Wanted(
        digest=b"d", server="default", grant="default", tool="pay", rule="/tools/pay/action",
        reason="money needs a person", policy="f4c0…", call="{}",
    )  # fmt: skip
    noon = 1_772_452_800.0
    with closing(Approvals(tmp_path / "a.db")) as approvals:
        body = webhook.message(approvals.ask(wanted, noon), include_arguments=False)
    told = json.loads(BLOCKS["told"].text)
    told["data"]["id"] = json.loads(body)["data"]["id"]
    assert json.loads(body) == told
    assert list(json.loads(body)["data"]) == list(told["data"])
    head = webhook.signed("msg_1", body, KEY, time.time())
    assert received(body, head, SECRET) == told["data"]
    rotated = {**head, "webhook-signature": f"v1,AAAA {head['webhook-signature']}"}
    assert received(body, rotated, SECRET) == told["data"]
    for bad_body, bad_head, secret in [
        (body.replace(b"pay", b"buy"), head, SECRET),
        (body, {**head, "webhook-id": "msg_2"}, SECRET),
        (body, {**head, "webhook-timestamp": str(int(time.time()) - 1)}, SECRET),
        (body, webhook.signed("msg_1", body, KEY, time.time() - 301), SECRET),
        (body, webhook.signed("msg_1", body, KEY, time.time() + 301), SECRET),
        (body, head, "whsec_" + base64.b64encode(b"x" * 32).decode()),
        (body, {**head, "webhook-signature": ""}, SECRET),
    ]:
        with pytest.raises(ValueError, match=r"too old|not signed"):
            received(bad_body, bad_head, secret)


def test_the_numbers_are_those_there_are() -> None:
    text = " ".join(page(PAGE).split())
    assert f"{store.MAX_PENDING:,} requests may wait at once, and {store.MAX_OF_GRANT} of" in text
    assert f"more than {store.MAX_CALL_BYTES >> 10} KiB" in text
    assert f"for {store.KEPT_S / 86400:.0f} days" in text
    assert (PENDING_S, APPROVED_S) == (3600, 900)
    assert f"within {webhook.DEADLINE_S:.0f} seconds" in text
    assert f"again after {webhook.FIRST_PAUSE_S:.0f} s" in text
    assert webhook.LONGEST_PAUSE_S == 900
    assert f", {webhook.MOST_TELLINGS} times at most" in text
