# SPDX-License-Identifier: Apache-2.0
"""Visibility of namespaces mounted below a directory outside of this mount namespace. Pure, except for two readers.

A namespace is a mount (ip-netns(8)). Programs in other mount namespaces, the host's among them, see it only where the
directory is a shared mount (mount_namespaces(7)): a container needs the host's directory mounted with propagation.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

#: Files by which container runtimes mark a container (podman, docker, systemd-nspawn and others).
_CONTAINER_MARKS = ("/run/.containerenv", "/.dockerenv", "/run/systemd/container")
#: Inode numbers of the initial namespaces (linux/proc_ns.h); a container has some of its own, whatever it shares.
_INITIAL = {"ipc": 0xEFFFFFFF, "uts": 0xEFFFFFFE, "pid": 0xEFFFFFFC, "cgroup": 0xEFFFFFFB}
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).

    :param is_shared: mounts made below it appear in the mount namespaces of its peer group.
    :param is_slave: it receives mounts of another mount namespace.
    """

    number: int
    point: str
    is_shared: bool
    is_slave: bool


def parse_mountinfo(text: str) -> dict[int, Mount]:
    """Return the mounts of a mountinfo file by their number."""
    mounts = [_parse_line(line) for line in text.splitlines() if line.count(" ") >= 6]
    return {mount.number: mount for mount in mounts}


def find_fault(mount: Mount, path: str, *, in_container: bool) -> str | None:
    """Return why namespaces mounted below ``path`` stay invisible outside, and what to change; None if they are seen.

    :param mount: the mount that ``path`` is on.
    :param path: the directory of namespaces, without symlinks.
    :param in_container: a directory that is no mount, or a private one, is then certainly not the host's.
    """
    is_exact = mount.point == path
    if is_exact and mount.is_shared:
        return None
    state = "is a private mount" if is_exact else "is no mount of its own"
    if in_container:
        return f"{path} {state} in this container: run it with `--volume {path}:{path}:shared`"
    if is_exact or (mount.is_slave and not mount.is_shared):
        return (
            f"{path} {state} in a mount namespace that propagates nothing to the host: programs outside do not see the "
            f"namespaces made here"
        )
    return None


def read_fault(path: str) -> tuple[str | None, bool]:
    """Return :func:`find_fault` for this process, and whether it runs in a container.

    :raises OSError: /proc is not mounted.
    """
    real = os.path.realpath(path)
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))
    in_container = is_container()
    return find_fault(mounts[_mount_number(real)], real, in_container=in_container), in_container


def _mount_number(path: str) -> int:
    """Return the number of the mount that a directory is on, or will be on once it is made."""
    nearest = next(one for one in (Path(path), *Path(path).parents) if one.exists())
    fd = os.open(nearest, os.O_PATH | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    finally:
        os.close(fd)
    return next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))


def is_container() -> bool:
    """Return True if a container runtime made this process's namespaces.

    The mark alone is not enough: images of virtual machines are made from those of containers.
    """
    if not any(map(os.path.exists, _CONTAINER_MARKS)):
        return False
    return any(os.stat(f"/proc/self/ns/{name}").st_ino != inode for name, inode in _INITIAL.items())


def _parse_line(line: str) -> Mount:
    fields = line.split(" ")
    optional = fields[6 : fields.index("-", 6)]
    point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
    return Mount(
        int(fields[0]),
        point,
        is_shared=any(one.startswith("shared:") for one in optional),
        is_slave=any(one.startswith("master:") for one in optional),
    )
