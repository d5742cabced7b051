# SPDX-License-Identifier: Apache-2.0
"""The real data plane on the kernels that Debian 12 has, and on this one."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels.guest import Guest, KernelPackage, resolve

pytestmark = pytest.mark.guests

ROOT = Path(__file__).parents[2]
#: The package that names a kernel, and parameters of that kernel.
GUESTS = {
    "debian": ("linux-image-amd64", ""),
    "backport": ("linux-image-6.12-amd64", ""),
    "without-ipv6": ("linux-image-amd64", "ipv6.disable=1"),
}
_SCENARIO = [sys.executable, "-m", "tests.kernels.scenario"]
#: Guests that run at the same time: each takes one core.
_AT_ONCE = 2
#: Seconds for a guest, which takes one minute on an idle machine.
_DEADLINE_S = 840


class Guests:
    """The guests of this file; each is booted when the first of its :data:`_AT_ONCE` predecessors is waited for."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._started: dict[str, Guest] = {}

    def __getitem__(self, name: str) -> Guest:
        first = list(GUESTS).index(name)
        for one in list(GUESTS)[first : first + _AT_ONCE]:
            if one not in self._started:
                self._started[one] = self._boot(one)
        return self._started[name]

    def _boot(self, name: str) -> Guest:
        package, parameters = GUESTS[name]
        kernel = KernelPackage(resolve(package), self._work)
        environment = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        return kernel.boot(name, _SCENARIO, directory=ROOT, environment=environment, parameters=parameters)

    def kill(self) -> None:
        for guest in self._started.values():
            guest.kill()


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    work = Path(os.environ.get("L3AGENT_KERNELS_WORK") or tmp_path_factory.mktemp("kernel-packages"))
    # A guest cannot keep compiled modules, and compiles slowly.
    for directory in ("l3agent", "tests/support", "tests/kernels"):
        compileall.compile_dir(ROOT / directory, quiet=1)
    guests = Guests(work)
    yield guests
    guests.kill()


@pytest.mark.feature("dataplane.kernels")
def test_the_data_plane_works_on_this_kernel() -> None:
    done = subprocess.run(_SCENARIO, cwd=ROOT, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0


@pytest.mark.feature("dataplane.kernels")
@pytest.mark.parametrize("name", GUESTS)
def test_the_data_plane_works_on_another_kernel(guests: Guests, name: str) -> None:
    status = guests[name].wait(_DEADLINE_S)
    print(guests[name].output)
    assert status == 0
