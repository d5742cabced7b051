# SPDX-License-Identifier: Apache-2.0
"""The directory of a program and the start of its process: files, record, output, namespace."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from l3agent.dataplane.programs.files import ProgramFiles
from l3agent.dataplane.programs.output import ProgramOutput
from l3agent.dataplane.programs.process import NamespaceId, Process, ProcessFacts, identity
from l3agent.dataplane.programs.process_group import DescriptorWatch
from l3agent.dataplane.programs.program import Fingerprint, Program, arguments, fingerprint
from l3agent.dataplane.programs.record import OUTPUT, ProgramRecord, mark_stopping, unmark_stopping, write_record
from l3agent.dataplane.programs.spawn import Spawner
from l3agent.exceptions import ProgramError

LOG = logging.getLogger(__name__)


class Installation:
    """The directory of one program.

    :param open_namespace: returns a descriptor of a named network namespace, None if there is none.
    :ivar namespace: identity of the namespace of the process, None before the first start.
    """

    def __init__(
        self,
        files: ProgramFiles,
        label: str,
        spawner: Spawner,
        open_namespace: Callable[[str], int | None],
        watch: DescriptorWatch,
    ) -> None:
        self.files = files
        self.namespace: NamespaceId | None = None
        self._label = label
        self._spawner = spawner
        self._open_namespace = open_namespace
        self._watch = watch
        self._output: ProgramOutput | None = None

    def prepare(self, program: Program) -> NamespaceId:
        """Write the files of a program and mark it as desired; return the identity of its namespace.

        :raises ProgramError: there is no such namespace.
        :raises OSError: the files cannot be written; each has its former content.
        """
        with self._opened_namespace(program) as descriptor:
            self._write(program)
            unmark_stopping(self.files)
            return self._identify(descriptor)

    def start(self, program: Program, inherited: Mapping[str, int]) -> tuple[Process, list[str]]:
        """Start a program; return its process and arguments.

        :param inherited: descriptors that it inherits, by environment variable.
        :raises ProgramError: it cannot be started.
        :raises OSError: a file cannot be written.
        """
        self._write(program)
        socket = program.ready.socket
        self.files.unlink(*program.pid_files, *([] if socket is None or "/" in socket else [socket]))
        argv = arguments(program, self.files.path)
        self._open_output()
        with self._opened_namespace(program) as descriptor:
            self.namespace = self._identify(descriptor)
            write_record(self.files, ProgramRecord(program, fingerprint(program), self.namespace))
            # Opened once more: a program that makes its own output blocking leaves our end alone.
            output = self.files.open_pipe(OUTPUT)
            try:
                process = self._spawner.spawn(argv, descriptor, program.user, output, inherited)
            finally:
                os.close(output)
        self.record(program, fingerprint(program), process.facts)
        LOG.info("%s: started as process %d", self._label, process.pid)
        return process, argv

    def record(self, program: Program, applied: Fingerprint, facts: ProcessFacts) -> None:
        """Write the record of a process, or log why not.

        From the former record, the next data plane finds the process by its arguments, or reloads it once more.
        """
        assert self.namespace is not None
        try:
            write_record(self.files, ProgramRecord(program, applied, self.namespace, facts.pid, facts.start))
        except OSError as exc:
            LOG.warning("%s: the record cannot be written: %s", self._label, exc)

    def mark_stopping(self) -> None:
        """Mark the program as to be stopped; one without a directory needs no mark."""
        try:
            mark_stopping(self.files)
        except FileNotFoundError:
            pass
        except OSError as exc:
            LOG.warning("%s: a stop that a crash interrupts is not continued: %s", self._label, exc)

    def reopen_output(self) -> None:
        """Read the output of an adopted process."""
        try:
            self._open_output()
        except OSError as exc:
            LOG.warning("%s: its output is not read: %s", self._label, exc)

    def flush_output(self) -> None:
        """Log the rest of the output of an ended process."""
        if self._output is not None:
            self._output.read()
            self._output.flush()

    def close(self) -> None:
        """Read the output no more."""
        if self._output is not None:
            self._watch.remove(self._output.descriptor)
            self._output.close()
            self._output = None

    def remove(self) -> None:
        """Remove the directory."""
        self.close()
        try:
            self.files.remove()
        except OSError as exc:
            LOG.warning("%s: %s", self._label, exc)

    # ---- private ---------------------------------------------------------------------------------------------

    def _write(self, program: Program) -> None:
        is_public = program.user is not None
        self.files.create(is_public=is_public)
        self.files.write(program.files, is_public=is_public)

    @contextmanager
    def _opened_namespace(self, program: Program) -> Iterator[int | None]:
        """Yield a descriptor of the namespace of a program, None for that of the data plane."""
        if program.namespace is None:
            yield None
            return
        descriptor = self._open_namespace(program.namespace)
        if descriptor is None:
            raise ProgramError(f"there is no network namespace {program.namespace}")
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _identify(self, descriptor: int | None) -> NamespaceId:
        return self._spawner.home if descriptor is None else identity(os.fstat(descriptor))

    def _open_output(self) -> None:
        if self._output is None:
            self._output = ProgramOutput(self.files.open_pipe(OUTPUT), self._label, self.files.path)
            self._watch.add(self._output.descriptor, self._output.read)
