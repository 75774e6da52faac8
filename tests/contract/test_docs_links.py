"""Every page: what it links to and the files it names are there."""

from __future__ import annotations

import re

import pytest

from support.pages import ROOT, codes, headings, prose

PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
)
FILE = re.compile(r"(?:python|rust|tests|docs|bench|k8s)/[\w./*-]*")


def anchors(name: str) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    found: dict[str, int] = {}
    made = set()
    for _, heading in headings(name):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        again = found.get(slug, 0)
        found[slug] = again + 1
        made.add(f"{slug}-{again}" if again else slug)
    return made


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(name)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(str(file.resolve().relative_to(ROOT))), target


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_named_exist(name: str) -> None:
    for code in codes(prose(name)):
        path = code.partition("::")[0]
        if FILE.fullmatch(path):
            assert list(ROOT.glob(path.rstrip("/"))), code
