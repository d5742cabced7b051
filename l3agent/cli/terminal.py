# SPDX-License-Identifier: Apache-2.0
"""Text output: tables that fit the terminal, and colour on terminals only."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

#: Select Graphic Rendition of ECMA-48.
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
#: Minimum width of a truncated column in characters.
_MIN_COLUMN = 6
_GAP = "  "
#: Control characters: names and errors may contain them, and a terminal would interpret them.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Screen:
    """The output stream: a terminal, a pipe or a file.

    :param width: characters per line; None for unlimited.
    """

    colour: bool = False
    width: int | None = None

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str] = os.environ) -> Screen:
        """Describe a stream: a terminal has a width, and colour unless NO_COLOR (no-color.org) is set."""
        if not stream.isatty():
            return cls()
        colour = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        return cls(colour, shutil.get_terminal_size().columns)

    def paint(self, text: str, style: str) -> str:
        """Return text in a style, unchanged without colour."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colour and style else text

    def cut(self, text: str) -> str:
        """Return a line truncated to the width."""
        return _shorten(_replace_controls(text), self.width)


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: text and style."""

    text: str
    style: str = ""


def table(header: Sequence[str], rows: Sequence[Sequence[Cell | str]], screen: Screen) -> list[str]:
    """Return the lines of a table; if it exceeds the width, the widest columns are truncated first."""
    head = [Cell(title, "bold") for title in header]
    cells = [head, *([one if isinstance(one, Cell) else Cell(one) for one in row] for row in rows)]
    cells = [[Cell(_replace_controls(cell.text), cell.style) for cell in row] for row in cells]
    widths = [max(len(row[column].text) for row in cells) for column in range(len(header))]
    if screen.width is not None:
        widths = _fit_widths(widths, screen.width - len(_GAP) * (len(widths) - 1))
    return [_line(row, widths, screen) for row in cells]


def _line(row: Sequence[Cell], widths: Sequence[int], screen: Screen) -> str:
    last = max((column for column, cell in enumerate(row) if cell.text), default=0)
    parts = []
    for column, (cell, width) in enumerate(zip(row[: last + 1], widths, strict=False)):
        text = _shorten(cell.text, width)
        parts.append(screen.paint(text, cell.style) + ("" if column == last else " " * (width - len(text))))
    return _GAP.join(parts)


def _fit_widths(widths: list[int], room: int) -> list[int]:
    fitted = list(widths)
    while sum(fitted) > room and max(fitted) > _MIN_COLUMN:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _shorten(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: max(0, width - 1)] + "…"


def _replace_controls(text: str) -> str:
    return _CONTROLS.sub("?", text)
