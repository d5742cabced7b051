# SPDX-License-Identifier: Apache-2.0
"""The files for contributors and operators are complete: issue forms, change log, style guide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from l3agent import __version__

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"


@pytest.mark.parametrize("form", sorted(path.name for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml")))
def test_an_issue_form_is_well_formed(form: str) -> None:
    document = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / form).read_text())
    if form == "config.yml":
        assert document == {"blank_issues_enabled": False}
        return
    assert document.keys() == {"name", "description", "labels", "body"}
    fields = [field for field in document["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) >= 3
    assert any(field.get("validations", {}).get("required") for field in fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown"}


def test_the_change_log_begins_with_this_release() -> None:
    releases = re.findall(r"^## (\S+?),", (ROOT / "etc" / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == __version__


def test_the_style_guide_has_ten_pairs() -> None:
    assert len(re.findall(r"^\| \d+ \| .+ \| .+ \|$", (GITHUB / "CONTRIBUTING.md").read_text(), re.MULTILINE)) == 10
