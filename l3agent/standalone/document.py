# SPDX-License-Identifier: Apache-2.0
"""A YAML document whose every value knows its place, so that each problem can be reported with its line.

Values are read as they are written: ``1:20`` stays text, although YAML 1.1 takes it for a number of base 60.
No problem ends the reading; all of them are collected, because a person mends a file once and not once a line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from l3agent.exceptions import ConfigError

#: A topology for 10,000 routers has about a tenth of this; more is the wrong file.
MAX_FILE_BYTES = 16 * 1024 * 1024

_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_SHOWN_CHARACTERS = 60

# YAML takes them escaped, as in "\uD800"; no message, log or file can hold them, for UTF-8 has no bytes for them.
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Problems:
    """What is wrong with one file, in the order it was found."""

    path: str
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        """Note a problem.

        :param line: counted from 1.
        """
        self.found.append((line, _printable(text)))

    def raise_any(self) -> None:
        """Raise one ConfigError with a line for each problem, in the order of the file; do nothing without problems."""
        if self.found:
            ordered = sorted(self.found, key=lambda problem: problem[0])
            raise ConfigError("\n".join(f"{self.path}:{line}: {text}" for line, text in ordered))


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A value of the document; two items are equal when they are the same one.

    Each reading method returns the value, or None (or something empty) after it noted why that is not possible.

    :param where: its path in the file, as in ``routers.r1.interfaces[0]``.
    :param line: where it stands, counted from 1.
    """

    node: Any
    where: str
    line: int
    problems: Problems

    def fail(self, reason: str, value: object = None) -> None:
        """Note a problem with this value.

        :param value: what to show instead of the value itself.
        """
        shown = _shown(self.node) if value is None else str(value)
        self.problems.add(self.line, f"{self.where}: {shown}: {reason}")

    @property
    def is_scalar(self) -> bool:
        """Return whether this is a single value, no list and no mapping."""
        return isinstance(self.node, yaml.ScalarNode)

    @property
    def is_mapping(self) -> bool:
        """Return whether this is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_null(self) -> bool:
        """Return whether nothing (or ``null``) is written here."""
        return self.is_scalar and self.node.tag == "tag:yaml.org,2002:null"

    def entries(self) -> dict[str, Item]:
        """Return a mapping by its keys; a key that is given twice is a problem."""
        if self.is_null:
            return {}
        if not self.is_mapping:
            self.fail("a mapping (key: value) is expected")
            return {}
        return dict(self._entries())

    def _entries(self) -> Iterator[tuple[str, Item]]:
        seen: dict[str, int] = {}
        for key, value in self.node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.problems.add(line, f"{self.where or 'file'}: {_shown(key)}: a key must be a single value")
                continue
            where = f"{self.where}.{key.value}" if self.where else key.value
            if key.value in seen:
                self.problems.add(line, f"{where}: {key.value}: given twice, first in line {seen[key.value]}")
                continue
            seen[key.value] = line
            # An empty value starts where its key stands; any other where it begins.
            at = value.start_mark.line + 1 if value.value else line
            yield key.value, Item(value, where, at, self.problems)

    def fields(self, known: Collection[str], required: Collection[str] = ()) -> dict[str, Item]:
        """Return the mapping of a record; an unknown key or a missing one is a problem.

        :param known: every key there may be, in the order they are offered to the reader of the message.
        """
        entries = self.entries()
        for key in [key for key in entries if key not in known]:
            entries.pop(key).fail(f"unknown key, expected one of {', '.join(known)}", value=key)
        for key in required:
            if key not in entries and (self.is_mapping or self.is_null):
                self.fail(f"{key} is missing")
        return entries

    def elements(self) -> list[Item]:
        """Return the elements of a list."""
        if self.is_null:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail("a list is expected")
            return []
        return [
            Item(node, f"{self.where}[{index}]", node.start_mark.line + 1, self.problems)
            for index, node in enumerate(self.node.value)
        ]

    def text(self) -> str | None:
        """Return a value as it is written."""
        if not self.is_scalar or self.is_null or not self.node.value:
            self.fail("a single value is expected")
            return None
        text = str(self.node.value)
        if _SURROGATE.search(text):
            self.fail("half of a surrogate pair is no character")
            return None
        return text

    def boolean(self) -> bool | None:
        """Return true or false."""
        text = str(self.node.value).lower() if self.is_scalar else ""
        if text not in _TRUE | _FALSE:
            self.fail("true or false is expected")
            return None
        return text in _TRUE

    def integer(self, lowest: int, highest: int) -> int | None:
        """Return a whole number between two bounds, both included."""
        text = self.node.value if self.is_scalar else ""
        # Ten digits hold every bound there is; int() of a million digits would take minutes.
        number = int(text) if len(text) <= 10 and text.isascii() and text.isdigit() else None
        if number is None or not lowest <= number <= highest:
            self.fail(f"a whole number between {lowest} and {highest} is expected")
            return None
        return number


def read_document(path: Path) -> Item:
    """Return the root of a YAML file.

    :raises ConfigError: the file cannot be read, is too large, is empty, or is no YAML.
    """
    problems = Problems(str(path))
    node = _compose(_read(path, problems), problems)
    # Saving a file often empties it for a moment; taking that for "remove everything" would be a disaster.
    if node is None and not problems.found:
        problems.add(1, "file: empty: a mapping with networks, routers, hosts is expected")
    problems.raise_any()
    return Item(node, "", 1, problems)


def _read(path: Path, problems: Problems) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            problems.add(1, f"file: more than {MAX_FILE_BYTES} bytes: too large for a topology")
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        problems.add(content.count(b"\n", 0, exc.start) + 1, f"file: byte {content[exc.start]:#04x}: not UTF-8")
    except OSError as exc:
        problems.add(1, f"file: cannot be read: {exc.strerror or exc}")
    problems.raise_any()
    return ""


def _compose(content: str, problems: Problems) -> Any:
    problems.raise_any()
    loader = None
    try:
        # Not the loader in C: it overflows its stack, and so kills the process, where brackets are nested deep enough,
        # and it refuses addresses like 2001:db8:: in a [list].
        loader = yaml.SafeLoader(content)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        reason = " ".join(filter(None, (exc.context, exc.problem)))
        if "'\\t'" in reason:
            reason += " (indent with spaces, a tab is not allowed)"
        problems.add(mark.line + 1 if mark else 1, f"file: no valid YAML: {reason}")
    except yaml.reader.ReaderError as exc:
        line = content.count("\n", 0, exc.position) + 1 if isinstance(exc.position, int) else 1
        problems.add(line, f"file: no valid YAML: {exc.reason}")
    except (ValueError, OverflowError) as exc:
        # The library hands numbers on unchecked, those of "\U00110000" and of a %YAML directive.
        problems.add(loader.line + 1 if loader else 1, f"file: no valid YAML: a number is out of range: {exc}")
    except RecursionError:
        problems.add(1, "file: no valid YAML: nested too deep")
    finally:
        if loader is not None:
            loader.dispose()
    return None


def _shown(node: Any) -> str:
    if isinstance(node, yaml.MappingNode):
        return "{...}" if node.value else "{}"
    if isinstance(node, yaml.SequenceNode):
        return "[...]" if node.value else "[]"
    text = str(node.value) or "(nothing)"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _printable(text: str) -> str:
    """Return a text as one line that everybody can print: what is no visible character is escaped."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
