# SPDX-License-Identifier: Apache-2.0
"""The wheel and the source package, built and used as a stranger would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from l3agent import __version__

ROOT = Path(__file__).parents[2]
#: With mistakes, each marked with the error that is due.
PROGRAM = Path(__file__).parents[1] / "support" / "typed_program.py"
#: Below share/l3agent of an installation.
SAMPLES = (
    "l3_agent.conf",
    "l3_agent.conf.sample",
    "standalone.conf",
    "topology.yaml",
    "grafana/l3agent.json",
    "logrotate.d/l3agent",
    "prometheus/l3agent.rules.yml",
    "systemd/l3-agent.service",
    "systemd/l3-dataplane.service",
)


def run(*argv: object, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    done = subprocess.run(
        [str(one) for one in argv],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with both packages, built from a copy of what git has, so that no left-over of a build is in them."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, folder=folder)
    yield folder


@pytest.mark.feature("operation.packages")
def test_both_packages_carry_the_page_and_the_samples(built: Path) -> None:
    [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"l3agent/ops/status.html", "l3agent/py.typed"} <= set(names)
    assert {"l3agent/service/README.md", "l3agent/rpc/README.md"} <= set(names)
    for sample in SAMPLES:
        assert [name for name in names if name.endswith(f".data/data/share/l3agent/{sample}")], sample
    assert not [name for name in names if name.startswith(("tests", "etc"))]
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "l3agent/ops/status.html", "etc/l3agent/topology.yaml"} <= inside


def test_both_packages_carry_the_licence(built: Path) -> None:
    [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
    text = (ROOT / "l3agent" / "LICENSE").read_bytes()
    assert b"Apache License" in text and b"Version 2.0, January 2004" in text
    metadata = f"l3agent-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(f"{metadata}/licenses/l3agent/LICENSE") == text
        fields = archive.read(f"{metadata}/METADATA").decode().splitlines()
    assert {"License-Expression: Apache-2.0", "License-File: l3agent/LICENSE"} <= set(fields)
    with tarfile.open(sdist) as archive:
        inside = archive.extractfile(f"l3agent-{__version__}/l3agent/LICENSE")
        assert inside is not None and inside.read() == text


@pytest.fixture(scope="module")
def venv(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel.

    What it depends on is borrowed from the environment of the tests: tox has installed that as the wheel says.
    """
    [wheel] = built.glob("*.whl")
    folder = tmp_path_factory.mktemp("installed")
    venv = folder / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, folder=folder)
    pip = (sys.executable, "-m", "pip", "--python", venv, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-deps", wheel, folder=folder)
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return venv


@pytest.mark.feature("operation.packages")
def test_the_wheel_works_in_a_bare_environment(venv: Path, tmp_path: Path) -> None:
    assert __version__ in run(venv / "bin" / "l3-agent", "--version", folder=tmp_path)
    assert __version__ in run(venv / "bin" / "l3-dataplane", "--version", folder=tmp_path)
    assert __version__ in run(venv / "bin" / "l3-metadata", "--version", folder=tmp_path)
    assert "status" in run(venv / "bin" / "l3-agentctl", "--help", folder=tmp_path)
    for sample in SAMPLES:
        assert (venv / "share" / "l3agent" / sample).stat().st_size > 0, sample
    program = "from l3agent.demo.samples import sample; print(sample('topology.yaml'))"
    assert Path(run(venv / "bin" / "python", "-c", program, folder=tmp_path).strip()).is_relative_to(venv)
    program = (
        "import eventlet; eventlet.monkey_patch(); from l3agent.ops import web; print(len(web.status_page().body))"
    )
    assert int(run(venv / "bin" / "python", "-W", "ignore", "-c", program, folder=tmp_path)) > 10_000
    program = "import l3agent; print(l3agent.__file__)"
    assert Path(run(venv / "bin" / "python", "-c", program, folder=tmp_path).strip()).is_relative_to(venv)


def test_a_user_of_the_wheel_is_told_of_type_errors(venv: Path, tmp_path: Path) -> None:
    """mypy reads the annotations of an installed package only if it has ``py.typed``."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.read_text())
    # -I: mypy comes from the environment of the tests, the library from the venv.
    argv = [sys.executable, "-I", "-m", "mypy", "--python-executable", str(venv / "bin" / "python")]
    argv += ["--ignore-missing-imports", "--cache-dir", str(tmp_path / "cache"), str(program)]
    said = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    found = {
        (int(line), code) for line, code in re.findall(r"^program\.py:(\d+): error: .*\[(.*)\]$", said.stdout, re.M)
    }
    lines = enumerate(program.read_text().splitlines(), 1)
    planted = {(number, line.rpartition("# planted: ")[2]) for number, line in lines if "# planted: " in line}
    assert found == planted, said.stdout + said.stderr
