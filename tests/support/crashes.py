# SPDX-License-Identifier: Apache-2.0
"""A data plane that is killed after any of its sends."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from l3agent.model.states import Key, State
from tests.support import killer
from tests.support.processes import Dataplane
from tests.support.sandbox import Sandbox


class Mortal(Dataplane):
    """``l3-dataplane`` with a killer inside."""

    def __init__(self, sandbox: Sandbox, folder: Path, **options: Any) -> None:
        super().__init__(sandbox, folder, **options)
        self._after = folder / "kill-after"

    def start(self, *prefix: str) -> None:
        """Start the process; nothing kills it yet."""
        path = os.pathsep.join(filter(None, (*killer.__path__, os.environ.get("PYTHONPATH"))))
        super().start(*prefix, "env", f"PYTHONPATH={path}", f"L3_KILL_AFTER={self._after}")

    def deaths(self, key: Key, prepare: Callable[[], object], after: State | None) -> Iterator[int]:
        """Have a state brought about by a process that is killed after its first send, its second, ...

        Yields after how many, with a new process there that was asked for nothing yet; ends when one lives.

        :param prepare: brings about what was before.
        """
        for sends in itertools.count(1):
            prepare()
            self._after.write_text(str(sends))
            try:
                (report,) = self.reconcile((key, after))
            except (EOFError, OSError):
                self.hang_up()
                assert self._process is not None
                self._process.wait()
                self.start()
                yield sends
            else:
                self._after.unlink()
                assert report.error is None, report.error
                return
