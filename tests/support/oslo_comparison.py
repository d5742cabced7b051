# SPDX-License-Identifier: Apache-2.0
"""Observations of oslo.service and this library in the same situation: the cells of the README's table.

Each function creates a situation and returns the text of the cell. Functions that need a process run
``service_program.py``: the same service under either launcher.
"""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import eventlet
from oslo_config import cfg
from oslo_service import service as oslo
from oslo_service import threadgroup as oslo_threadgroup

import l3agent.service as ours
from l3agent.rpc import get_transport
from l3agent.testing import wait_until
from tests.support.service_manager import ServiceManager
from tests.support.service_process import Process

#: The columns.
OSLO, OURS = "oslo.service", "ours"
_CLASSES: dict[str, Any] = {
    OSLO: SimpleNamespace(Services=oslo.Services, ThreadGroup=oslo_threadgroup.ThreadGroup),
    OURS: ours,
}

Start = Callable[..., Process]

#: Seconds to wait for an event. Ours has a long deadline, since a busy machine may delay it.
PATIENCE_S = {OSLO: 2.0, OURS: 60.0}


class Recorded(oslo.Service):  # type: ignore[misc]
    """Records its calls in a log, which several services share."""

    def __init__(self, log: list[str], name: str = "", *, starting: float = 0, stop: Any = None) -> None:
        super().__init__()
        self.log, self.name, self.starting, self._stop = log, name, starting, stop

    def start(self) -> None:
        eventlet.sleep(self.starting)
        self.log.append(f"started {self.name}")

    def stop(self) -> None:
        self.log.append(f"stop {self.name}")
        if self._stop is not None:
            self._stop()


def _containing(library: str, *services: Any, **settings: Any) -> Any:
    container = _CLASSES[library].Services(**settings)
    for service in services:
        container.add(service)
    return container


def eleven_services(library: str) -> str:
    log: list[str] = []
    container = _containing(library)
    with eventlet.Timeout(PATIENCE_S[library], False):
        for _ in range(11):
            container.add(Recorded(log))
        wait_until(lambda: len(log) == 11)
    container.stop()
    starts = log.index("stop ")
    return "all start" if starts == 11 else f"{starts} start, the next `add` never returns"


def order_of_start(library: str) -> str:
    log: list[str] = []
    container = _containing(library, Recorded(log, "slow", starting=0.1), Recorded(log, "quick"))
    wait_until(lambda: len(log) == 2)
    container.stop()
    return "one after the other" if log[0] == "started slow" else "all at once"


def order_of_stop(library: str) -> str:
    log: list[str] = []
    container = _containing(library, Recorded(log, "a"), Recorded(log, "b"))
    wait_until(lambda: len(log) == 2)
    container.stop()
    return {"stop a": "as started", "stop b": "in reverse"}[log[2]]


def stop_that_raises(library: str) -> str:
    return _others_stop(library, _raise)


def stop_that_hangs(library: str) -> str:
    return _others_stop(library, lambda: eventlet.sleep(60))


def _raise() -> None:
    raise RuntimeError("x")


def _others_stop(library: str, stop: Callable[[], None]) -> str:
    """Make one service fail to stop, and observe the next one."""
    log: list[str] = []
    failing, other = Recorded(log, "failing", stop=stop), Recorded(log, "other")
    settings = {"stop_timeout": 0.1} if library == OURS else {}
    container = _containing(library, *((other, failing) if library == OURS else (failing, other)), **settings)
    wait_until(lambda: len(log) == 2)
    stopping = eventlet.spawn(container.stop)
    with eventlet.Timeout(1, False), suppress(RuntimeError):
        stopping.wait()
    stopping.kill()
    failing._stop = None
    container.tg.stop()
    return "the others stop" if "stop other" in log else "the others do not stop"


def work_in_progress(library: str) -> str:
    """Stop a container while a thread of a service is busy."""
    done: list[int] = []
    service = oslo.Service() if library == OSLO else _service()
    container = _containing(library, service)
    eventlet.sleep(0.05)
    service.tg.add_thread(lambda: (eventlet.sleep(0.1), done.append(1)))
    eventlet.sleep(0)
    container.stop()
    return "is completed" if done else "is killed"


