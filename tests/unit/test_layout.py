# SPDX-License-Identifier: Apache-2.0
"""A test file of tests/unit has the name of its module, or a row in tests/README.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| `(tests/unit/[\w/]+\.py)` \| \S.* \|$", re.MULTILINE)


def modules() -> set[tuple[str, str]]:
    """Return the package below l3agent and the name of each module; a package counts as a module of its name."""
    found = set()
    for path in (ROOT / "l3agent").rglob("*.py"):
        package, *_ = path.relative_to(ROOT / "l3agent").parts
        found.add((package.removesuffix(".py"), path.parent.name if path.stem == "__init__" else path.stem))
    return found


def names_its_module(path: Path, known: set[tuple[str, str]]) -> bool:
    """Return True if a test file has the name of a module of its package; directly in tests/unit, of any package."""
    name = path.stem.removeprefix("test_")
    package, *below = path.relative_to(ROOT / "tests" / "unit").parts
    return (package, name) in known if below else any(module == name for _, module in known)


def test_each_file_has_the_name_of_a_module_or_is_listed() -> None:
    listed = set(_ROW.findall((ROOT / "tests" / "README.md").read_text()))
    known = modules()
    unnamed = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests" / "unit").rglob("test_*.py")
        if not names_its_module(path, known)
    }
    assert sorted(unnamed - listed) == [], "no module of this name, and no row in tests/README.md"
    assert sorted(listed - unnamed) == [], "the row is superfluous"


def test_helpers_are_in_support() -> None:
    folders = [ROOT / "tests" / name for name in ("unit", "property", "scenarios")]
    kept = ("test_", "conftest", "__init__")
    beside = [path for folder in folders for path in folder.rglob("*.py") if not path.name.startswith(kept)]
    assert beside == []
