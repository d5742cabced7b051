# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from eventlet.patcher import original

from l3agent.dataplane.programs import process as process_module
from l3agent.dataplane.programs.process import Process, has_arguments, open_process
from l3agent.dataplane.programs.process_group import describe_end
from l3agent.dataplane.programs.spawn import Spawner, find_executable, user_ids
from l3agent.exceptions import ProgramError
from tests.support.waiting import poll


@pytest.fixture(autouse=True)
def real_select(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the module that eventlet patched for the tests; the data plane never imports eventlet."""
    monkeypatch.setattr(process_module, "select", original("select"))


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    spawner = Spawner()
    yield spawner
    spawner.close()


def run(spawner: Spawner, script: str, *arguments: str, **descriptors: int) -> tuple[str, int | None]:
    """Run a Python script to its end; return its output and status."""
    reader, writer = os.pipe()
    argv = [sys.executable, "-I", "-S", "-c", script, *arguments]
    process = spawner.spawn(argv, None, None, writer, descriptors)
    os.close(writer)
    with os.fdopen(reader) as output:
        text = output.read()
    poll(lambda: process.has_ended, 30)
    status = process.reap()
    process.close()
    return text, status


def test_a_program_inherits_the_given_descriptors_only(spawner: Spawner) -> None:
    reader, writer = os.pipe()
    other = os.dup(writer)
    os.set_inheritable(other, True)
    try:
        script = "import os; os.write(int(os.environ['FD']), b'here'); print(sorted(os.listdir('/proc/self/fd')))"
        text, status = run(spawner, script, FD=writer)
        assert os.read(reader, 10) == b"here" and status == 0
        # The last is that of the listing.
        assert len(eval(text)) == 5 and str(writer) in text and str(other) not in text
    finally:
        for descriptor in (reader, writer, other):
            os.close(descriptor)


def test_the_environment_is_not_that_of_the_data_plane(spawner: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    text, _ = run(spawner, "import os; print(*sorted(os.environ), os.getcwd(), os.getsid(0) == os.getpid())")
    assert text.split()[-2:] == ["/", "True"] and "NOTIFY_SOCKET" not in text and "PATH" in text


def test_what_cannot_be_started_is_named(spawner: Spawner, tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"l3-none is not installed \(Debian package: l3-none\)"):
        find_executable("l3-none")
    with pytest.raises(ProgramError, match="there is no user l3-none"):
        user_ids("l3-none")
    script = tmp_path / "script"
    script.write_text("#!/nonexistent/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(ProgramError, match="script cannot be executed"):
        spawner.spawn([str(script), "x"], None, None, 1, {})


def test_only_all_arguments_in_order_identify_a_process(spawner: Spawner) -> None:
    process = spawner.spawn(["sleep", "1000", "0", "1"], None, None, 1, {})
    try:
        assert has_arguments(process.pid, ["sleep", "1000", "0", "1"])
        assert has_arguments(process.pid, ["sleep", "1000", "0"]), "more behind"
        assert not has_arguments(process.pid, ["sleep", "1000", "1"])
        assert not has_arguments(process.pid, ["sleep", "0", "1000"])
    finally:
        process.send_signal(9)
        poll(lambda: process.has_ended, 30)
    assert open_process(process.pid) is None, "a zombie"
    assert describe_end(process.reap()) == "was ended by SIGKILL"
    process.send_signal(15)
    process.close()


def test_a_process_that_is_no_child_has_no_status() -> None:
    process = open_process(os.getppid())
    assert isinstance(process, Process) and process.reap() is None and not process.has_ended
    process.close()
    assert describe_end(None) == "ended" and describe_end(3) == "exited with status 3"
    assert describe_end(-63) == "was ended by signal 63"
