# SPDX-License-Identifier: Apache-2.0
"""Programs as values, and the difference between a desired program and a running one. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum

from l3agent.model.states import Key

#: In arguments: the directory of the program.
DIRECTORY = "{directory}"
#: Characters of a name, so that it is one component of a path and cannot be the record or another directory.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Difference(Enum):
    """Operation that makes a running program the desired one."""

    NOTHING = "nothing"
    START = "start"
    RELOAD = "reload"
    RESTART = "restart"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class StopSequence:
    """The signal that ends a program, and the seconds until SIGKILL."""

    number: int = signal.SIGTERM
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class ReadinessCheck:
    """Conditions that a process fulfils when it is ready; all processes must also handle their reload signal.

    :param socket: path of a unix stream socket that accepts connections; relative to the directory, or absolute.
    :param pid_file: True if the first pid file must name the process.
    :param seconds: time limit; a program that is not ready by then is stopped and started again.
    """

    socket: str | None = None
    pid_file: bool = False
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Program:
    """A program that runs in the foreground: the started process is the program, and its end is that of the program.

    :param name: such as ``haproxy``; unique for its owner.
    :param owner: key of the state that it serves, None for a program of the node.
    :param argv: the first is an absolute path or a name; ``{directory}`` stands for the directory of the program. An
        argument must have it: that argument identifies the processes of the program.
    :param namespace: name of its network namespace, None for that of the data plane.
    :param files: content by name, in the directory of the program.
    :param user: name of its user, None for root.
    :param reload: signal after which it reads its files again; None if it cannot: a change of files restarts it.
    :param pid_files: names of the files in its directory that it writes its process ids to. A stale one is removed
        before a start: keepalived 2.2.7 exits with status 0 if it names any live process.
    :raises ValueError: a name is no component of a path, or no argument has the directory.
    """

    name: str
    owner: Key | None
    argv: tuple[str, ...]
    namespace: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    reload: int | None = None
    stop: StopSequence = StopSequence()
    ready: ReadinessCheck = ReadinessCheck()
    pid_files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, *(self.owner or ()), *self.files, *self.pid_files):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a program, an owner or a file")
        if not any(DIRECTORY in argument for argument in self.argv[1:]):
            raise ValueError(f"no argument of {self.name} has {DIRECTORY}")
        if self.ready.pid_file and not self.pid_files:
            raise ValueError(f"{self.name} has no pid file")

    @property
    def label(self) -> str:
        """Name and owner, unique on the node; the name of its directory."""
        return label(self.name, self.owner)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests of a program.

    :param process: of all that a process has for its lifetime.
    :param files: of the files.
    :param can_reload: True if the process reads changed files after a signal.
    """

    process: str
    files: str
    can_reload: bool


def label(name: str, owner: Key | None) -> str:
    """Return the label of a program. Names have no ``@``, kinds of owners no ``-``."""
    return name if owner is None else f"{name}@{owner[0]}-{owner[1]}"


def arguments(program: Program, directory: str) -> list[str]:
    """Return the arguments of a program whose files are in a directory."""
    return [argument.replace(DIRECTORY, directory) for argument in program.argv]


def marker(program: Program, directory: str) -> str:
    """Return the argument that identifies the processes of a program: its first one with the directory."""
    first = next(argument for argument in program.argv[1:] if DIRECTORY in argument)
    return first.replace(DIRECTORY, directory)


def fingerprint(program: Program) -> Fingerprint:
    """Return the digests of a program. How it is stopped and checked is in neither: a change affects no process."""
    process = [program.argv, program.namespace, program.user, program.reload, program.pid_files]
    return Fingerprint(_digest(process), _digest(sorted(program.files.items())), program.reload is not None)


def difference(desired: Program | None, observed: Fingerprint | None) -> Difference:
    """Return the operation that makes a running program the desired one.

    :param desired: None if it should not run.
    :param observed: digests of what the process was started with and has reloaded since; None if none runs.
    """
    if desired is None:
        return Difference.NOTHING if observed is None else Difference.STOP
    if observed is None:
        return Difference.START
    wanted = fingerprint(desired)
    if wanted.process != observed.process:
        return Difference.RESTART
    if wanted.files != observed.files:
        return Difference.RELOAD if observed.can_reload else Difference.RESTART
    return Difference.NOTHING


def to_json(program: Program) -> dict[str, object]:
    """Return a program without the contents of its files, for its record."""
    # Without its mapping, which asdict() would copy.
    return {**asdict(replace(program, files={})), "files": sorted(program.files)}


def from_json(value: Mapping[str, object], files: Mapping[str, str]) -> Program:
    """Return the program of a record.

    :raises KeyError, TypeError, ValueError: the record is invalid.
    """
    fields = dict(value)
    owner, stop, ready = fields["owner"], fields["stop"], fields["ready"]
    fields |= {
        "owner": None if owner is None else tuple(owner),  # type: ignore[arg-type]
        "argv": tuple(fields["argv"]),  # type: ignore[arg-type]
        "pid_files": tuple(fields["pid_files"]),  # type: ignore[arg-type]
        "stop": StopSequence(**stop),  # type: ignore[arg-type]
        "ready": ReadinessCheck(**ready),  # type: ignore[arg-type]
        "files": files,
    }
    return Program(**fields)  # type: ignore[arg-type]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
