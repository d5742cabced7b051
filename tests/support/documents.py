# SPDX-License-Identifier: Apache-2.0
"""Markdown documents: anchors of headings, and tables of the READMEs whose cells tests check."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "l3agent"


def beside(readme: str, heading: str, original: str, ours: str) -> dict[str, dict[str, str]]:
    """Return the cells of the table below a heading, by row and column.

    :param readme: below ``l3agent``.
    """
    section = (PACKAGE / readme).read_text().partition(f"{heading}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {name: {original: theirs, ours: own} for name, theirs, own in cells}


def anchor_of(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")
