# SPDX-License-Identifier: Apache-2.0
"""RPC over oslo.messaging: consumers, clients with deadlines, and a driver that needs no broker.

========================  ==========================================================================================
``get_transport``         the transport of a configuration: ``rabbit://`` or the in-process ``local://``
``Connection``            consumers: ``create_consumer(topic, [endpoint])``, ``consume_in_threads()``, ``close()``
``Client``                ``call`` and ``cast``; a call never outlasts its deadline, with a broker or without
``admin_context``         the context an agent calls with; ``ContextSerializer`` carries it
``StateReporter``         the heartbeat of any kind of agent to the server
========================  ==========================================================================================

A call raises ``PluginUnavailable`` (no answer in time, no broker: try again later) or ``RemoteError`` (the method of
the server raised: look at ``exc_type`` and ``value``), and nothing else.
"""

from __future__ import annotations

from l3agent.rpc import backend as backend  # the first import: it chooses the backend that the next ones would fix
from l3agent.rpc.context import Context, ContextSerializer, admin_context
from l3agent.rpc.state_report import StateReporter
from l3agent.rpc.transport import Client, Connection, RemoteError, Target, get_transport

__all__ = [
    "Client",
    "Connection",
    "Context",
    "ContextSerializer",
    "RemoteError",
    "StateReporter",
    "Target",
    "admin_context",
    "get_transport",
]
