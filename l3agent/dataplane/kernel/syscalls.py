# SPDX-License-Identifier: Apache-2.0
"""System calls without a function in Python 3.11.

Source: setns(2), unshare(2), mount(2), umount2(2), prctl(2), capset(2), sendmmsg(2), packet(7); for fsopen and its kin
the kernel's Documentation/filesystems/mount_api.rst, linux/mount.h and asm-generic/unistd.h (one number on all
architectures).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
from collections.abc import Sequence
from struct import pack, unpack_from

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_SHARED = 0x1000, 0x4000, 1 << 20
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6
_SIOCGIFINDEX, _SIOCETHTOOL = 0x8933, 0x8946
#: linux/ethtool.h
_ETHTOOL_GTXCSUM, _ETHTOOL_STXCSUM = 0x16, 0x17
_IN_DELETE, _IN_MOVED_FROM, IN_Q_OVERFLOW = 0x200, 0x40, 0x4000
_NO_ID = 0xFFFFFFFF
_PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 4, 24
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
#: IPT_SO_GET_INFO and IP6T_SO_GET_INFO (IPT_BASE_CTL), and the size of their result.
_X_TABLES_GET_INFO, _X_TABLES_INFO = 64, 84


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def setns(fd: int) -> None:
    """Move the calling thread into the network namespace of a descriptor."""
    _check(_libc.setns(fd, CLONE_NEWNET), "setns")


def unshare_net() -> None:
    """Move the calling thread into a new network namespace."""
    _check(_libc.unshare(CLONE_NEWNET), "unshare")


def mount(source: str, target: str, flags: int) -> None:
    """Mount without a file system type, as for bind mounts and changes of propagation."""
    _check(_libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None), f"mount {target}")


def mount_proc() -> int:
    """Mount a proc file system outside of all directories; return its root. Closing the root unmounts it."""
    context = _libc.syscall(_SYS_FSOPEN, b"proc", _FSOPEN_CLOEXEC)
    _check(context, "fsopen proc")
    try:
        _check(_libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig proc")
        root: int = _libc.syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
        _check(root, "fsmount proc")
    finally:
        os.close(context)
    return root


def unmount(target: str) -> None:
    """Detach a mount now; the kernel unmounts it after its last use. A symbolic link is not followed."""
    _check(_libc.umount2(target.encode(), _MNT_DETACH | _UMOUNT_NOFOLLOW), f"unmount {target}")


def watch_removals(folder: str) -> int:
    """Return a descriptor that reports names removed from a folder (inotify(7)); reading it never blocks."""
    watch: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    _check(watch, "inotify_init1")
    _check(_libc.inotify_add_watch(watch, folder.encode(), _IN_DELETE | _IN_MOVED_FROM), f"inotify {folder}")
    return watch


class _Part(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _MessageHeader(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("name_length", ctypes.c_uint),
        ("parts", ctypes.POINTER(_Part)),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _CountedMessage(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("message", _MessageHeader), ("sent", ctypes.c_uint))


def send_frames(packet: socket.socket, device: str, frames: Sequence[bytes]) -> None:
    """Send Ethernet frames through a device, all in one system call.

    :param packet: a packet socket of the namespace of the device.
    :raises OSError: no such device there, or it is down.
    """
    answer = fcntl.ioctl(packet, _SIOCGIFINDEX, pack("=16s24x", device.encode()))
    (index,) = unpack_from("=i", answer, 16)
    # struct sockaddr_ll: the protocol is read off the frames.
    address = pack("=HHiHBB8x", socket.AF_PACKET, 0, index, 0, 0, 0)
    parts = (_Part * len(frames))(*(_Part(frame, len(frame)) for frame in frames))
    messages = (_CountedMessage * len(frames))()
    for message, part in zip(messages, parts, strict=True):
        message.message = _MessageHeader(address, len(address), ctypes.pointer(part), 1, None, 0, 0)
    _check(_libc.sendmmsg(packet.fileno(), messages, len(frames), 0), f"sendmmsg through {device}")


def has_tx_checksums(device: str) -> bool:
    """Return True if a device of the namespace of the calling thread leaves checksums to hardware, see ethtool(8).

    :raises OSError: no such device.
    """
    return _tx_checksums(device, _ETHTOOL_GTXCSUM, 0)


def disable_tx_checksums(devices: Sequence[str]) -> None:
    """Make the kernel complete the checksums of packets that devices of the calling thread's namespace send.

    :raises OSError: one does not exist.
    """
    for device in devices:
        _tx_checksums(device, _ETHTOOL_STXCSUM, 0)


def _tx_checksums(device: str, command: int, value: int) -> bool:
    # struct ethtool_value, and struct ifreq with a pointer to it.
    data = ctypes.create_string_buffer(pack("=II", command, value), 8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        fcntl.ioctl(sock, _SIOCETHTOOL, pack("@16sP16x", device.encode(), ctypes.addressof(data)))
    return bool(unpack_from("=I", data, 4)[0])


def x_tables_rules(table: str, family: int, level: int) -> bool:
    """Return True if a table of legacy iptables has rules in the namespace of the calling thread.

    :param family: AF_INET or AF_INET6.
    :param level: of socket options, SOL_IP or SOL_IPV6.
    """
    # struct ipt_getinfo: name, mask of hooks, places of their chains (2 x 5), number of entries, size.
    info = ctypes.create_string_buffer(table.encode(), _X_TABLES_INFO)
    size = ctypes.c_uint(_X_TABLES_INFO)
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as sock:
        code = _libc.getsockopt(sock.fileno(), level, _X_TABLES_GET_INFO, info, ctypes.byref(size))
        _check(code, f"iptables-legacy -t {table}")
    (hooks,) = unpack_from("=I", info, 32)
    (entries,) = unpack_from("=I", info, 76)
    # An empty table has the policy of each chain and the entry that ends it.
    return bool(entries > hooks.bit_count() + 1)


def set_file_ids(user: int, group: int) -> None:
    """Set user and group of the calling thread for access to files (setfsuid(2), setfsgid(2)).

    :raises OSError: this user namespace has no such user or group.
    """
    # They report nothing; called with an id that does not exist, they return the one in use.
    for change, wanted in ((_libc.setfsgid, group), (_libc.setfsuid, user)):
        change(ctypes.c_uint(wanted))
        if change(ctypes.c_uint(_NO_ID)) != wanted:
            raise OSError(errno.EINVAL, f"no user {user} or group {group} in this user namespace")


def allow_core() -> None:
    """Allow a core dump of this process when it crashes, within limits and settings."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(1), 0, 0, 0), "prctl PR_SET_DUMPABLE")


def keep_capabilities(kept: frozenset[int]) -> None:
    """Drop every other capability, for this process and its children."""
    for number in range(_LAST_CAPABILITY + 1):
        if number not in kept:
            # EINVAL: the kernel has no capability of that number. EPERM: already without the right to drop.
            _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0)
    low = sum(1 << number for number in kept if number < 32)
    header = pack("=II", _CAPABILITY_VERSION_3, 0)
    data = pack("=IIIIII", low, low, 0, 0, 0, 0)
    _check(_libc.capset(header, data), "capset")
