# SPDX-License-Identifier: Apache-2.0
"""A checkout of this repository as a way to make routers: its own client and data plane, in processes of its own.

The wire format is private to a release, so the client that measures is the one of the checkout.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from l3agent.model.names import TAP_DEVICE
from l3agent.model.states import FloatingIP, NamespaceState

_WORKER = Path(__file__).with_name("checkout_worker.py")


class Checkout:
    """The data plane of a checkout.

    :param path: the top directory of the checkout.
    :param tribe: see :mod:`tests.bench.canonical`; checkouts beside each other have different ones.
    :param floating_ips: of each router.
    """

    leftovers = ()

    def __init__(self, name: str, path: Path, tribe: int, floating_ips: int) -> None:
        self.name, self.tribe = name, tribe
        self.traces = (f"{TAP_DEVICE}{tribe:02x}",)
        self._path = path.resolve()
        self._floating_ips = floating_ips
        if not (self._path / "tests" / "bench" / "ours.py").is_file():
            raise SystemExit(f"{path}: not a checkout of l3agent with tests/bench")

    def start(self, routers: Iterable[NamespaceState]) -> None:
        """Start the worker, and with it the data plane; only the number of the routers counts."""
        # -P: the directory of the script stays out of sys.path.
        argv = [sys.executable, "-P", str(_WORKER), *map(str, (self.tribe, len(list(routers)), self._floating_ips))]
        environment = {**os.environ, "PYTHONPATH": str(self._path)}
        self._process = subprocess.Popen(
            argv, cwd=self._path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(self._process.kill)
        self._read()

    def stop(self) -> None:
        """End the worker, which kills its data plane at its exit."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def cpu(self) -> float:
        """Return the CPU seconds of the data plane so far."""
        return self._request("cpu")["wall"]

    def build(self, router: NamespaceState) -> Mapping[str, float]:
        """Make a router where there is none."""
        return self._request("build", router)

    def look(self, router: NamespaceState) -> Mapping[str, float]:
        """Find that a router is as it should be."""
        return self._request("look", router)

    def add(self, router: NamespaceState, _: FloatingIP) -> Mapping[str, float]:
        """Add one floating IP."""
        return self._request("add", router)

    def remove(self, router: NamespaceState, _: FloatingIP) -> Mapping[str, float]:
        """Remove that floating IP."""
        return self._request("remove", router)

    def delete(self, router: NamespaceState) -> Mapping[str, float]:
        """Remove a router."""
        return self._request("delete", router)

    # ---- private ---------------------------------------------------------------------------------------------

    def _request(self, operation: str, router: NamespaceState | None = None) -> Mapping[str, float]:
        # The number of a router is in its id, behind its tribe.
        number = None if router is None else int(router.id[2:8], 16)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([operation, number]) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Mapping[str, float]:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"the worker of {self.name} ended with status {self._process.wait()}")
        answer: Mapping[str, float] = json.loads(line)
        return answer
