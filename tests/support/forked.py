# SPDX-License-Identifier: Apache-2.0
"""A program whose two workers use a transport that their parent used before the fork.

``python -m tests.support.forked ours|oslo URL TOPIC`` calls ``echo`` of TOPIC in the parent, then in each
worker, and writes what became of the latter to its standard output.
"""

from __future__ import annotations

import warnings

warnings.simplefilter("ignore")

import eventlet  # noqa: E402

eventlet.monkey_patch()

import os  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

import oslo_messaging  # noqa: E402
from oslo_config import cfg  # noqa: E402

import l3agent.service as ours  # noqa: E402
from l3agent.rpc import get_transport  # noqa: E402

# isort: split
from oslo_service import service as oslo  # noqa: E402

_TIMEOUT_S = {"ours": 60, "oslo": 5}


class Asking(oslo.Service):  # type: ignore[misc]
    """Calls over a transport when it starts."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client

    def start(self) -> None:
        try:
            answer = self._client.call({}, "echo", value=2)
        except Exception as error:
            answer = type(error).__name__
        os.write(1, f"{answer}\n".encode())


def main() -> None:
    """Use the transport, and fork."""
    library, url, topic = sys.argv[1:]
    conf = cfg.CONF
    conf([], default_config_files=[])
    transport = get_transport(conf, url) if library == "ours" else oslo_messaging.get_rpc_transport(conf, url)
    target = oslo_messaging.Target(topic=topic)
    client = oslo_messaging.get_rpc_client(transport, target, timeout=_TIMEOUT_S[library])
    assert client.call({}, "echo", value=1) == 1
    (ours if library == "ours" else oslo).launch(conf, Asking(client), workers=2).wait()


if __name__ == "__main__":
    main()
