# SPDX-License-Identifier: Apache-2.0
"""Sends casts that must not be lost while their broker is killed repeatedly, and counts arrivals."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import eventlet
from oslo_config import cfg

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc import Client, Connection, admin_context, get_transport
from l3agent.testing import wait_until
from tests.support.rabbit import Rabbit

#: Settings with which a broker keeps accepted messages, by name; see ``l3agent.rpc``.
RELIABLE: dict[str, dict[str, bool]] = {
    "durable": {"amqp_durable_queues": True},
    "quorum": {"rabbit_quorum_queue": True},
}
#: Seconds that such queues must have existed when their node is killed. A quorum queue that has not may stay without a
#: leader, a fault of the broker: with none it did in every second run, with these in none of 23.
AGE = {"durable": 0.0, "quorum": 20.0}
_SENDERS = 8


@dataclass
class Account:
    """Results of the casts."""

    sent: int = 0
    #: Number of casts that were refused and repeated.
    refused: int = 0
    #: Number of arrivals of each cast.
    arrived: Counter[int] = field(default_factory=Counter)

    def lost(self) -> int:
        """Return the number of accepted casts that never arrived."""
        return self.sent - len(self.arrived)

    def twice(self) -> int:
        """Return the number of casts that arrived more than once."""
        return sum(count > 1 for count in self.arrived.values())


class _Counting:
    def __init__(self, account: Account) -> None:
        self._account = account

    def count(self, context: object, number: int) -> None:
        self._account.arrived[number] += 1


def cast_through_outages(
    rabbit: Rabbit,
    options: Mapping[str, bool],
    *,
    casts: int,
    kills: int,
    at_least_once: bool = True,
    age: float = 0,
    timeout: float = 900,
) -> Account:
    """Send casts from several greenthreads while the broker is killed by SIGKILL, evenly spread, and started again.

    :param options: of ``[oslo_messaging_rabbit]``.
    :param age: seconds that the queues have existed when the first cast is sent.
    :param timeout: seconds for all; on two idle cores there go 100 to 200 casts a second, and a broker is away for 10.
    :raises TimeoutError: not all were sent in time; the message has the number.
    """
    account = Account()
    # Unique names: an exchange or queue cannot be declared again with other settings.
    name = f"casts-{uuid.uuid4()}"
    conf = _configured(options, name)
    receiving, sending = get_transport(conf, rabbit.url), get_transport(conf, rabbit.url)
    connection = Connection(receiving, host="receiver")
    connection.create_consumer(name, [_Counting(account)])
    connection.consume_in_threads()
    eventlet.sleep(age)
    client = Client(sending, name, timeout=60)
    numbers = iter(range(casts))
    senders = [eventlet.spawn(_send, client, numbers, account, at_least_once) for _ in range(_SENDERS)]
    try:
        with eventlet.Timeout(timeout, TimeoutError(f"not all of {casts} casts were sent within {timeout:g} s")):
            _kill_meanwhile(rabbit, account, casts, kills, timeout)
            for sender in senders:
                sender.wait()
        _wait_arrived(account)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {account.sent} were, {len(account.arrived)} arrived") from error
    finally:
        for sender in senders:
            sender.kill()
        connection.close()
        for transport in (receiving, sending):
            with eventlet.Timeout(10, False):
                transport.cleanup()
    return account


def _kill_meanwhile(rabbit: Rabbit, account: Account, casts: int, kills: int, timeout: float) -> None:
    for kill in range(1, kills + 1):
        wait_until(lambda kill=kill: account.sent >= casts * kill / (kills + 1), timeout=timeout)  # type: ignore[misc]
        rabbit.kill()
        rabbit.start()


def _configured(options: Mapping[str, bool], exchange: str) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf([])
    get_transport(conf, "rabbit://")  # registers the options
    conf.set_override("control_exchange", exchange)
    for name, value in options.items():
        conf.set_override(name, value, group="oslo_messaging_rabbit")
    return conf


def _send(client: Client, numbers: object, account: Account, at_least_once: bool) -> None:
    for number in numbers:  # type: ignore[attr-defined]
        while True:
            try:
                client.cast(admin_context(), "count", at_least_once=at_least_once, number=number)
                break
            except ServerUnavailable:
                account.refused += 1
                eventlet.sleep(0.1)
        account.sent += 1


def _wait_arrived(account: Account, quiet: float = 20, timeout: float = 90) -> None:
    """Wait until all have arrived, or none for ``quiet`` seconds, which a consumer may need to reconnect."""
    with eventlet.Timeout(timeout, False):
        before = -1
        while account.lost() and before != (before := len(account.arrived)):
            with eventlet.Timeout(quiet, False):
                while account.lost():
                    eventlet.sleep(0.1)
