# SPDX-License-Identifier: Apache-2.0
"""The documents: length of README.md, links, and the paths that they name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.documents import anchor_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "l3agent/**/*.md", "etc/**/*.md", "tests/**/*.md", ".github/*.md")
    for path in ROOT.glob(pattern)
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
#: A path of this repository in running text; untracked ones, such as .venv, are not.
_PATH = re.compile(r"`((?:l3agent|tests|etc|\.ci|\.github)/[\w./-]+|\.importlinter)`")
#: Documents that name no path in running text.
WITHOUT_PATHS = {ROOT / "tests" / "FEATURES.md", ROOT / "tests" / "bench" / "README.md"}
#: The longest that README.md may be, in lines.
MAX_LINES = 150
#: A question of a new reader, and a text that answers it.
QUESTIONS = {
    "where does a floating IP become rules": "plan/render.py",
    "what happens on SIGHUP": "On SIGHUP l3-agent reads its configuration files again",
    "which options are ours": "`[dataplane] pool_size`",
    "which test proves hitless takeover": "tests/neutron/test_takeover.py",
    "where do I add a metric": "ops/metrics.py",
}


def links(document: Path) -> list[str]:
    """Return the relative links of a document."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    return [link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link)]


@cache
def anchors(document: Path) -> set[str]:
    """Return the anchors of a document, as GitHub derives them from headings."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    return {anchor_of(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def target(document: Path, link: str) -> tuple[Path, str]:
    """Return the file and the anchor that a link of a document leads to."""
    path, _, anchor = link.partition("#")
    return ((document.parent / path).resolve() if path else document), anchor


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_link_has_a_target(document: Path) -> None:
    broken = []
    for link in links(document):
        path, anchor = target(document, link)
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_is_answered_one_link_from_the_first_page(question: str) -> None:
    readme = ROOT / "README.md"
    row = next(line for line in readme.read_text().splitlines() if line.startswith(f"| {question}?"))
    path, anchor = target(readme, _LINK.findall(row)[0])
    text = path.read_text()
    heading = next(line for line in text.splitlines() if line.startswith("#") and anchor_of(line) == anchor)
    section = text.partition(heading)[2].partition("\n## ")[0]
    assert QUESTIONS[question] in section


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_path_that_a_document_names_exists(document: Path) -> None:
    paths = _PATH.findall(document.read_text())
    assert bool(paths) == (document not in WITHOUT_PATHS)
    assert [path for path in paths if not (ROOT / path).exists()] == []
