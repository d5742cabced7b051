# SPDX-License-Identifier: Apache-2.0
"""A YAML document whose values carry their path and line, so that each problem is reported with its line.

Scalars stay text: ``1:20`` is not converted, although YAML 1.1 defines it as a number of base 60.
Reading continues after a problem and collects all of them, so that one run reports everything to correct.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from l3agent.exceptions import ConfigError

#: A topology of 10,000 routers has about a tenth of this size; a larger file is the wrong one.
MAX_FILE_BYTES = 16 * 1024 * 1024

_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_MAX_VALUE_CHARACTERS = 60

# YAML accepts them escaped, as in "\uD800"; UTF-8 cannot encode them, so no message, log or file can hold them.
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Problems:
    """The problems of one file, in the order of detection."""

    path: str
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        """Record a problem.

        :param line: counted from 1.
        """
        self.found.append((line, _escape_unprintable(text)))

    def raise_any(self) -> None:
        """Raise a ConfigError if there are problems, with one line for each, in the order of the file."""
        if self.found:
            ordered = sorted(self.found, key=lambda problem: problem[0])
            raise ConfigError("\n".join(f"{self.path}:{line}: {text}" for line, text in ordered))


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A value of the document; items compare by identity.

    Each reading method returns the value; after an invalid one it records a problem and returns None or an empty
    collection.

    :param where: path in the file, as in ``routers.r1.interfaces[0]``.
    :param line: line in the file, counted from 1.
    """

    node: Any
    where: str
    line: int
    problems: Problems

    def fail(self, reason: str, value: object = None) -> None:
        """Record a problem with this value.

        :param value: printed in the message in place of the value.
        """
        value_text = _abbreviate(self.node) if value is None else str(value)
        self.problems.add(self.line, f"{self.where}: {value_text}: {reason}")

    @property
    def is_scalar(self) -> bool:
        """Return True if this is a scalar, neither a list nor a mapping."""
        return isinstance(self.node, yaml.ScalarNode)

    @property
    def is_mapping(self) -> bool:
        """Return True if this is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_null(self) -> bool:
        """Return True if the value is empty or ``null``."""
        return self.is_scalar and self.node.tag == "tag:yaml.org,2002:null"

    def entries(self) -> dict[str, Item]:
        """Return the values of a mapping by key; a duplicate key is a problem."""
        if self.is_null:
            return {}
        if not self.is_mapping:
            self.fail("expected a mapping (key: value)")
            return {}
        return dict(self._entries())

    def _entries(self) -> Iterator[tuple[str, Item]]:
        seen: dict[str, int] = {}
        for key, value in self.node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.problems.add(line, f"{self.where or 'file'}: {_abbreviate(key)}: a key must be a scalar")
                continue
            where = f"{self.where}.{key.value}" if self.where else key.value
            if key.value in seen:
                self.problems.add(line, f"{where}: {key.value}: duplicate, first in line {seen[key.value]}")
                continue
            seen[key.value] = line
            # The mark of an empty value is not the line of its key.
            at = value.start_mark.line + 1 if value.value else line
            yield key.value, Item(value, where, at, self.problems)

    def fields(self, known: Collection[str], required: Collection[str] = ()) -> dict[str, Item]:
        """Return the values of a mapping with fixed keys; an unknown or missing key is a problem.

        :param known: all valid keys, in the order in which an error message lists them.
        """
        entries = self.entries()
        for key in [key for key in entries if key not in known]:
            entries.pop(key).fail(f"unknown key, expected one of {', '.join(known)}", value=key)
        for key in required:
            if key not in entries and (self.is_mapping or self.is_null):
                self.fail(f"missing key {key}")
        return entries

    def elements(self) -> list[Item]:
        """Return the elements of a list."""
        if self.is_null:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail("expected a list")
            return []
        return [
            Item(node, f"{self.where}[{index}]", node.start_mark.line + 1, self.problems)
            for index, node in enumerate(self.node.value)
        ]

    def text(self) -> str | None:
        """Return a scalar as text, without conversion."""
        if not self.is_scalar or self.is_null or not self.node.value:
            self.fail("expected a scalar")
            return None
        text = str(self.node.value)
        if _SURROGATE.search(text):
            self.fail("an unpaired surrogate is not a character")
            return None
        return text

    def boolean(self) -> bool | None:
        """Return true or false."""
        text = str(self.node.value).lower() if self.is_scalar else ""
        if text not in _TRUE | _FALSE:
            self.fail("expected true or false")
            return None
        return text in _TRUE

    def integer(self, lowest: int, highest: int) -> int | None:
        """Return an integer between two bounds, both included."""
        text = self.node.value if self.is_scalar else ""
        # Ten digits suffice for all bounds; int() of a million digits would take minutes.
        number = int(text) if len(text) <= 10 and text.isascii() and text.isdigit() else None
        if number is None or not lowest <= number <= highest:
            self.fail(f"expected an integer between {lowest} and {highest}")
            return None
        return number


def read_document(path: Path) -> Item:
    """Return the root of a YAML file.

    :raises ConfigError: the file cannot be read, is too large, is empty, or is not YAML.
    """
    problems = Problems(str(path))
    node = _compose(_read(path, problems), problems)
    # Many programs truncate a file before they write it; an empty file must not delete all routers.
    if node is None and not problems.found:
        problems.add(1, "file: empty: expected a mapping with networks, routers, hosts")
    problems.raise_any()
    return Item(node, "", 1, problems)


def _read(path: Path, problems: Problems) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            problems.add(1, f"file: more than {MAX_FILE_BYTES} bytes: too large")
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
        # Not the loader in C: deeply nested brackets overflow its stack and kill the process, and it rejects addresses
        # such as 2001:db8:: in a [list].
        loader = yaml.SafeLoader(content)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        reason = " ".join(filter(None, (exc.context, exc.problem)))
        if "'\\t'" in reason:
            reason += " (indent with spaces, a tab is not allowed)"
        problems.add(mark.line + 1 if mark else 1, f"file: invalid YAML: {reason}")
    except yaml.reader.ReaderError as exc:
        line = content.count("\n", 0, exc.position) + 1 if isinstance(exc.position, int) else 1
        problems.add(line, f"file: invalid YAML: {exc.reason}")
    except (ValueError, OverflowError) as exc:
        # PyYAML does not check the numbers of "\U00110000" and of a %YAML directive.
        problems.add(loader.line + 1 if loader else 1, f"file: invalid YAML: a number is out of range: {exc}")
    except RecursionError:
        problems.add(1, "file: invalid YAML: nested too deeply")
    finally:
        if loader is not None:
            loader.dispose()
    return None


def _abbreviate(node: Any) -> str:
    if isinstance(node, yaml.MappingNode):
        return "{...}" if node.value else "{}"
    if isinstance(node, yaml.SequenceNode):
        return "[...]" if node.value else "[]"
    text = str(node.value) or "(nothing)"
    return text if len(text) <= _MAX_VALUE_CHARACTERS else text[: _MAX_VALUE_CHARACTERS - 3] + "..."


def _escape_unprintable(text: str) -> str:
    """Return a text as one line, with all unprintable characters escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
