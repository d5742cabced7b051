# SPDX-License-Identifier: Apache-2.0
"""A service library on eventlet and oslo.service: a container, a service with RPC, a launcher.

A whole agent::

    import eventlet
    eventlet.monkey_patch()                               # first statements of the program, never of a library

    import sys
    from oslo_config import cfg
    from oslo_service import periodic_task
    from l3agent.service import Manager, Service, launch

    class Heart(Manager):
        def beat(self, context, name):                    # RPC: cast or call to the topic
            return f"{name} lives"

        @periodic_task.periodic_task(spacing=10)
        def report(self, context):
            print("beating")

    conf = cfg.ConfigOpts()
    conf()                                                # reads --config-file
    service = Service.create(binary="heart", topic="heart", manager=Heart, conf=conf, host="node1")
    sys.exit(launch(conf, service).wait())

The life of a process, each line with its test in ``tests/unit/service/test_life_cycle.py``::

                                              SIGHUP 5, SIGUSR2 6
                                                +----<----+
                                                v         |
    launch --> a.start --> b.start --> READY=1 --> runs --+--> STOPPING=1 --> b.stop --> a.stop --> exit status
                  |           |                              ^  a thread dies 7, SIGTERM or SIGINT 8
                  +-----------+------------->----------------+
                     one fails 4

     1  launch, Services.add    nothing runs until somebody waits
     2  start, in order         each in a greenthread of its own, the next when the previous has returned
     3  all have started        READY=1 when each is ready(), or after 30 s; from now on WATCHDOG=1 while the hub runs
                                and each is healthy()
     4  a start() fails         it and those before it stop, those after it are left out; exit 1, 77, 78
     5  SIGHUP                  options read again, log files opened again, reset() of each service, in order; during a
                                start too, and as often as it comes. With restart_method="reload", the default, each
                                service is stopped before and started after its reset()
     6  SIGUSR2                 a report of all greenthreads, services and options
     7  a thread dies           all stop; exit 70. A function in restart_on_crash() is called again instead, after a
                                back-off
     8  SIGTERM, SIGINT         STOPPING=1; stop() in reverse order, each under its own guard; a second one kills
     9  work in hand            is waited for until graceful_shutdown_timeout, then killed and named in the log
    10  exit status             0; 1 when something had to be killed or a start failed; 70 when a thread died;
                                77 when a privilege is missing; 78 when the configuration is wrong

A service whose ``start()`` has not returned after ``start_timeout`` is named in the log and in the STATUS that systemd
shows, with the services that wait for it.

``launch(conf, service, workers=N)`` forks N processes that each run the service. A signal may reach the whole process
group, as from a terminal or systemd: the SIGTERM that the parent passes on does not count as a second one, so work in
hand is completed. What a node does once (the state report and the periodic tasks of a ``Service``) runs in the first
worker alone, and ``is_first_worker()`` says so to other code; what each worker does is a timer of ``service.tg``, added
in ``after_start``. A transport of ``get_transport`` may be used before the fork: each worker makes its own connections.
Consumers, greenthreads and native threads stay in the parent.
"""

from __future__ import annotations

from l3agent.rpc import backend as backend  # the first import: it chooses the backend that the next ones would fix

# isort: split
from oslo_service.service import (
    ServiceBase,
    ServiceWrapper,
    SignalExit,
    SignalHandler,
    Singleton,
    list_opts,
)

from l3agent.service.crash import restart_on_crash
from l3agent.service.launcher import ProcessLauncher, ServiceLauncher, launch
from l3agent.service.log_mutex import complete_log_mutex
from l3agent.service.manager import Manager
from l3agent.service.plain_launcher import Launcher
from l3agent.service.service import Service
from l3agent.service.services import Services
from l3agent.service.threadgroup import ThreadGroup
from l3agent.service.worker import is_first_worker

__all__ = [
    "Launcher",
    "Manager",
    "ProcessLauncher",
    "Service",
    "ServiceBase",
    "ServiceLauncher",
    "ServiceWrapper",
    "Services",
    "SignalExit",
    "SignalHandler",
    "Singleton",
    "ThreadGroup",
    "complete_log_mutex",
    "is_first_worker",
    "launch",
    "list_opts",
    "restart_on_crash",
]
