# SPDX-License-Identifier: Apache-2.0
"""``l3-metadata``: accepts the metadata connections of all routers. The data plane starts it; see l3agent/metadata."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys

from l3agent import __version__
from l3agent.metadata.control import Control
from l3agent.metadata.event_loop import EventLoop

EX_USAGE = 64
_USAGE = "usage: l3-metadata --control-fd NUMBER | --version"


def main(argv: list[str] | None = None) -> int:
    """Serve the parent at the other end of a socketpair until it ends; return the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments == ["--version"]:
        os.write(1, f"{__version__}\n".encode())
        return 0
    control = _inherited_socket(arguments)
    if control is None:
        os.write(2, f"l3-metadata: {_USAGE}; NUMBER is a socket of type SOCK_SEQPACKET\n".encode())
        return EX_USAGE
    # No traceback for Ctrl-C in a terminal, which reaches the process group.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    loop = EventLoop()
    served = Control(control, loop)
    served.start()
    gc.collect()
    gc.freeze()
    loop.run(served.on_tick)
    return 0


def _inherited_socket(arguments: list[str]) -> socket.socket | None:
    if len(arguments) != 2 or arguments[0] != "--control-fd" or not arguments[1].isdecimal():
        return None
    try:
        control = socket.socket(fileno=int(arguments[1]))
    except (OSError, OverflowError):
        return None
    is_control = control.family == socket.AF_UNIX and control.type == socket.SOCK_SEQPACKET
    if is_control:
        control.set_inheritable(False)
    return control if is_control else None


if __name__ == "__main__":
    sys.exit(main())
