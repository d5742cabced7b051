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
    service = Service.create("heart", topic="heart", manager=Heart, conf=conf, host="node1")
    sys.exit(launch(conf, service).wait())

The life of a process::

    launch, Services.add   each start() in a greenthread of its own, in order, then parked on `done` until the end
    all have started       READY=1
    SIGHUP                 options mutated, log files opened again, reset() of each service
    SIGTERM, SIGINT        STOPPING=1; stop() in reverse order, each under its own guard; work in hand is drained until
                           graceful_shutdown_timeout, then killed and named in the log; a second signal kills at once
    exit status            0  asked to stop                  70  a thread died
                           1  a start() failed, or           77  a privilege is missing
                              something had to be killed     78  the configuration is wrong
"""

from __future__ import annotations

from l3agent.rpc import backend as backend  # the first import: it chooses the backend that the next ones would fix
from l3agent.service.crash import restarted
from l3agent.service.launcher import ProcessLauncher, ServiceLauncher, launch
from l3agent.service.service import Manager, Service
from l3agent.service.services import Services
from l3agent.service.threadgroup import ThreadGroup

__all__ = ["Manager", "ProcessLauncher", "Service", "ServiceLauncher", "Services", "ThreadGroup", "launch", "restarted"]
