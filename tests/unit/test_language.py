# SPDX-License-Identifier: Apache-2.0
"""Names and prose of the package use the words of the field: no entry of the stop list is left."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from tests.support.language import ROOT, check_file, check_source, modules

PACKAGE = ROOT / "l3agent"
#: The short form of the stop list, for files of any type.
_WORDS = re.compile(
    r"somebody|nobody|whoever|no one|someone|anyone|lay_down|let_be|in_hand|doubt|tell whether|those that|of use\b"
    r"|by hand|none of ours",
    re.IGNORECASE,
)


def words(source: str) -> list[str]:
    return [finding.word for finding in check_source(source)]


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def tell_agents() -> None: ...", "tell_agents()"),
        ("class InHand: ...", "InHand"),
        ("class _MassDelete: ...", "_MassDelete"),
        ("def start(let_be: bool) -> None: ...", "let_be"),
        ("nobody_listens = True", "nobody_listens"),
        ("def first() -> None:\n    is_doubted = 1", "is_doubted"),
        ("class A:\n    gone: int", ".gone"),
        ("class A:\n    def b(self) -> None:\n        self._bell = 1", "._bell"),
    ],
)
def test_a_name_of_the_stop_list_is_found(source: str, word: str) -> None:
    assert set(words(source)) == {word}


def test_a_name_is_split_into_words() -> None:
    assert words("class CrewOfThread: ...") == ["CrewOfThread"]
    assert words("notebook = restored = outlook = 1\ndef noted() -> None: ...\ndef settles() -> None: ...") == []


@pytest.mark.parametrize(
    ("docstring", "word"),
    [
        ("Tell the server.", "Tell ..."),
        ("Have it read.", "Have ..."),
        ("Note the time.", "Note ..."),
        ("Know it.", "Know ..."),
        ("Whether it is new.", "Whether ..."),
        ("Returns the time.", "Returns ..."),
        ("The time.", "The ..."),
        ("Send it.\n\n    Nobody reads it.", "Nobody"),
        ("Add one that is new.", "one that"),
    ],
)
def test_a_docstring_of_the_stop_list_is_found(docstring: str, word: str) -> None:
    found = words(f'def read() -> None:\n    """{docstring}"""')
    assert word in found and set(found) <= {word, "Tell"}


def test_a_noun_phrase_describes_a_module_a_class_or_a_property() -> None:
    assert (
        words(
            '"""The queue."""\nclass A:\n    """A place."""\n    @property\n    def b(self) -> int:\n        """All."""'
        )
        == []
    )
    assert words('"""What waits."""') == ["What ..."]


def test_comments_and_texts_are_checked_with_their_line() -> None:
    source = 'x = 1\n\n# Somebody reads it.\nraise ValueError(f"{x} is\\n"\n    "none of ours")\n'
    assert [(finding.line, finding.word) for finding in check_source(source)] == [(3, "Somebody"), (5, "none of ours")]


def test_a_former_name_of_an_option_stands_in_the_table_of_renamed_options_only() -> None:
    assert words('conf.x["orphan_grace"]') == ["'orphan_grace'"]
    assert words('RENAMED_OPTS = {("agent", "orphan_grace"): ("agent", "orphan_grace_period")}') == []


def test_the_package_uses_the_words_of_the_field() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{finding.line}: {finding.word}: {finding.hint}"
        for path in modules([PACKAGE])
        for finding in check_file(path)
    ]
    assert found == []


def test_no_file_of_the_package_has_a_word_of_the_short_list() -> None:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if _WORDS.search(line)
    ]
    assert found == []


def test_no_two_classes_share_a_name() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in modules([PACKAGE])]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    names = Counter(node.name.lstrip("_") for node in classes)
    assert [name for name, count in names.items() if count > 1] == []
