# SPDX-License-Identifier: Apache-2.0
"""A real systemd as process 1 of namespaces of its own, with the units of etc/systemd and nothing else but the journal.

It sees the machine's files, but its /run, /var/lib, /var/log and the folders of units are its own; so are its network,
its users (one more, ``neutron``) and its cgroup tree. It ends with the block that began it.
"""

from __future__ import annotations

import contextlib
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from l3agent.testing import wait_until
from tests.support.sandbox import children

ROOT = Path(__file__).parents[2]
_UNITS = ROOT / "etc" / "systemd"
#: What units depend on without saying so; those of the machine would set up the machine.
_STUBS = ("sysinit", "basic", "sockets", "timers", "paths", "network", "network-online", "shutdown", "multi-user")
_JOURNAL = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")
_BOOT = """
set -e
mount --make-rprivate /
units=$(mktemp -d); passwd=$(mktemp); group=$(mktemp)
for unit in {journal}; do cp /lib/systemd/system/$unit "$units/"; done
cp -r "{folder}/units/." "$units/"
(cat /etc/passwd; echo neutron:x:64999:64999::/var/lib/neutron:/usr/sbin/nologin) > "$passwd"
(cat /etc/group; echo neutron:x:64999:) > "$group"
chmod 644 "$passwd" "$group"
mount --bind "$passwd" /etc/passwd
mount --bind "$group" /etc/group
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/units /run/netns /run/l3agent
cp -r "$units/." /run/units/
rm -rf "$units"
mount --bind /run/units /lib/systemd/system
for folder in /etc/systemd/system /lib/systemd/system-generators /var/lib /var/log; do
    mount -t tmpfs -o mode=755 tmpfs $folder
done
{opened}
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\nReadKMsg=no\nAudit=no\n' > /run/systemd/journald.conf.d/test.conf
cp -r "{folder}/l3_agent.conf" "{folder}/topology.yaml" "{folder}/python" /run/l3agent/
umount -R /sys/fs/cgroup || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
export container=l3agent
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=0
"""
_STUB = "[Unit]\nDefaultDependencies=no\n"


class Systemd:
    """A running systemd; use it as a context manager.

    :param folder: with ``l3_agent.conf``, ``topology.yaml`` and ``python`` (more packages), found in /run/l3agent then.
    :param drop_ins: lines of group Service that go over those of a unit, by its name without the ending.
    """

    def __init__(self, folder: Path, drop_ins: Mapping[str, str]) -> None:
        self._folder = folder
        units = folder / "units"
        units.mkdir()
        for name in _STUBS:
            (units / f"{name}.target").write_text(_STUB)
        (units / "multi-user.target").write_text(f"{_STUB}Wants={' '.join(_JOURNAL)}\nAfter={' '.join(_JOURNAL)}\n")
        for unit in _UNITS.glob("*.service"):
            shutil.copy(unit, units)
            (units / f"{unit.name}.d").mkdir()
            (units / f"{unit.name}.d" / "test.conf").write_text(f"[Service]\n{drop_ins[unit.stem]}\n")
        self._log = folder / "systemd.log"

    def __enter__(self) -> Systemd:
        script = _BOOT.format(folder=self._folder, journal=" ".join(_JOURNAL), opened="\n".join(_opened()))
        spaces = ["--pid", "--mount", "--cgroup", "--ipc", "--uts", "--net", "--fork", "--kill-child", "--mount-proc"]
        with self._log.open("wb") as log:
            self._unshare = subprocess.Popen(
                ["unshare", *spaces, "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_until(self._boots, timeout=30)
        except TimeoutError as exc:
            self.__exit__()
            raise RuntimeError(f"systemd does not come up: {self._log.read_text()}") from exc
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._unshare.kill()
        self._unshare.wait()

    def _boots(self) -> bool:
        if self._unshare.poll() is not None:
            raise RuntimeError(f"systemd does not start: {self._log.read_text()}")
        with contextlib.suppress(ValueError, subprocess.CalledProcessError, OSError):
            (self.pid,) = children(self._unshare.pid)
            return Path(f"/proc/{self.pid}/comm").read_text() == "systemd\n" and bool(
                self.run("systemctl", "is-active", "multi-user.target")
            )
        return False

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command beside it and return what it wrote."""
        enter = ["nsenter", f"--target={self.pid}", "--pid", "--mount", "--net", "--ipc", "--uts", "--cgroup"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout

    def start(self, *units: str) -> None:
        """Start units; returns when they are ready.

        :raises AssertionError: one is not; the message has the journal.
        """
        try:
            self.run("systemctl", "start", *units)
        except subprocess.CalledProcessError as exc:
            raise AssertionError(f"{exc.stderr}\n{self.journal()}") from exc

    def show(self, unit: str) -> dict[str, str]:
        """Return the properties of a unit."""
        lines = self.run("systemctl", "show", unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def wait_for(self, unit: str, timeout: float = 40, **properties: str) -> dict[str, str]:
        """Wait until a unit has these properties, and return all.

        :raises AssertionError: it has not; the message has the journal.
        """
        last: dict[str, str] = {}

        def there() -> bool:
            last.update(self.show(unit))
            return properties.items() <= last.items()

        try:
            wait_until(there, timeout)
        except TimeoutError as exc:
            raise AssertionError(
                f"{unit}: { ({name: last.get(name) for name in properties}) }\n{self.journal()}"
            ) from exc
        return last

    def status(self, unit: str) -> dict[str, str]:
        """Return what the kernel says of the main process of a unit."""
        pid = self.show(unit)["MainPID"]
        lines = self.run("cat", f"/proc/{pid}/status").splitlines()
        return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}

    def journal(self, *arguments: str) -> str:
        """Return the journal."""
        return self.run("journalctl", "--no-pager", *arguments, check=False)


def bind_programs() -> str:
    """Return the lines of group Service that let a unit with PrivateTmp= see programs under test below /tmp."""
    hidden = [path for path in _program_paths() if path.is_relative_to("/tmp") or path.is_relative_to("/var/tmp")]
    return "".join(f"BindReadOnlyPaths={path}\n" for path in hidden)


def _program_paths() -> list[Path]:
    return [Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), ROOT.resolve()]


def _opened() -> Iterator[str]:
    """Yield the commands that let an ordinary user at the programs under test, when root keeps them to itself.

    A closed folder is covered by an empty one, from the outermost inwards, and what is needed is bound in again.
    """
    wanted = _program_paths()
    closed = {one for path in wanted for one in (path, *path.parents) if _is_closed(one)}
    needed = {path for path in wanted if path not in closed}
    needed |= {one for path in closed & set(wanted) for one in path.iterdir() if one.is_dir() and not _is_closed(one)}
    places = {path: f"/run/opened/{number}" for number, path in enumerate(sorted(needed))}
    yield from (f"mkdir -p {place}; mount --bind '{path}' {place}" for path, place in places.items())
    for path in sorted(closed | (needed if closed else set())):
        mount = "-t tmpfs -o mode=755 tmpfs" if path in closed else f"--bind {places[path]}"
        yield f"mkdir -p '{path}'; mount {mount} '{path}'"


def _is_closed(folder: Path) -> bool:
    return not folder.stat().st_mode & stat.S_IXOTH
