# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.support.without_netlink COMMAND...``: run a command to which the kernel refuses netlink.

Some containers do the same: namespaces can be made there, and then nothing in them. Source: seccomp(2), linux/filter.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ARCHITECTURE, _SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}[platform.machine()]
_AF_NETLINK = 16
_ALLOW, _EPERM = 0x7FFF0000, 0x00050001
_PROGRAM = (
    (_LOAD, 0, 0, 4),  # the architecture
    (_JUMP_IF_EQUAL, 0, 5, _ARCHITECTURE),
    (_LOAD, 0, 0, 0),  # the number of the call
    (_JUMP_IF_EQUAL, 0, 3, _SOCKET),
    (_LOAD, 0, 0, 16),  # its first argument
    (_JUMP_IF_EQUAL, 0, 1, _AF_NETLINK),
    (_RETURN, 0, 0, _EPERM),
    (_RETURN, 0, 0, _ALLOW),
)
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2


def main() -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _PROGRAM)
    instructions = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(_PROGRAM), ctypes.addressof(instructions)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0):
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
