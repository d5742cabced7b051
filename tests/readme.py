# SPDX-License-Identifier: Apache-2.0
"""Tables of the README whose cells tests look at."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def beside(heading: str, original: str, ours: str) -> dict[str, dict[str, str]]:
    """Return the cells of the table below a heading, by row and column."""
    section = README.read_text().partition(f"{heading}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {name: {original: theirs, ours: own} for name, theirs, own in cells}
