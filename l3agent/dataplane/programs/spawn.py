# SPDX-License-Identifier: Apache-2.0
"""Start of programs: in a network namespace, with a session of their own, and without descriptors of the data plane."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from l3agent.dataplane.kernel.netns import enter, own_namespace
from l3agent.dataplane.programs.process import Process, identity, open_process
from l3agent.exceptions import ProgramError

#: The data plane's own environment stays its own: NOTIFY_SOCKET would make a program report in its name.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LANG": "C.UTF-8"}
#: Debian packages of programs whose package has another name.
_PACKAGES: Mapping[str, str] = {}


class Spawner:
    """Starts programs. Used by one thread, which is in the foreign namespace during a start.

    :ivar home: identity of the namespace of the data plane.
    """

    def __init__(self) -> None:
        self._home = own_namespace()
        self.home = identity(os.fstat(self._home))

    def close(self) -> None:
        """Close the descriptor of the namespace."""
        os.close(self._home)

    def spawn(
        self, argv: Sequence[str], namespace: int | None, user: str | None, output: int, descriptors: Mapping[str, int]
    ) -> Process:
        """Start a program and return its process.

        :param namespace: descriptor of its network namespace, None for that of the data plane.
        :param user: name of the user to run it, with the groups of that user; needs CAP_SETUID and CAP_SETGID.
        :param output: descriptor for standard output and error.
        :param descriptors: descriptors that it inherits, by the environment variable that has their number.
        :raises ProgramError: it is not installed, there is no such user, or it cannot be executed.
        """
        executable = find_executable(argv[0])
        inherited = {name: str(number) for name, number in descriptors.items()}
        number, group, others = (None, None, None) if user is None else _ids(user)
        with nullcontext() if namespace is None else enter(self._home, namespace):
            try:
                child = subprocess.Popen(
                    argv,
                    executable=executable,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=tuple(descriptors.values()),
                    start_new_session=True,
                    cwd="/",
                    env={**_ENVIRONMENT, **inherited},
                    user=number,
                    group=group,
                    extra_groups=others,
                )
            except (OSError, subprocess.SubprocessError) as exc:
                raise ProgramError(f"{executable} cannot be executed: {exc}") from exc
        # A child keeps its id until it is reaped. The supervisor reaps it, so that the destructor must not.
        pid, child.returncode = child.pid, 0
        process = open_process(pid)
        if process is None:
            # It has ended, or there is no descriptor left for its pidfd.
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            raise ProgramError(f"{argv[0]} ended at once with status {os.waitstatus_to_exitcode(status)}")
        return process


def find_executable(name: str) -> str:
    """Return the path of a program.

    :raises ProgramError: it is not installed; the message has the Debian package.
    """
    found = shutil.which(name, path=_PATH)
    if found is None:
        program = os.path.basename(name)
        raise ProgramError(f"{name} is not installed (Debian package: {_PACKAGES.get(program, program)})")
    return found


def user_ids(user: str | None) -> tuple[int, int]:
    """Return user and group id of a user, those of the process for None.

    :raises ProgramError: there is no such user.
    """
    if user is None:
        return os.geteuid(), os.getegid()
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise ProgramError(f"there is no user {user}") from None
    return found.pw_uid, found.pw_gid


def _ids(user: str) -> tuple[int, int, list[int]]:
    number, group = user_ids(user)
    others = [entry.gr_gid for entry in grp.getgrall() if user in entry.gr_mem]
    return number, group, others
