# SPDX-License-Identifier: Apache-2.0
"""Each cell of the README's table of oslo.service and ours is what is observed; each row is a fault that is cured."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from tests.unit.service.beside import OSLO, OURS, ROWS

README = Path(__file__).parents[3] / "README.md"
HEADING = "## The library beside oslo.service"


def _table() -> dict[str, dict[str, str]]:
    """Return the cells by row and column."""
    section = README.read_text().partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {name: {OSLO: theirs, OURS: own} for name, theirs, own in cells}


def test_the_table_has_a_row_for_each_observation_and_no_other() -> None:
    assert list(_table()) == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_each_row_is_a_fault_of_the_original_that_is_cured(row: str) -> None:
    assert _table()[row][OSLO] != _table()[row][OURS]


@pytest.mark.parametrize("library", [OSLO, OURS])
@pytest.mark.parametrize("row", ROWS)
def test_each_cell_is_what_is_observed(row: str, library: str, request: pytest.FixtureRequest) -> None:
    observe = ROWS[row]
    needs = {name: request.getfixturevalue(name) for name in inspect.signature(observe).parameters if name != "library"}
    assert observe(library, **needs) == _table()[row][library]
