# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = "\n".join(
    (ROOT / name).read_text() for name in ("README.md", "l3agent/service/README.md", "l3agent/rpc/README.md")
)


def test_every_test_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", README))
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert {name for name in named if f"def {name}(" not in sources} == set()


def test_every_path_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`((?:etc|tests|l3agent)/[\w./-]+)`", README))
    assert named
    assert {path for path in named if not (ROOT / path).exists()} == set()
