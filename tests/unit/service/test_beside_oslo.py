# SPDX-License-Identifier: Apache-2.0
"""Each cell of the README's comparison with oslo.service is observed, and the cells of each row differ."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tests.support.documents import beside
from tests.support.oslo_comparison import OSLO, OURS, ROWS

FORKS = {
    "a worker that cannot start",
    "SIGTERM to the process group, two workers",
    "child programs of the parent of workers",
}
HEADING = "## Comparison with oslo.service"


def _table() -> dict[str, dict[str, str]]:
    return beside("service/README.md", HEADING, OSLO, OURS)


def _rows() -> list[Any]:
    return [pytest.param(row, marks=pytest.mark.forks if row in FORKS else ()) for row in ROWS]


def test_the_table_has_a_row_for_each_observation_and_no_other() -> None:
    assert list(_table()) == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_different_cells(row: str) -> None:
    assert _table()[row][OSLO] != _table()[row][OURS]


@pytest.mark.parametrize("library", [OSLO, OURS])
@pytest.mark.parametrize("row", _rows())
def test_each_cell_is_observed(row: str, library: str, request: pytest.FixtureRequest) -> None:
    observe = ROWS[row]
    needs = {name: request.getfixturevalue(name) for name in inspect.signature(observe).parameters if name != "library"}
    assert observe(library, **needs) == _table()[row][library]
