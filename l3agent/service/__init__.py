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

     1  launch, Services.add    starts nothing before wait() of the launcher is called
     2  start, in order         each service has its own greenthread; the next one starts when start() has returned
     3  all have started        READY=1 when each is ready(), or after 30 s; from then on WATCHDOG=1 while the hub runs
                                and each is healthy()
     4  a start() fails         this service and the earlier ones stop, the later ones never start; exit 1, 77, 78
     5  SIGHUP                  reload options, reopen log files, reset() each service in order; also during a start,
                                and any number of times. With restart_method="reload", the default, each service is
                                stopped before and started after its reset()
     6  SIGUSR2                 write a report of all greenthreads, services and options
     7  a thread dies           all stop; exit 70. A function in restart_on_crash() is called again instead, after a
                                back-off
     8  SIGTERM, SIGINT         STOPPING=1; stop() in reverse order, each under its own deadline; a second signal kills
     9  work in progress        may finish until graceful_shutdown_timeout, then is killed and named in the log
    10  exit status             0; 1 if a start failed or a service had to be killed; 70 if a thread died;
                                77 if a privilege is missing; 78 if the configuration is wrong

If ``start()`` has not returned after ``start_timeout``, the log and the STATUS for systemd name the service and the
services that wait for it.

``launch(conf, service, workers=N)`` forks N processes that each run the service. A signal may reach the whole
process group, as from a terminal or systemd: the SIGTERM that the parent forwards does not count as a second signal, so
work in progress is completed. Work that a node does once (the state report and the periodic tasks of a ``Service``)
runs in the first worker only; other code checks ``is_first_worker()``. Work of each worker is a timer of
``service.tg``, added in ``after_start``. A transport of ``get_transport`` may be used before the fork: each worker
makes its own connections. Consumers, greenthreads and native threads stay in the parent.
"""

from __future__ import annotations

from l3agent.rpc import backend as backend  # first, since later imports fix the backend

# isort: split
from oslo_service.service import ServiceBase, ServiceWrapper, SignalExit, SignalHandler, Singleton, list_opts

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
