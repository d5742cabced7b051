# SPDX-License-Identifier: Apache-2.0
"""Imported by Python at the start of a process that has this folder on its path: kills it after one of its sends.

The file that L3_KILL_AFTER names says after how many; without the file nothing happens. A send is whatever changes the
kernel in one call: a netlink batch, a mount, the settings of a namespace.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from l3agent.dataplane.kernel import namespace_sysctls, sockets, syscalls

_LEFT = Path(os.environ["L3_KILL_AFTER"])


def _then(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def counted(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        # The pool has a thread of its own, and a batch of nothing is not sent.
        if threading.current_thread().name in ("MainThread", "offload") and args[-1]:
            with contextlib.suppress(FileNotFoundError):
                left = int(_LEFT.read_text()) - 1
                if left <= 0:
                    _LEFT.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
                _LEFT.write_text(str(left))
        return result

    return counted


for _owner, _name in (
    (sockets.NetlinkSocket, "batch"),
    (sockets.NetlinkSocket, "nft_batch"),
    (namespace_sysctls.NamespaceSysctls, "write"),
    (syscalls, "mount"),
    (syscalls, "unmount"),
):
    setattr(_owner, _name, _then(getattr(_owner, _name)))
