# SPDX-License-Identifier: Apache-2.0
"""Tables fit the terminal, colour is used on terminals only, and control characters are replaced."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3agent.cli.terminal import Cell, Screen, table

ROWS: list[list[Cell | str]] = [["a", "short", Cell("an error that is far too long for any line of a terminal", "red")]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_are_aligned_and_nothing_is_shortened_in_a_pipe() -> None:
    assert table(("ID", "NAME"), [["1", "x"], ["12345", "y"]], Screen()) == ["ID     NAME", "1      x", "12345  y"]
    assert table(("A", "B", "C"), ROWS, Screen())[1].endswith("of a terminal")


def test_the_widest_columns_are_shortened_to_the_terminal() -> None:
    lines = table(("A", "B", "C"), ROWS, Screen(width=30))
    assert lines[1] == "a  short  an error that is fa…"


@given(st.lists(st.lists(st.text(max_size=60), min_size=3, max_size=3), max_size=5), st.integers(25, 200))
def test_no_line_is_wider_than_the_terminal(rows: list[list[str]], width: int) -> None:
    assert all(len(line) <= width for line in table(("A", "B", "C"), rows, Screen(width=width)))


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    (_, line) = table(("NAME",), [["\x1b[2Jr1\n\x9bm"]], Screen())
    assert line == "?[2Jr1??m"


def test_colour_does_not_shift_columns() -> None:
    rows: list[list[Cell | str]] = [[Cell("x", "red"), "y"], [Cell("xxx", "green"), "y"]]
    bare = [line.replace("\x1b[31m", "").replace("\x1b[32m", "").replace("\x1b[0m", "").replace("\x1b[1m", "")
            for line in table(("A", "B"), rows, Screen(colour=True))]  # fmt: skip
    assert bare == table(("A", "B"), rows, Screen())


@pytest.mark.parametrize(
    ("environ", "colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(environ: dict[str, str], colour: bool) -> None:
    assert Screen.of(Terminal(), environ).colour is colour
    assert Screen.of(io.StringIO(), environ) == Screen(False, None)
