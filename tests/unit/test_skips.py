# SPDX-License-Identifier: Apache-2.0
"""Skips: of a test or of a module, each fails a session that must run everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# Beside a test that passes: pytest fails if it finds no test.
FILES = {
    "test_passes": "def test_passes() -> None: ...\n",
    "test_call": "import pytest\ndef test_skipped() -> None:\n    pytest.skip('trial of a call')\n",
    "test_module": "import pytest\npytest.skip('trial of a module', allow_module_level=True)\n",
}


def run(folder: Path, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run some of the files with the hooks of this repository."""
    for name in names:
        (folder / f"{name}.py").write_text(FILES[name])
    options = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "pyproject.toml", f"--rootdir={folder}"]
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "L3AGENT_REQUIRE_ALL")}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *options,
            f"--rootdir={folder}",
            *(str(folder / f"{one}.py") for one in names),
        ],
        cwd=REPOSITORY,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_elsewhere_skips_are_listed_and_do_not_fail_the_session(tmp_path: Path) -> None:
    done = run(tmp_path, *FILES)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert "Did not run here: 2 tests." in done.stdout
    assert done.stdout.count("trial of a call") == done.stdout.count("trial of a module") == 2


@pytest.mark.parametrize(("skipped", "variable"), [("test_call", "CI"), ("test_module", "L3AGENT_REQUIRE_ALL")])
def test_each_skip_fails_a_session_that_must_run_everything(tmp_path: Path, skipped: str, variable: str) -> None:
    done = run(tmp_path, "test_passes", skipped, **{variable: "true" if variable == "CI" else "1"})
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
