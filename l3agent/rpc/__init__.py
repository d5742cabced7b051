# SPDX-License-Identifier: Apache-2.0
"""RPC over oslo.messaging: consumers, clients with deadlines, and a driver without a broker.

========================  ==========================================================================================
``get_transport``         the transport of a configuration: ``rabbit://`` or the in-process ``local://``
``Connection``            consumers: ``create_consumer(topic, [endpoint])``, ``consume_in_threads()``, ``close()``
``Client``                ``call`` and ``cast``; a call never outlasts its deadline, with a broker or without
``admin_context``         the context of an agent's calls; ``ContextSerializer`` transports it
``StateReporter``         state reports of an agent to the server
``FailureLog``            log of failures by cause: the first at once, repetitions as one line with a count
``is_unknown_method``     True if a RemoteError means that the peer lacks the method or its version
========================  ==========================================================================================

A call raises only ``ServerUnavailable`` (no answer in time or no broker: retry later) and ``RemoteError`` (the method
of the server raised: see ``exc_type`` and ``value``).

The defaults fit a virtual host that Neutron's services use: its queues are lost with the broker. For messages that must
survive, set ``amqp_durable_queues`` (one node) or ``rabbit_quorum_queue`` (a cluster) in ``[oslo_messaging_rabbit]``,
use a separate virtual host, send with ``cast(..., at_least_once=True)``, and repeat after ``ServerUnavailable``.
"""

from __future__ import annotations

from l3agent.rpc import backend as backend  # first, since later imports fix the backend
from l3agent.rpc.client import Client, RemoteError, Target
from l3agent.rpc.compat import is_unknown_method
from l3agent.rpc.connection import Connection
from l3agent.rpc.context import Context, ContextSerializer, admin_context
from l3agent.rpc.failure_log import FailureLog
from l3agent.rpc.state_report import StateReporter
from l3agent.rpc.transport import get_transport

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
