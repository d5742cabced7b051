# SPDX-License-Identifier: Apache-2.0
"""``checksums.py DEVICE [0|1]``: set or print tx-checksumming of a device, as ethtool(8) does."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import sys
from struct import pack, unpack_from

#: linux/sockios.h, linux/ethtool.h (ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM).
_SIOCETHTOOL, _GET, _SET = 0x8946, 0x16, 0x17


def main(device: str, value: str = "") -> None:
    """Set the value, or print it."""
    data = ctypes.create_string_buffer(pack("=II", _SET if value else _GET, int(value or 0)), 8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCETHTOOL, pack("@16sP16x", device.encode(), ctypes.addressof(data)))
    if not value:
        print(unpack_from("=I", data, 4)[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
