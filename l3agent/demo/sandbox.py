# SPDX-License-Identifier: Apache-2.0
"""A sandbox: pid, network and mount namespaces, and a user namespace if the caller lacks privilege.

Needs neither root nor a system package and leaves nothing behind: ``/run`` of the sandbox is its own tmpfs, and its
first process ends with the process that created the sandbox, even by ``SIGKILL``. ``l3-agentctl demo`` runs in one.
Source: namespaces(7), pid_namespaces(7), user_namespaces(7), rtnetlink(7). ``os.unshare`` exists since Python 3.12.
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
_NEW_NAMESPACES = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET
# linux/mount.h
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_SHARED = 0x1000, 0x4000, 0x40000, 0x100000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h
# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h
_RTM_NEWLINK, _RTM_DELLINK = 16, 17
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1

#: Seconds between SIGTERM and SIGKILL for the body after an interrupt.
_GRACE_S = 5.0
#: Sysctls that forbid user namespaces: name, forbidding value, permitting value.
_SYSCTLS = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
)

_libc = ctypes.CDLL(None, use_errno=True)


def run(body: Callable[[str], int]) -> int:
    """Run ``body`` as root in a sandbox and return its exit status.

    The calling process must have one thread. It stays in the user, network and mount namespaces of the sandbox, so this
    must be its last action. An interrupt (Ctrl-C) ends all processes of the sandbox, with status 130 unless the body
    waits for it.

    :param body: called with the ``nsenter`` command that enters the sandbox from outside.
    :raises PermissionMissing: the machine forbids such namespaces, or a veth pair inside them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    user = _unshare()
    alive, error_pipe = os.pipe(), os.pipe()
    init = os.fork()
    if init == 0:
        os.close(alive[1])
        os.close(error_pipe[0])
        _run_init(body, user, alive[0], error_pipe[1])
    os.close(alive[0])
    os.close(error_pipe[1])
    try:
        if reason := _read_all(error_pipe[0]):
            raise PermissionMissing(reason)
        return _exit_status(os.waitpid(init, 0)[1])
    except KeyboardInterrupt:
        return _terminate(init)
    finally:
        os.close(error_pipe[0])
        os.close(alive[1])


def wait_for_interrupt() -> None:
    """Wait, in the body, until the caller of :func:`run` is interrupted."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})


def enter(namespace: str) -> None:
    """Move the calling thread into the network namespace pinned at the path ``namespace``.

    :raises OSError: there is no namespace, or the process may not enter it.
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


def _unshare() -> str:
    """Create and enter the namespaces, without privilege together with a user namespace where this user is root.

    :returns: the options by which ``nsenter`` enters the user namespace.
    """
    try:
        try:
            _call("unshare", _NEW_NAMESPACES)
            return ""
        except PermissionError:
            uid, gid = os.geteuid(), os.getegid()
            _call("unshare", _NEW_NAMESPACES | CLONE_NEWUSER)
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"0 {uid} 1")
            _write("/proc/self/gid_map", f"0 {gid} 1")
            return "-U --preserve-credentials "
    except OSError as exc:
        raise PermissionMissing(_format_error(exc)) from exc


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, path) from exc


def _run_init(body: Callable[[str], int], user: str, alive: int, error_pipe: int) -> NoReturn:
    """Run as process 1: configure the namespaces, start the body, and reap children until the body ends."""
    os.setsid()  # Ctrl-C reaches the caller only, which passes it on once
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if select.select([alive], [], [], 0)[0]:
        os._exit(1)  # the caller died before prctl was called
    # /proc is still mounted for the pid namespace of the machine.
    enter_command = f"nsenter -t {os.readlink('/proc/self')} {user}-n -m -p"
    try:
        _configure_namespaces()
    except OSError as exc:
        os.write(error_pipe, _format_error(exc).encode())
        os._exit(77)
    os.close(error_pipe)
    main = os.fork()
    if main == 0:
        _run_body(body, enter_command)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(main, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == main:
            os._exit(_exit_status(status))


def _run_body(body: Callable[[str], int], enter_command: str) -> NoReturn:
    status = 70  # EX_SOFTWARE
    try:
        status = body(enter_command)
    except BrokenPipeError:  # the reader of the output has closed it
        status = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _configure_namespaces() -> None:
    """Mount the file systems of the sandbox, set ``lo`` up, and check that a veth pair can be created."""
    _call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    _call("mount", b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, None)
    _call("mount", b"tmpfs", b"/run", b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=755")
    os.mkdir("/run/netns")
    # As ip-netns(8) does.
    _call("mount", b"/run/netns", b"/run/netns", None, _MS_BIND, None)
    _call("mount", None, b"/run/netns", None, _MS_SHARED, None)
    _set_up(b"lo")
    _check_veth()


def _set_up(device: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", device, 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", device, flags | _IFF_UP))


def _check_veth() -> None:
    """Create a veth pair and delete it: some machines permit the namespace, but no device in it."""
    name = _attribute(_IFLA_IFNAME, b"l3agent-trial\0")
    kind = _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, b"veth"))
    _link_request(_RTM_NEWLINK, _NLM_F_CREATE | _NLM_F_EXCL, name + kind)
    _link_request(_RTM_DELLINK, 0, name)


def _link_request(message: int, flags: int, attributes: bytes) -> None:
    """Send one rtnetlink request for a link and read its acknowledgement."""
    body = bytes(16) + attributes
    header = struct.pack("=IHHII", 16 + len(body), message, flags | _NLM_F_REQUEST | _NLM_F_ACK, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
            route.settimeout(5)
            route.send(header + body)
            error = -struct.unpack_from("=i", route.recv(65536), 16)[0]
    except OSError as exc:
        raise OSError(exc.errno or errno.EIO, exc.strerror or str(exc), "veth") from exc
    if error:
        raise OSError(error, os.strerror(error), "veth")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _format_error(exc: OSError) -> str:
    """Return one line with the error and how an operator can permit the sandbox."""
    cause = f"cannot create network namespaces here ({exc.filename}: {exc.strerror})"
    if exc.errno == errno.EOPNOTSUPP:
        return f"{cause}; the kernel lacks veth devices: run `modprobe veth` as root"
    for name, forbidding, permitting in _SYSCTLS:
        if _sysctl(name) == forbidding:
            return f"{cause}; run it as root, or permit it for users: `sysctl -w {name}={permitting}`"
    if os.geteuid() == 0 and exc.errno == errno.EPERM:
        return f"{cause}; this container lacks privilege: start it with CAP_SYS_ADMIN and CAP_NET_ADMIN"
    return f"{cause}; run it as root, or permit user namespaces (kernel.unprivileged_userns_clone=1)"


def _sysctl(name: str) -> str | None:
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return None


def _terminate(init: int) -> int:
    """Terminate the body by SIGTERM; kill the sandbox if the body does not end in time."""
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
