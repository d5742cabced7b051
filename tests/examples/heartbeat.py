# SPDX-License-Identifier: Apache-2.0
import eventlet

eventlet.monkey_patch()  # the first statement of a program, never of a library

import sys, time
from oslo_config import cfg
from oslo_service.periodic_task import periodic_task
from l3agent.service import Manager, Service, launch


class Heart(Manager):
    def uptime(self, context):  # an RPC method of the topic "heart"
        return time.monotonic()

    @periodic_task(spacing=10, run_immediately=True)
    def beat(self, context):
        print("beat", flush=True)


conf = cfg.ConfigOpts()
conf()  # --config-file FILE; transport_url names the broker, or is local:// to try it without one
sys.exit(launch(conf, Service.create(binary="heart", manager=Heart, conf=conf)).wait())
