# SPDX-License-Identifier: Apache-2.0
"""What the broker has taken it keeps, through SIGKILL.

``python -m tests.bench.library outages`` does this with 10,000 casts and five kills; ``--queues`` chooses the settings.

With quorum queues RabbitMQ 3.10 keeps the messages too, but after SIGKILL of a single node it says in about every
second run that it has delivered them to a consumer whose socket gets nothing; they stay unacknowledged in the queue
until that connection ends. So durable queues alone are claimed.
"""

from __future__ import annotations

import uuid

import pytest
from oslo_config import cfg

from l3agent.exceptions import ConfigError
from l3agent.rpc import Connection, get_transport
from tests.functional.support.casts import RELIABLE, cast_through_outages
from tests.functional.support.rabbit import Rabbit


def test_no_cast_is_lost_when_the_broker_is_killed(rabbit: Rabbit) -> None:
    casts = 1500
    account = cast_through_outages(rabbit, RELIABLE["durable"], casts=casts, kills=5)
    assert account.sent == len(account.arrived) == casts
    assert account.lost() == 0


def test_a_queue_that_others_declared_otherwise_is_a_configuration_error(rabbit: Rabbit) -> None:
    """Neutron's services and ours fit each other by default; who changes one of them must change both."""
    topic = f"shared-{uuid.uuid4()}"

    def consume(**options: bool) -> None:
        conf = cfg.ConfigOpts()
        conf([])
        get_transport(conf, "rabbit://")
        for name, value in options.items():
            conf.set_override(name, value, group="oslo_messaging_rabbit")
        conf.set_override("control_exchange", topic)
        connection = Connection(get_transport(conf, rabbit.url), host="node1")
        connection.create_consumer(topic, [object()])
        try:
            connection.consume_in_threads()
        finally:
            connection.close()

    consume()
    with pytest.raises(ConfigError, match="need the same amqp_durable_queues and rabbit_quorum_queue"):
        consume(rabbit_quorum_queue=True)
