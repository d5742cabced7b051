# SPDX-License-Identifier: Apache-2.0
"""Checks that messages of a topic still reach their consumer.

When an operator deletes an exchange, RabbitMQ deletes its bindings and nothing else: connections, queues and consumers
stay, no client is notified, and the next publisher declares the exchange again, without the bindings. AMQP has no
request for the bindings of a queue. The check is a mandatory message to the consumer's own queue: the broker returns it
if there is no binding.
"""

from __future__ import annotations

import functools
from typing import Any

import oslo_messaging
from oslo_log import log as logging
from oslo_messaging import RemoteError, Target

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc.sending import run_with_deadline

LOG = logging.getLogger(__name__)

#: Method of the probe message. No endpoint has it, since methods that begin with ``_`` cannot be called.
PROBE = "_is_bound"
#: Minimum seconds between two checks, since calls may fail at a high rate during an outage of a server.
CHECK_INTERVAL_S = 5.0
# Seconds for the broker to accept or return the message.
_TIMEOUT_S = 10.0
# The first publication to a deleted exchange fails, since the driver assumes that it is declared; the next declares it.
_ATTEMPTS = 2


def is_bound(transport: oslo_messaging.RPCTransport, topic: str, server: str) -> bool:
    """Return False if the broker has no queue for ``<topic>.<server>``; True if it has one or is unreachable."""
    target = Target(topic=topic, server=server)
    options = oslo_messaging.TransportOptions(at_least_once=True)
    for _ in range(_ATTEMPTS):
        try:
            send = functools.partial(transport._send, retry=0, transport_options=options)
            run_with_deadline(_TIMEOUT_S, f"{topic}.{server}", send, target, {}, {"method": PROBE, "args": {}})
            return True
        except ServerUnavailable as error:
            if isinstance(error.__cause__, oslo_messaging.MessageUndeliverable):
                return False
            LOG.debug("Checking the binding of %s.%s: %s", topic, server, error)
        except (RemoteError, TimeoutError) as error:
            LOG.debug("Checking the binding of %s.%s: %s", topic, server, error)
    return True


def is_probe(incoming: Any) -> bool:
    """Return True if an incoming message is a probe of :func:`is_bound`."""
    return bool(incoming.message.get("method") == PROBE)
