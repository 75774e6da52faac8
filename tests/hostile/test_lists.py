"""A hidden tool leaves in no shape that some client would read as a list."""

from __future__ import annotations

import pytest

from support.door import Rig, answer, answer_events, answer_json, event, message, run
from support.shapes import ENTRY, LIST, SHAPES

POLICY = b'{"version":"1","default":"allow","hide":["secret"]}'


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("carried", ["json", "events", "error", "text", "get"])
def test_no_shape_shows_a_hidden_tool(shape: str, carried: str) -> None:
    data = SHAPES[shape].encode()

    async def main() -> None:
        script = {
            "json": answer_json(data),
            "events": answer_events(event(data)),
            "error": answer_json(data, status=400),
            "text": answer(200, [(b"content-type", b"text/plain")], data),
            "get": answer_events(event(data)),
        }[carried]
        rig = Rig(script, policy=POLICY)
        if carried == "get":
            reply = await rig.client.request("GET")
        else:
            reply = await rig.client.post(message("tools/list"))
        assert rig.upstream.seen
        assert b"secre" not in reply.body

    run(main())


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-7", "utf-32", "cp037"])
@pytest.mark.parametrize(
    "kind", ["text/event-stream", "application/json", "text/event-stream ; x=y"]
)
def test_a_list_in_another_charset_is_not_passed_on(coding: str, kind: str) -> None:
    async def main() -> None:
        text = f"data: {LIST}\n\n" if "stream" in kind else LIST
        content_type = f"{kind}; charset={coding}".encode()
        rig = Rig(
            answer(200, [(b"content-type", content_type)], text.encode(coding)), policy=POLICY
        )
        reply = await rig.client.post(message("tools/list"))
        assert reply.json["error"]["data"]["code"] == "upstream-invalid"

    run(main())


@pytest.mark.parametrize(
    "parameter", ["charset=utf-8", 'charset="UTF-8"', "CHARSET=us-ascii", "charset=utf8", "v=1"]
)
def test_a_list_in_utf_8_is_filtered_however_that_is_said(parameter: str) -> None:
    async def main() -> None:
        content_type = f"application/json; {parameter}".encode()
        rig = Rig(answer(200, [(b"content-type", content_type)], LIST.encode()), policy=POLICY)
        reply = await rig.client.post(message("tools/list"))
        assert reply.json["result"]["tools"] == []

    run(main())


BREAKS = ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("field", [":", "id: ", "x: ", "event: "])
@pytest.mark.parametrize("line_end", BREAKS, ids=ascii)
def test_no_list_hides_behind_what_only_some_readers_take_for_a_line_end(
    line_end: str, field: str
) -> None:
    async def main() -> None:
        data = f"{field}{line_end}data: {LIST}\n\n".encode()
        rig = Rig(
            answer_events(data, event(b'{"jsonrpc":"2.0","id":1,"result":{}}')), policy=POLICY
        )
        reply = await rig.client.post(message("tools/list"))
        assert b"secret" not in reply.body

    run(main())


def test_what_is_beside_the_list_keeps_its_bytes() -> None:
    async def main() -> None:
        entry = '{"name":"open","title":"N\u00e4me\\u2028"}'
        kept = LIST.replace(ENTRY, entry)
        rig = Rig(answer_json(kept.encode()), policy=POLICY)
        assert (await rig.client.post(message("tools/list"))).body == kept.encode()

    run(main())
