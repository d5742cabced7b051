# SPDX-License-Identifier: Apache-2.0
"""RPC over oslo.messaging: consumers, clients with deadlines, and a driver that needs no broker.

========================  ==========================================================================================
``get_transport``         the transport of a configuration: ``rabbit://`` or the in-process ``local://``
``Connection``            consumers: ``create_consumer(topic, [endpoint])``, ``consume_in_threads()``, ``close()``
``Client``                ``call`` and ``cast``; a call never outlasts its deadline, with a broker or without
``admin_context``         the context an agent calls with; ``ContextSerializer`` carries it
``StateReporter``         the heartbeat of any kind of agent to the server
``FailureLog``            logs failures by cause: the first at once, repetitions as one line with a count
``is_unknown_method``     whether a RemoteError says that the other end is older than the question
========================  ==========================================================================================

A call raises ``ServerUnavailable`` (no answer in time, no broker: try again later) or ``RemoteError`` (the method of
the server raised: look at ``exc_type`` and ``value``), and nothing else.

The defaults fit a virtual host that Neutron's services use: queues vanish with their broker. For messages that must
outlive it set ``amqp_durable_queues`` (one node) or ``rabbit_quorum_queue`` (a cluster) in ``[oslo_messaging_rabbit]``,
in a virtual host of your own, and send them by ``cast(..., at_least_once=True)``, again after ``ServerUnavailable``.
"""

from __future__ import annotations

from l3agent.rpc import backend as backend  # the first import: it chooses the backend that the next ones would fix
from l3agent.rpc.compat import is_unknown_method
from l3agent.rpc.connection import Connection
from l3agent.rpc.context import Context, ContextSerializer, admin_context
from l3agent.rpc.failure_log import FailureLog
from l3agent.rpc.state_report import StateReporter
from l3agent.rpc.transport import Client, RemoteError, Target, get_transport

__all__ = [
    "Client",
    "Connection",
    "Context",
    "ContextSerializer",
    "FailureLog",
    "RemoteError",
    "StateReporter",
    "Target",
    "admin_context",
    "get_transport",
    "is_unknown_method",
]
