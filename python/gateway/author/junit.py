"""Results of test cases as JUnit XML, by the schema of Jenkins' xUnit plugin."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from gateway.author.testing import Result

_UNSAFE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write."""


def document(
    suites: Mapping[str, Sequence[Result]], words: Mapping[int, str], seconds: float
) -> bytes:
    """One suite for each file.

    Args:
        suites: results by the file they came from.
        words: what is said of each failed result, by its `id`.
        seconds: how long all of it took.
    """
    results = [result for suite in suites.values() for result in suite]
    root = ElementTree.Element("testsuites", _counts("interlock test", results, seconds))
    for file, suite in suites.items():
        share = seconds * len(suite) / max(1, len(results))
        element = ElementTree.SubElement(root, "testsuite", _counts(file, suite, share))
        for result in suite:
            names = {"name": _text(result.case.name), "classname": _text(file), "time": "0"}
            case = ElementTree.SubElement(element, "testcase", names)
            if not result.passed:
                text = _text(words[id(result)])
                what = {"message": text.split("\n")[0], "type": "decision"}
                failure = ElementTree.SubElement(case, "failure", what)
                failure.text = text
    ElementTree.indent(root)
    buffer = BytesIO()
    ElementTree.ElementTree(root).write(buffer, encoding="utf-8", xml_declaration=True)
    return buffer.getvalue() + b"\n"


def _counts(name: str, results: Sequence[Result], seconds: float) -> dict[str, str]:
    failures = sum(not result.passed for result in results)
    counts = {"tests": len(results), "failures": failures, "errors": 0}
    return {
        "name": _text(name),
        **{key: str(count) for key, count in counts.items()},
        "time": f"{seconds:.3f}",
    }


def _text(text: str) -> str:
    return _UNSAFE.sub("�", text)
