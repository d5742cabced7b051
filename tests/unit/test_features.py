# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import features
from tests.features import Area, Mark, Row

_ROW = Row("area.row", "Does a thing", "yes", "Y")
_TOML = '[area]\ntitle = "An area"\n[area.row]\ntitle = "Does a thing"\nneutron = "yes"\nstate = "Y"\n'


def test_the_feature_table_is_current() -> None:
    command = [sys.executable, "-m", "tests.features", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_stale_table_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "FEATURES.md"
    stale.write_text(features.TABLE.read_text().replace("| Y |", "| partly |", 1))
    monkeypatch.setattr(features, "TABLE", stale)
    monkeypatch.setattr(sys, "argv", ["features", "--check"])
    assert features.main() == 1


def test_rows_and_markers_are_read() -> None:
    assert features.load(_TOML) == [Area("An area", (_ROW,))]
    source = '@pytest.mark.feature("area.row", "area.other")\n@pytest.mark.broker\ndef test_it() -> None: ...\n'
    assert list(features.marks("test_a.py", source)) == [
        Mark("test_a.py", 1, "test_it", "area.row"),
        Mark("test_a.py", 1, "test_it", "area.other"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('state = "maybe"', "area.row: state 'maybe'"),
        ('state = "Y"\ncomment = ""', "area.row: unknown fields"),
        ("", "area.row: missing fields"),
    ],
)
def test_a_row_with_a_wrong_field_is_an_error(row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        features.load(_TOML.replace('state = "Y"', row))


def test_a_served_row_without_a_test_is_an_error() -> None:
    rows = (_ROW, Row("area.half", "", "", "partly"), Row("area.none", "", "", "not yet"))
    assert features.errors([Area("An area", rows)], []) == [
        "area.row: state 'Y' without a test",
        "area.half: state 'partly' without a test",
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('@pytest.mark.feature("area.row", "area.away")\ndef test_it(): ...', "unknown row 'area.away'"),
        ('@pytest.mark.feature("area.row")\n@pytest.mark.feature(NAME)\ndef test_it(): ...', "unknown row ''"),
        ('@pytest.mark.feature("area.row")\n@pytest.mark.feature()\ndef test_it(): ...', "unknown row ''"),
        ('@pytest.mark.feature("area.row")\ndef test_it(): ...\npytestmark = pytest.mark.feature("area.row")', "not a"),
        (
            '@pytest.mark.feature("area.row")\ndef test_it(): ...\n@pytest.mark.feature("area.row")\ndef it(): ...',
            "not a",
        ),
    ],
)
def test_a_marker_that_fits_no_row_or_test_is_an_error(source: str, message: str) -> None:
    found = features.errors([Area("An area", (_ROW,))], list(features.marks("test_a.py", source)))
    assert len(found) == 1
    assert message in found[0]
