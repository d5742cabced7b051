# SPDX-License-Identifier: Apache-2.0
"""Program with one service that reports its events and their times on stdout. Tests run it.

``python service_program.py ours|oslo MODE WORKERS [--config-file FILE]``: the same service, an unchanged subclass of
oslo.service's, under our launcher or under the original one.
"""

from __future__ import annotations

import warnings
from typing import Any

warnings.simplefilter("ignore")

import eventlet  # noqa: E402

eventlet.monkey_patch()

import gc  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

from oslo_config import cfg  # noqa: E402
from oslo_log import log as logging  # noqa: E402

import l3agent.service as ours  # noqa: E402
from l3agent.exceptions import ConfigError, PermissionMissing  # noqa: E402
from l3agent.service import workers as our_workers  # noqa: E402

# isort: split
from oslo_service import service as oslo  # noqa: E402

_socket = eventlet.patcher.original("socket")
_sleep_for_real = eventlet.patcher.original("time").sleep
_SERVICE_MANAGER = os.environ.get("NOTIFY_SOCKET", "")  # read here: the original forgets it
_STOP_S = {"slow_stop": 1, "long_stop": 300}
_ERRORS = {"error": RuntimeError("broken"), "config": ConfigError("x: wrong"), "permission": PermissionMissing("no")}


def report(what: str) -> None:
    os.write(1, f"{what} {os.getpid()} {time.monotonic()}\n".encode())  # in one piece: workers share the pipe


def notify(what: str) -> None:
    """Send a message to the service manager, which marks a position in its queue."""
    with _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM) as sock:
        sock.connect(_SERVICE_MANAGER)
        sock.send(what.encode())


class Program(oslo.Service):  # type: ignore[misc]
    def __init__(self, mode: str, conf: cfg.ConfigOpts) -> None:
        super().__init__()
        self.mode, self.conf = mode, conf
        self.word = conf.word
        self.started = False  # in the parent of workers it never is

    def start(self) -> None:
        self.started = True
        eventlet.sleep(0.1)
        if self.mode in _ERRORS:
            report("starting")
            raise _ERRORS[self.mode]
        if self.mode == "hanging_start":
            report("starting")
            eventlet.sleep(60)
        if self.mode == "crash":
            self.tg.add_thread(lambda: 1 / 0)
        if self.mode == "facts":
            report(f"first {ours.is_first_worker()}, frozen {gc.get_freeze_count() > 0}, word {self.word}")
        report("started")
        if "NOTIFY" in os.environ:
            notify("STARTED=1")
        if self.mode == "block":
            eventlet.spawn_after(0.1, hold_the_hub)

    def stop(self) -> None:
        if not self.started:
            report("stop in the parent")
            super().stop()
            return
        report("stop")
        if self.mode == "hanging_stop":
            self.tg.add_thread(eventlet.sleep, 60)
            eventlet.sleep(60)
        if self.mode == "stuck_stop":
            _sleep_for_real(60)
        if self.mode in _STOP_S:
            eventlet.sleep(_STOP_S[self.mode])
        super().stop()
        report("stopped")
        return

    def healthy(self) -> bool:
        return bool(self.conf.word != "sick")

    def reset(self) -> None:
        self.word = self.conf.word
        if not self.started:
            report("reset in the parent")
            return
        report(f"reset {self.conf.word}")
        if self.conf.word == "block":
            notify("BLOCK=1")
            hold_the_hub()
            notify("BLOCK=0")


def hold_the_hub() -> None:
    _sleep_for_real(1)


def run_programs() -> None:
    """Run programs that fail, and report their exit statuses."""
    report(f"statuses {sorted({subprocess.run(['false'], check=False).returncode for _ in range(20)})}")


def tick() -> None:
    """Keep the hub from being idle, so that oslo.service processes signals, too."""
    while True:
        eventlet.sleep(0.02)


def main() -> int:
    library, mode, workers = sys.argv[1:4]
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt("word", default="none", mutable=True), cfg.StrOpt("fixed", default="none")])
    logging.register_options(conf)
    conf(sys.argv[4:], project="program")
    logging.setup(conf, "program")
    our_workers.KILL_DELAY_S = float(os.environ.get("KILL_DELAY_S", our_workers.KILL_DELAY_S))
    if "TICK" in os.environ:
        eventlet.spawn(tick)
    service = Program(mode, conf)
    if mode == "run_programs":
        eventlet.spawn(run_programs)
    if library == "oslo":
        return int(oslo.launch(conf, service, workers=int(workers), restart_method="mutate").wait() or 0)
    how, _, rest = mode.partition(" ")
    method, service.mode = ("reload", rest or "plain") if how == "reload" else ("mutate", mode)
    try:
        limits: dict[str, Any] = {"hub_limit": 0.2, "start_timeout": float(os.environ.get("START_TIMEOUT", 30))}
        launcher = ours.launch(conf, service, int(workers), method, **limits)
        if mode == "stop_later":
            eventlet.spawn_after(1, launcher.stop)
        return launcher.wait()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 78


if __name__ == "__main__":
    sys.exit(main())