def _service() -> Any:
    conf = cfg.ConfigOpts()
    conf([])
    transport = get_transport(conf, f"local:///{uuid.uuid4()}")
    return ours.Service.create(binary="busy", manager=ours.Manager, conf=conf, host="h", transport=transport)


def timer(library: str) -> str:
    """Run a timer of 50 ms beside a greenthread that blocks the hub, and check the times of its calls."""
    group, calls = _CLASSES[library].ThreadGroup(), list[float]()
    begin = time.monotonic()
    group.add_timer(0.05, lambda: calls.append(time.monotonic() - begin))
    busy = eventlet.spawn(_hold_the_hub, 0.01)
    wait_until(lambda: len(calls) >= 60, timeout=30)
    busy.kill()
    group.stop()
    in_place = sum(call % 0.05 < 0.02 for call in calls)
    return "does not drift" if in_place > 0.7 * len(calls) else "drifts with each call"


def _hold_the_hub(seconds: float) -> None:
    while True:
        eventlet.patcher.original("time").sleep(seconds)
        eventlet.sleep(0)


def no_subclass(library: str) -> str:
    """Launch an object with the four methods."""
    conf = cfg.ConfigOpts()
    conf([])
    service = SimpleNamespace(start=lambda: None, stop=lambda: None, wait=lambda: None, reset=lambda: None)
    try:
        {OSLO: oslo, OURS: ours}[library].launch(conf, service, restart_method="mutate").stop()
    except TypeError:
        return "TypeError"
    return "runs"


def worker_that_cannot_start(library: str, start: Start) -> str:
    process = start("config", workers=2, library=library.partition(".")[0])
    try:
        for _ in range(6):
            process.line("starting")
        return "is forked again without end"
    except AssertionError:  # it ended
        return f"exit {process.status()}"


def thread_that_dies(library: str, start: Start) -> str:
    process = start("crash", library=library.partition(".")[0], TICK="1")
    process.line("started")
    with eventlet.Timeout(PATIENCE_S[library], False):
        return f"exit {process.process.wait()}, services stopped in order"
    return "the process continues"


def wrong_configuration(library: str, start: Start) -> str:
    process = start("config", library=library.partition(".")[0])
    status = process.status()
    return f"exit {status}, {'a traceback' if 'Traceback' in process.log else 'one line'}"


def sigterm_on_an_idle_hub(library: str, start: Start) -> str:
    process = start(library=library.partition(".")[0])
    process.line("started")
    _wait_idle(process)
    process.signal(signal.SIGTERM)
    try:
        process.line("stop", timeout={OSLO: 2, OURS: 20}[library])  # the hub of itself would take up to 60 s
        return "acts at once"
    except TimeoutError:
        return "not processed within 2 s"


def _wait_idle(process: Process) -> None:
    """Wait until the kernel has said ten times in a row that the program sleeps."""
    stat, asleep = Path(f"/proc/{process.process.pid}/stat"), 0
    while asleep < 10:
        eventlet.sleep(0.02)
        asleep = asleep + 1 if stat.read_text().rsplit(") ", 1)[1].startswith("S") else 0


def sigint(library: str, start: Start) -> str:
    process = start(library=library.partition(".")[0], TICK="1")
    process.line("started")
    process.signal(signal.SIGINT)
    status = process.status()
    try:
        process.line("stop")
        return f"`stop()`, exit {status}"
    except AssertionError:
        return f"no `stop()`, exit {status}"


def stop_beyond_the_deadline(library: str, start: Start) -> str:
    process = start("hanging_stop", library=library.partition(".")[0], TICK="1")
    process.line("started")
    before = len(process.log)
    process.signal(signal.SIGTERM)
    process.line("stop")
    status = process.status()
    how = "killed by SIGALRM" if status == -signal.SIGALRM else f"exit {status}"
    return f"{how}, {'logged' if 'in time' in process.log[before:] else 'not logged'}"


