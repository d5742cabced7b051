# SPDX-License-Identifier: Apache-2.0
"""Boot a kernel package of Debian in qemu and run a command there as root.

The guest has no disk. Its root file system is the one of this machine, read-only over 9p (virtio), so that it runs the
same Python environment; /run and /dev/shm are its own. It needs no KVM: qemu translates the instructions (TCG), which
makes the guest about twenty times slower than the machine.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

#: MiB of memory of a guest.
_MEMORY = 1024
#: What the root file system is mounted with; everything else loads from there.
_EARLY_MODULES = ("virtio_pci", "9pnet_virtio", "9p")
_EARLY_PROGRAMS = ("sh", "mount", "insmod", "switch_root")
_STATUS = re.compile(r"^guest exit status (\d+)\r?$", re.MULTILINE)
_INIT = """#!/bin/sh
mount -t proc proc /proc
for module in {modules}; do insmod /modules/$module; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose host /root
set -- $(cat /proc/cmdline)
for word; do case $word in script=*) script=${{word#script=}};; esac; done
exec switch_root /root /bin/sh "$script"
"""
#: Process 1 of the guest. modprobe(8) finds the modules of the package, whose files the root file system has elsewhere.
_SCRIPT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run; mkdir /dev/shm; mount -t tmpfs tmpfs /dev/shm
printf '#!/bin/sh\\nexec {modprobe} -C /dev/null -d {modules} "$@"\\n' > /dev/shm/modprobe
chmod 755 /dev/shm/modprobe
echo /dev/shm/modprobe > /proc/sys/kernel/modprobe
/dev/shm/modprobe nf_conntrack
ln -s /proc/self/fd /dev/fd; ln -s fd/0 /dev/stdin
ip link set lo up
cd {directory}
env -i {environment} {command}
echo guest exit status $?
echo o > /proc/sysrq-trigger
while :; do :; done
"""


class PreparationError(Exception):
    """A kernel package could not be fetched or unpacked."""


def resolve(package: str) -> str:
    """Return the version of the kernel that a package of the archive depends on, as ``uname -r`` prints it."""
    depends = _run(["apt-cache", "depends", package])
    if (found := re.search(r"Depends: linux-image-(\S+)$", depends, re.MULTILINE)) is None:
        raise PreparationError(f"apt-cache depends {package} names no kernel: {depends.strip() or 'no such package'}")
    return found[1]


class KernelPackage:
    """An unpacked kernel package of Debian and an initial RAM file system for it.

    :param work: directory that keeps both; a later run finds them there.
    """

    def __init__(self, version: str, work: Path) -> None:
        self.version = version
        self._folder = work / version
        if not self._folder.exists():
            unfinished = work / f"{version}.{os.getpid()}"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            _unpack(version, unfinished)
            _build_initrd(version, unfinished)
            unfinished.rename(self._folder)

    def boot(
        self, name: str, command: list[str], *, directory: Path, environment: Mapping[str, str], parameters: str = ""
    ) -> Guest:
        """Boot it and run a command.

        :param name: of the files with the script and the output of this guest.
        :param parameters: more of the kernel (kernel-parameters of the kernel documentation).
        """
        script, output = self._folder / f"{name}.sh", self._folder / f"{name}.log"
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": "/dev/shm", **environment}
        script.write_text(
            _SCRIPT.format(
                modprobe=shutil.which("modprobe", path="/usr/sbin:/sbin"),
                modules=self._folder / "package",
                directory=shlex.quote(str(directory)),
                environment=shlex.join(f"{key}={value}" for key, value in environment.items()),
                command=shlex.join(command),
            )
        )
        append = f"console=ttyS0 quiet mitigations=off tsc=reliable panic=1 script={script} {parameters}"
        argv = [
            *("nice", "-n", "5", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1"),
            *("-m", str(_MEMORY), "-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none"),
            *("-nic", "none", "-kernel", str(self._folder / "package" / "boot" / f"vmlinuz-{self.version}")),
            *("-initrd", str(self._folder / "initrd.gz"), "-append", append),
            *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"),
        ]
        return Guest(argv, output)


class Guest:
    """A running guest."""

    def __init__(self, argv: list[str], output: Path) -> None:
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)

    @property
    def output(self) -> str:
        """Return the console output of the guest so far."""
        return self._output.read_text(errors="replace")

    def wait(self, timeout: float) -> int | None:
        """Wait for the end of the guest; return the exit status of its command, None if the guest died before.

        :param timeout: seconds.
        :raises subprocess.TimeoutExpired: it still runs.
        """
        self._process.wait(timeout)
        found = _STATUS.findall(self.output)
        return int(found[-1]) if found else None

    def kill(self) -> None:
        """End the guest now."""
        self._process.kill()
        self._process.wait()


def _run(argv: list[str], *, cwd: Path | None = None, input: bytes | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, cwd=cwd, input=input, timeout=180, check=False)
    if done.returncode:
        output = done.stderr.decode(errors="replace").strip()
        raise PreparationError(f"{shlex.join(argv)}: status {done.returncode}: {output}")
    return done.stdout.decode(errors="replace")


def _unpack(version: str, folder: Path) -> None:
    _run(["apt-get", "download", "-q", f"linux-image-{version}"], cwd=folder)
    (package,) = folder.glob("*.deb")
    _run(["dpkg-deb", "-x", str(package), str(folder / "package")])
    package.unlink()
    _run(["depmod", "-b", str(folder / "package"), version])


def _build_initrd(version: str, folder: Path) -> None:
    root = folder / "initrd"
    for name in ("bin", "proc", "root", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    for name in _EARLY_PROGRAMS:
        (root / "bin" / name).symlink_to("busybox")
    modules: list[str] = []
    for module in _EARLY_MODULES:
        shown = _run(
            ["modprobe", "-C", "/dev/null", "-d", str(folder / "package"), "-S", version, "--show-depends", module]
        )
        for path in (Path(line.split()[1]) for line in shown.splitlines() if line.startswith("insmod ")):
            if path.name not in modules:
                modules.append(path.name)
                shutil.copy(path, root / "modules")
    (root / "init").write_text(_INIT.format(modules=" ".join(modules)))
    (root / "init").chmod(0o755)
    _run(["sh", "-c", "find . | cpio -o -H newc --quiet | gzip > ../initrd.gz"], cwd=root)
    shutil.rmtree(root)


if __name__ == "__main__":
    # For people: boot the kernel of a package and run a command there.
    where, which, *what = sys.argv[1:]
    guest = KernelPackage(resolve(which), Path(where)).boot("shell", what, directory=Path.cwd(), environment={})
    guest.wait(600)
    print(guest.output)
