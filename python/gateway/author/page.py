"""The report that a reviewer can be sent: one HTML file, without scripts and without the network.

INVARIANT: whatever a server sent stands in the page as text; the page's own policy forbids scripts
and requests all the same.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape

from gateway.author.assess import Assessed, Assessment, shown
from gateway.author.classify import CLASSES, SEVERITY
from gateway.author.recommend import recommend
from gateway.author.report import EFFECT_WORDS, summary, worst_first

DESCRIPTION_CHARS = 600

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem;
  border-bottom: 1px solid #8884 }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere }
.why, .said { color: #888; overflow-wrap: anywhere }
.flag { color: #b50 }
.critical { color: #c22; font-weight: 600 }
.high { color: #b50; font-weight: 600 }
.low { color: #282 }
.tally { display: inline-block; margin-right: 1.5rem }
"""


def html(assessments: Sequence[Assessment]) -> str:
    """The whole page."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return "".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n',
            '<meta name="referrer" content="no-referrer">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>MCP tools</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n",
            *_body(assessments),
            "</body>\n</html>\n",
        ]
    )


def _body(assessments: Sequence[Assessment]) -> Iterator[str]:
    yield "<h1>What agents could call</h1>\n"
    counts = Counter(tool.kind for one in assessments for tool in one.tools)
    yield "<p>"
    for kind in reversed(CLASSES):
        yield f'<span class="tally"><b class="{SEVERITY[kind]}">{counts[kind]}</b> {kind}</span>'
    yield "</p>\n"
    for one in assessments:
        yield f"<h2>{_text(one.server, 80)}</h2>\n<p>{_text(summary(one), 200)}</p>\n"
        yield "<table>\n<tr><th>Tool</th><th>Class</th><th>Proposed</th><th>Why</th></tr>\n"
        for tool in worst_first(one):
            yield _row(tool)
        yield "</table>\n"


def _row(tool: Assessed) -> str:
    flags = "".join(
        f'<div class="flag">{escape(flag.slug)}: {_text(flag.why, 300)}</div>'
        for flag in tool.flags
    )
    said = _text(tool.tool.description, DESCRIPTION_CHARS)
    effect = EFFECT_WORDS[recommend(tool).effect]
    return (
        f"<tr><td><code>{_text(tool.name, 256)}</code></td>"
        f'<td class="{tool.severity}">{tool.kind}<br>{tool.severity}</td>'
        f"<td>{effect}</td>"
        f'<td><div class="why">{_text(tool.rationale, 400)} ({tool.confidence:.2f})</div>{flags}'
        f'<div class="said">{said}</div></td></tr>\n'
    )


def _text(text: str, most: int) -> str:
    return escape(shown(text, most))
