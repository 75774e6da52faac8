"""`interlock test --junit`: what CI systems read is what their schema allows.

The schema is that of Jenkins' xUnit plugin, `junit-10.xsd`, which others have taken over. What of
it concerns us stands here as a table, and the table is held against what pytest writes, whose
`xunit2` family is made for the same schema.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.author.cases import Case
from gateway.author.junit import document
from gateway.author.testing import Failure, Result

TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]{0,3})?")
NUMBER = re.compile(r"[0-9]+")
ANY = re.compile(r".*", re.S)

ATTRIBUTES: dict[str, dict[str, re.Pattern[str]]] = {
    "testsuites": {
        **dict.fromkeys(["name"], ANY),
        **dict.fromkeys(["tests", "failures", "errors", "disabled"], NUMBER),
        "time": TIME,
    },
    "testsuite": {
        **dict.fromkeys(["name", "timestamp", "hostname", "id", "package", "file", "log"], ANY),
        **dict.fromkeys(["tests", "failures", "errors", "skipped", "disabled"], NUMBER),
        "time": TIME,
    },
    "testcase": {
        **dict.fromkeys(["name", "classname", "group", "status", "class", "file", "line"], ANY),
        "assertions": NUMBER,
        "time": TIME,
    },
    "failure": {"message": ANY, "type": ANY},
    "error": {"message": ANY, "type": ANY},
    "skipped": {"message": ANY, "type": ANY},
}
REQUIRED = {
    "testsuite": {"name", "tests", "failures", "errors"},
    "testcase": {"name", "classname"},
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"testcase"},
    "testcase": {"failure", "error", "skipped"},
}


def faults(source: bytes) -> list[str]:
    """What of a document the schema does not allow, or its counts do not bear out."""
    root = ElementTree.fromstring(source)
    found = [] if root.tag in ("testsuites", "testsuite") else [f"root {root.tag}"]
    for element in root.iter():
        allowed = ATTRIBUTES.get(element.tag, {})
        for name, value in element.attrib.items():
            if name not in allowed or not allowed[name].fullmatch(value):
                found.append(f"{element.tag} {name}={value!r}")
        found += [
            f"{element.tag} lacks {name}"
            for name in sorted(REQUIRED.get(element.tag, set()) - element.attrib.keys())
        ]
        found += [
            f"{child.tag} in {element.tag}"
            for child in element
            if child.tag not in CHILDREN.get(element.tag, set())
        ]
        if element.tag in CHILDREN and (element.text or "").strip():
            found.append(f"text in {element.tag}")
        for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
            if name in element.attrib and int(element.attrib[name]) != len([*element.iter(tag)]):
                found.append(f"{element.tag} counts {name} otherwise")
    return found


WORDS = st.text(max_size=20) | st.sampled_from(
    ["]]>", "<a b='c'>&amp;\n", "\x00\x1b\ufffe", "\ud800"]
)


@given(
    st.dictionaries(WORDS, st.lists(st.tuples(WORDS, st.none() | WORDS), max_size=4), max_size=3),
    st.floats(0, 1e6),
)
def test_whatever_was_tested_is_told_by_the_schema(
    files: dict[str, list[tuple[str, str | None]]], seconds: float
) -> None:
    failure = Failure.__new__(Failure)
    suites: dict[str, list[Result]] = {}
    words: dict[int, str] = {}
    for file, told in files.items():
        suites[file] = []
        for name, why in told:
            case = Case(name, file, 1, 1, 0, ())
            result = Result(case, failures=[] if why is None else [failure])
            suites[file].append(result)
            if why is not None:
                words[id(result)] = why
    source = document(suites, words, seconds)
    assert faults(source) == []
    root = ElementTree.fromstring(source)
    cases = [(name, why) for told in files.values() for name, why in told]
    assert len(root.findall("testsuite")) == len(files)
    assert [len(one.findall("failure")) for one in root.iter("testcase")] == [
        int(why is not None) for _, why in cases
    ]


def test_the_table_allows_what_pytest_writes_for_this_schema(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): assert 0\n"
        "def test_c(): pytest.skip('so')\n"
    )
    options = ("-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit2", "-c", "/dev/null")
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--junitxml=o.xml", "--rootdir=.", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        timeout=50,
        check=False,
    )
    source = (tmp_path / "o.xml").read_bytes()
    assert source.count(b"<testcase") == 3
    assert faults(source) == []


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ('<testsuite name="a" tests="0" failures="0"/>', "testsuite lacks errors"),
        ('<testsuites time="1e3"/>', "testsuites time='1e3'"),
        ('<testsuites tests="1"/>', "testsuites counts tests otherwise"),
        ("<testsuites><testcase name='a' classname='b'/></testsuites>", "testcase in testsuites"),
        ("<testsuites>a</testsuites>", "text in testsuites"),
        ('<testsuites colour="red"/>', "testsuites colour='red'"),
        ("<tests/>", "root tests"),
    ],
)
def test_the_table_finds_faults(source: str, why: str) -> None:
    assert faults(source.encode()) == [why]
