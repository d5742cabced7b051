# SPDX-License-Identifier: Apache-2.0
"""A program around one service that says on stdout what happens to it, and when. Run by the tests of the launcher.

``python program.py MODE WORKERS [--config-file FILE]``
"""

from __future__ import annotations

import warnings

warnings.simplefilter("ignore")

import eventlet  # noqa: E402

eventlet.monkey_patch()

import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

from oslo_config import cfg  # noqa: E402
from oslo_log import log as logging  # noqa: E402

from l3agent.exceptions import ConfigError, PermissionMissing  # noqa: E402
from l3agent.service import ThreadGroup, launch  # noqa: E402

_sleep_for_real = eventlet.patcher.original("time").sleep
_ERRORS = {"error": RuntimeError("broken"), "config": ConfigError("x: wrong"), "permission": PermissionMissing("no")}


def say(what: str) -> None:
    os.write(1, f"{what} {os.getpid()} {time.monotonic()}\n".encode())  # in one piece: workers share the pipe


class Program:
    def __init__(self, mode: str, conf: cfg.ConfigOpts) -> None:
        self.mode, self.conf = mode, conf
        self.tg = ThreadGroup()

    def start(self) -> None:
        eventlet.sleep(0.1)
        if self.mode in _ERRORS:
            raise _ERRORS[self.mode]
        if self.mode == "hanging_start":
            say("starting")
            eventlet.sleep(60)
        if self.mode == "crash":
            self.tg.add_thread(lambda: 1 / 0)
        say("started")

    def stop(self) -> None:
        say("stop")
        if self.mode == "hanging_stop":
            eventlet.sleep(60)
        if self.mode == "stuck_stop":
            _sleep_for_real(60)
        self.tg.stop()
        say("stopped")

    def wait(self) -> None:
        self.tg.wait()

    def reset(self) -> None:
        say(f"reset {self.conf.word}")


def main() -> int:
    conf = cfg.ConfigOpts()
    conf.register_opt(cfg.StrOpt("word", default="none", mutable=True))
    logging.register_options(conf)
    conf(sys.argv[3:], project="program")
    logging.setup(conf, "program")
    launcher = launch(conf, Program(sys.argv[1], conf), workers=int(sys.argv[2]))
    return launcher.wait()


if __name__ == "__main__":
    sys.exit(main())
