# SPDX-License-Identifier: Apache-2.0
"""``link-state-agent``: reports the state of the links of a node, on request and on each change.

* ``get_links()`` on the topic ``link_state`` (or ``link_state.<host>``) returns ``{name: state}``;
* ``link_changed(host, name, state)`` is cast to the topic ``link_observer``; ``state`` is None for a deleted link.
"""

import eventlet

eventlet.monkey_patch()

import sys
from pathlib import Path

from eventlet import tpool
from oslo_config import cfg
from oslo_log import log as logging

from l3agent.exceptions import ConfigError, ServerUnavailable
from l3agent.rpc import Client, Target, admin_context, get_transport
from l3agent.service import Manager, Service, launch, restart_on_crash

LOG = logging.getLogger(__name__)

OPTIONS = [
    cfg.FloatOpt("interval", default=1, min=0.01, mutable=True, help="Seconds between two looks at the links."),
    cfg.StrOpt("folder", default="/sys/class/net", help="Where the kernel shows the links."),
]


def read_links(folder: str) -> dict[str, str]:
    """Return the state of each link: ``up``, ``down``, ``unknown``, ..."""
    return {path.parent.name: path.read_text().strip() for path in sorted(Path(folder).glob("*/operstate"))}


class LinkStateManager(Manager):
    """Watches the links."""

    target = Target(version="1.0")

    def __init__(self, conf, host, transport):
        super().__init__(conf, host)
        self.links = {}
        self.observers = Client(transport, "link_observer", timeout=10)

    def init_host(self):
        """Check that the folder exists; else the exit status is 78."""
        if not Path(self.conf.link_state.folder).is_dir():
            raise ConfigError(f"[link_state] folder: {self.conf.link_state.folder}: no such folder")

    def initialize_service_hook(self, service):
        """Watch in a thread of the service, which is restarted on errors and ends with the service."""
        service.tg.add_thread(restart_on_crash(self.watch))

    def get_links(self, context):
        """Return the current links (RPC)."""
        return self.read()

    def read(self):
        """Read the files in a native thread, since a slow driver would block the hub."""
        return tpool.execute(read_links, self.conf.link_state.folder)

    def watch(self):
        """Cast each change."""
        while True:
            before, self.links = self.links, self.read()
            for name in sorted(before.keys() | self.links.keys()):
                if before.get(name) != self.links.get(name):
                    self.cast_change(name, self.links.get(name))
            eventlet.sleep(self.conf.link_state.interval)

    def cast_change(self, name, state):
        """Cast one change; there may be no listener."""
        LOG.info("Link %s is %s", name, state or "gone")
        try:
            self.observers.cast(
                admin_context(), "link_changed", at_least_once=True, host=self.host, name=name, state=state
            )
        except ServerUnavailable as error:
            LOG.warning("Not cast: %s", error)


def main(argv=None):
    """Run the agent until a signal; return the exit status."""
    conf = cfg.ConfigOpts()
    conf.register_opts(OPTIONS, group="link_state")
    conf.register_opt(cfg.StrOpt("host", help="Name of this node."))
    logging.register_options(conf)
    conf(sys.argv[1:] if argv is None else argv, project="link-state-agent")
    logging.setup(conf, "link-state-agent")
    transport = get_transport(conf)
    service = Service.create(
        binary="link-state-agent",
        topic="link_state",
        manager=lambda conf, host: LinkStateManager(conf, host, transport),
        conf=conf,
        transport=transport,
    )
    return launch(conf, service).wait()


if __name__ == "__main__":
    sys.exit(main())
