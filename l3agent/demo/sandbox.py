# SPDX-License-Identifier: Apache-2.0
"""A machine of one's own: pid, network and mount namespaces (and a user namespace where needed) that vanish together.

Needs no root, no system package and leaves nothing behind: ``/run`` inside is a tmpfs of its own, and the first process
dies with the one that asked for the sandbox, by ``SIGKILL`` too. ``l3-agentctl demo`` lives in one.
Source: namespaces(7), pid_namespaces(7), user_namespaces(7), rtnetlink(7). ``os.unshare`` came with Python 3.12 only.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from l3agent.exceptions import PermissionMissing

# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_ALONE = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET
# linux/mount.h
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_SHARED = 0x1000, 0x4000, 0x40000, 0x100000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h
# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h
_RTM_NEWLINK, _RTM_DELLINK = 16, 17
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1

#: Seconds the body has to end by itself after an interrupt.
_GRACE_S = 5.0
#: What forbids user namespaces: the file, the value that forbids, the value that allows.
_SWITCHES = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
)

_libc = ctypes.CDLL(None, use_errno=True)


def run(body: Callable[[str], int]) -> int:
    """Run ``body`` as root in a sandbox and return its exit status.

    The calling process must have one thread. It ends up in the sandbox's user, network and mount namespaces itself, so
    this is the last thing it does. An interrupt (Ctrl-C) ends it all with status 130, unless the body waits for it.

    :param body: gets the ``nsenter`` command that leads into the sandbox from outside.
    :raises PermissionMissing: the machine allows no such namespaces, or no veth pair inside them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    user = _leave()
    alive, refusal = os.pipe(), os.pipe()
    init = os.fork()
    if init == 0:
        os.close(alive[1])
        os.close(refusal[0])
        _first_process(body, user, alive[0], refusal[1])
    os.close(alive[0])
    os.close(refusal[1])
    try:
        if reason := _read_all(refusal[0]):
            raise PermissionMissing(reason)
        return _exit_status(os.waitpid(init, 0)[1])
    except KeyboardInterrupt:
        return _interrupt(init)
    finally:
        os.close(refusal[0])
        os.close(alive[1])


def wait_for_interrupt() -> None:
    """Wait, in the body, until the caller of :func:`run` is interrupted."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})


def enter(namespace: str) -> None:
    """Move the calling thread into the network namespace pinned at the path ``namespace``.

    :raises OSError: there is none, or it may not be entered.
    """
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", descriptor, CLONE_NEWNET)
    finally:
        os.close(descriptor)


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), function)


def _leave() -> str:
    """Leave the machine: with the privilege at hand, else in a user namespace where this user is root.

    :returns: what ``nsenter`` needs to do the same.
    """
    try:
        try:
            _call("unshare", _ALONE)
            return ""
        except PermissionError:
            uid, gid = os.geteuid(), os.getegid()
            _call("unshare", _ALONE | CLONE_NEWUSER)
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"0 {uid} 1")
            _write("/proc/self/gid_map", f"0 {gid} 1")
            return "-U --preserve-credentials "
    except OSError as exc:
        raise PermissionMissing(_refusal(exc)) from exc


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, path) from exc


def _first_process(body: Callable[[str], int], user: str, alive: int, refusal: int) -> NoReturn:
    """Be process 1: prepare the place, start the body, bury the dead; all ends when this ends."""
    os.setsid()  # Ctrl-C reaches the caller alone, who passes it on once
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if select.select([alive], [], [], 0)[0]:
        os._exit(1)  # the caller died before it could be noticed
    entrance = f"nsenter -t {os.readlink('/proc/self')} {user}-n -m -p"  # the machine's /proc still, and its pid
    try:
        _furnish()
    except OSError as exc:
        os.write(refusal, _refusal(exc).encode())
        os._exit(77)
    os.close(refusal)
    main = os.fork()
    if main == 0:
        _body_process(body, entrance)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(main, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == main:
            os._exit(_exit_status(status))


def _body_process(body: Callable[[str], int], entrance: str) -> NoReturn:
    status = 70  # EX_SOFTWARE
    try:
        status = body(entrance)
    except BrokenPipeError:  # whoever read the output has seen enough
        status = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _furnish() -> None:
    """Mount what belongs to these namespaces alone, bring ``lo`` up, and prove that a veth pair can be made."""
    _call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    _call("mount", b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, None)
    _call("mount", b"tmpfs", b"/run", b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=755")
    os.mkdir("/run/netns")
    # As ip-netns(8) leaves it.
    _call("mount", b"/run/netns", b"/run/netns", None, _MS_BIND, None)
    _call("mount", None, b"/run/netns", None, _MS_SHARED, None)
    _set_up(b"lo")
    _try_veth()


def _set_up(device: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", device, 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", device, flags | _IFF_UP))


def _try_veth() -> None:
    """Make a veth pair and remove it: some machines allow the namespace and then nothing inside it."""
    name = _attribute(_IFLA_IFNAME, b"l3agent-trial\0")
    kind = _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, b"veth"))
    _link_request(_RTM_NEWLINK, _NLM_F_CREATE | _NLM_F_EXCL, name + kind)
    _link_request(_RTM_DELLINK, 0, name)


def _link_request(message: int, flags: int, attributes: bytes) -> None:
    """Send one rtnetlink request about a link and read the kernel's verdict."""
    body = bytes(16) + attributes
    header = struct.pack("=IHHII", 16 + len(body), message, flags | _NLM_F_REQUEST | _NLM_F_ACK, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
            route.settimeout(5)
            route.send(header + body)
            verdict = -struct.unpack_from("=i", route.recv(65536), 16)[0]
    except OSError as exc:
        raise OSError(exc.errno or errno.EIO, exc.strerror or str(exc), "veth") from exc
    if verdict:
        raise OSError(verdict, os.strerror(verdict), "veth")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _refusal(exc: OSError) -> str:
    """Say in one line what was refused and what an operator can do about it."""
    what = f"cannot make network namespaces here ({exc.filename}: {exc.strerror})"
    if exc.errno == errno.EOPNOTSUPP:
        return f"{what}; the kernel lacks veth devices: run `modprobe veth` as root"
    for name, forbidden, allowed in _SWITCHES:
        if _sysctl(name) == forbidden:
            return f"{what}; run it as root, or allow it to users: `sysctl -w {name}={allowed}`"
    if os.geteuid() == 0 and exc.errno == errno.EPERM:
        return f"{what}; this container lacks privilege: start it with CAP_SYS_ADMIN and CAP_NET_ADMIN"
    return f"{what}; run it as root, or where user namespaces are allowed (kernel.unprivileged_userns_clone=1)"


def _sysctl(name: str) -> str | None:
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return None


def _interrupt(init: int) -> int:
    """Ask the body to end, and end everything when it does not."""
    os.kill(init, signal.SIGTERM)
    descriptor = os.pidfd_open(init)
    try:
        if not select.select([descriptor], [], [], _GRACE_S)[0]:
            os.kill(init, signal.SIGKILL)
    finally:
        os.close(descriptor)
    status = _exit_status(os.waitpid(init, 0)[1])
    return 130 if status in (128 + signal.SIGTERM, 128 + signal.SIGKILL) else status


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _read_all(descriptor: int) -> str:
    parts = []
    while part := os.read(descriptor, 4096):
        parts.append(part)
    return b"".join(parts).decode()
