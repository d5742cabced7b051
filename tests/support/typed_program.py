# SPDX-License-Identifier: Apache-2.0
"""A program on the library. Each line with a planted mistake says so, and which error is due."""

from __future__ import annotations

from oslo_config import cfg

from l3agent.rpc import Client, Connection, admin_context, get_transport
from l3agent.service import Manager, Service, Services, ThreadGroup, launch, restart_on_crash
from l3agent.testing import running, wait_until

conf = cfg.ConfigOpts()
service = Service.create(binary="x", manager=Manager, conf=conf)
transport = get_transport(conf, "local:///x")

status: int = launch(conf, service, workers=2, restart_method="mutate").wait()
Client(transport, "x", timeout=5).call(admin_context(), "echo", value=1)
ThreadGroup().add_thread(restart_on_crash(print), 1)

launch(conf, object())  # planted: arg-type
launch(conf, service, workers="2")  # planted: arg-type
launch(conf, service, hub_limt=1)  # planted: call-arg
Service.create("x", manager=Manager)  # planted: call-arg
Service.create(binary="x", report_interval="30")  # planted: arg-type
text: str = launch(conf, service).wait()  # planted: assignment
Services(stop_timeout="1")  # planted: arg-type
Client(transport)  # planted: call-arg
Connection(transport, host=1)  # planted: arg-type
wait_until(1)  # planted: arg-type
with running(service) as services:
    services.wait_startd()  # planted: attr-defined
