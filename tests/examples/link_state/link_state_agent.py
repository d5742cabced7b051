# SPDX-License-Identifier: Apache-2.0
"""``link-state-agent``: tells which links of a node are up, on request and whenever one changes.

* ``get_links()`` on the topic ``link_state`` (or ``link_state.<host>``) returns ``{name: state}``;
* ``link_changed(host, name, state)`` is cast to the topic ``link_observer``; ``state`` is None for a link that is gone.
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
        """Refuse to start where there is nothing to watch: exit status 78."""
        if not Path(self.conf.link_state.folder).is_dir():
            raise ConfigError(f"[link_state] folder: {self.conf.link_state.folder}: no such folder")

    def initialize_service_hook(self, service):
        """Watch in a thread of the service: when it dies it begins again, when the service stops it ends."""
        service.tg.add_thread(restart_on_crash(self.watch))

    def get_links(self, context):
        """Return the links as they are now (RPC)."""
        return self.read()

    def read(self):
        """Read the files in a native thread: a driver may take its time to answer, and all else would wait."""
        return tpool.execute(read_links, self.conf.link_state.folder)

    def watch(self):
        """Tell of each change."""
        while True:
            before, self.links = self.links, self.read()
            for name in sorted(before.keys() | self.links.keys()):
                if before.get(name) != self.links.get(name):
                    self.tell(name, self.links.get(name))
            eventlet.sleep(self.conf.link_state.interval)

    def tell(self, name, state):
        """Cast one change; nobody may be there to hear of it."""
        LOG.info("Link %s is %s", name, state or "gone")
        try:
            self.observers.cast(
                admin_context(), "link_changed", at_least_once=True, host=self.host, name=name, state=state
            )
        except ServerUnavailable as error:
            LOG.warning("Not told: %s", error)


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