def sighup_in_the_foreground(library: str, start: Start) -> str:
    process = start(library=library.partition(".")[0], terminal=True, TICK="1")
    process.line("started")
    process.configure("second")
    process.signal(signal.SIGHUP)
    try:
        process.line("reset second", timeout=PATIENCE_S[library])
        result = "options reloaded"
    except TimeoutError:
        result = "ignored"
    process.signal(signal.SIGTERM)
    return f"{result}; the next SIGTERM {'stops' if process.status() == 0 else 'kills'}"


def messages_to_systemd(library: str, start: Start, service_manager: ServiceManager) -> str:
    # A long watchdog interval: the queue of the socket has ten places, and a sender waits when it is full.
    process = start(library=library.partition(".")[0], TICK="1", NOTIFY="1", WATCHDOG_USEC="3000000")
    ready = f"READY=1 {'after' if service_manager.receive() == 'STARTED=1' else 'before'} the start"
    process.line("started")
    messages = service_manager.receive_within(1)
    process.signal(signal.SIGHUP)
    process.line("reset first")
    process.signal(signal.SIGTERM)
    process.status()
    messages += service_manager.receive_within(0.2)
    others = [word for word in ("WATCHDOG", "RELOADING", "STOPPING") if any(word in one for one in messages)]
    return ", ".join([ready, *others])


def blocked_hub(library: str, start: Start) -> str:
    process = start("block", library=library.partition(".")[0])
    process.line("started")
    with eventlet.Timeout(PATIENCE_S[library] + 1, False):
        wait_until(lambda: "in hold_the_hub" in process.log, timeout=100)
        return "the stack of the blocking code is logged"
    return "nothing is logged"


def sigusr2(library: str, start: Start) -> str:
    process = start(library=library.partition(".")[0], TICK="1")
    process.line("started")
    process.signal(signal.SIGUSR2)
    wait_until(lambda: "Guru Meditation" in process.log or process.process.poll() is not None, timeout=60)
    return "writes a report" if process.process.poll() is None else "kills the process"


def group_signal(library: str, start: Start) -> str:
    process = start("slow_stop", workers=2, library=library.partition(".")[0], TICK="1")
    for _ in range(2):
        process.line("started")
    process.signal_group(signal.SIGTERM)
    status = process.status()
    try:
        for _ in range(2):
            process.line("stopped")
        return f"their work is completed, exit {status}"
    except AssertionError:
        return "their work is lost"


def programs_of_the_parent(library: str, start: Start) -> str:
    process = start("run_programs", workers=2, library=library.partition(".")[0])
    try:
        process.line("statuses [1]", timeout=10 * PATIENCE_S[library])
    except (AssertionError, TimeoutError):
        return "lose their exit status"
    return "keep their exit status"


def start_that_hangs(library: str, start: Start) -> str:
    process = start("hanging_start", library=library.partition(".")[0], START_TIMEOUT="0.5")
    process.line("starting")
    with eventlet.Timeout(PATIENCE_S[library], False):
        wait_until(lambda: "The start of Program has not returned" in process.log, timeout=100)
        return "is logged after `start_timeout`, with the waiting services"
    return "is not logged"


#: The rows of the README, by name.
ROWS: dict[str, Callable[..., str]] = {
    "eleven services": eleven_services,
    "several services start": order_of_start,
    "they stop": order_of_stop,
    "one `stop()` raises": stop_that_raises,
    "one `stop()` hangs": stop_that_hangs,
    "work in progress at the stop": work_in_progress,
    "a thread dies": thread_that_dies,
    "the configuration is invalid": wrong_configuration,
    "a worker that cannot start": worker_that_cannot_start,
    "a service that is no subclass": no_subclass,
    "a timer": timer,
    "messages to systemd": messages_to_systemd,
    "SIGTERM on an idle hub": sigterm_on_an_idle_hub,
    "SIGINT": sigint,
    "SIGHUP in the foreground of a terminal": sighup_in_the_foreground,
    "SIGUSR2": sigusr2,
    "a stop beyond `graceful_shutdown_timeout`": stop_beyond_the_deadline,
    "the hub is blocked": blocked_hub,
    "SIGTERM to the process group, two workers": group_signal,
    "child programs of the parent of workers": programs_of_the_parent,
    "a `start()` that does not return": start_that_hangs,
}
