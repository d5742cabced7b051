# SPDX-License-Identifier: Apache-2.0
"""A broker keeps accepted messages through SIGKILL.

``python -m tests.bench.library outages`` does this with 10,000 casts and five kills; ``--queues`` chooses the settings.

A quorum queue that is a few seconds old when its node is killed may stay without a leader for ever, and keeps the
consumer's channel waiting (RabbitMQ 3.10 on a single node; issue 10070 of rabbitmq-server; ``ra:trigger_election`` ends
it). The queues of an agent are days old, so the test waits until they have aged.
"""

from __future__ import annotations

import uuid

import pytest
from oslo_config import cfg

from l3agent.exceptions import ConfigError
from l3agent.rpc import Connection, get_transport
from tests.support.casts import AGE, RELIABLE, cast_through_outages
from tests.support.rabbit import Rabbit


@pytest.mark.parametrize("queues", RELIABLE)
def test_no_cast_is_lost_when_the_broker_is_killed(rabbit: Rabbit, queues: str) -> None:
    casts = 1500
    account = cast_through_outages(rabbit, RELIABLE[queues], casts=casts, kills=5, age=AGE[queues])
    assert account.sent == len(account.arrived) == casts
    assert account.lost() == 0


def test_a_queue_that_others_declared_otherwise_is_a_configuration_error(rabbit: Rabbit) -> None:
    """The defaults of Neutron's services and of this library match; a change of one requires a change of both."""
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
    with pytest.raises(ConfigError, match="need the same values of amqp_durable_queues and rabbit_quorum_queue"):
        consume(rabbit_quorum_queue=True)
