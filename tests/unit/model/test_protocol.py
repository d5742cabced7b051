# SPDX-License-Identifier: Apache-2.0
"""The protocol number follows the wire format: whoever changes the format without the number fails here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_interface, ip_network
from typing import Any

import msgpack

from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.dataplane.operations import OPERATIONS
from l3agent.model.protocol import PROTOCOL
from l3agent.model.states import (
    FloatingIP,
    Key,
    NamespaceState,
    Neighbour,
    NetworkState,
    NextHop,
    PolicyRule,
    Port,
    Report,
    Route,
)
from l3agent.model.wire import pack_report, pack_state, unpack_report, unpack_state

#: Digest of the wire format by protocol number. Add a line with each number; the last one is that of this code.
DIGESTS = {
    1: "b0cabee748d12e1ac2b4ac58c7fc0640865089f1612343f10a5e274188e1cdc0",
    2: "28e80dad9a8a1f6e93d812abe3802ef226033679a3a517b1383a13ec430e5ccb",
    3: "013340f3a7047195bd4bbfc7ecf01a72e72890c4a80aa718a5b62920dddb6e4a",
}

R1, R2 = (f"c000000{n}-0000-4000-8000-000000000000" for n in (1, 2))
NETWORK = "a0000000-0000-4000-8000-000000000000"


def test_a_change_of_the_wire_format_raises_the_protocol_number() -> None:
    digest = hashlib.sha256(msgpack.packb(list(_forms()))).hexdigest()
    assert list(DIGESTS) == list(range(1, PROTOCOL + 1))
    assert DIGESTS[PROTOCOL] == digest, (
        "the wire format has changed: raise PROTOCOL in l3agent/model/protocol.py and add the digest with the new "
        "number to DIGESTS"
    )


def test_the_forms_are_those_of_the_values() -> None:
    for key, state in _states():
        assert unpack_state(_crossed(pack_state(key, state))) == (key, state)
    assert unpack_report(_crossed(pack_report(_REPORT))) == _REPORT


def _crossed(form: Any) -> Any:
    return msgpack.unpackb(msgpack.packb(form), raw=False)


def _forms() -> Iterator[Any]:
    """Yield what crosses the socket for canonical values, in a fixed order."""
    yield sorted(OPERATIONS)
    yield sorted(OPERATIONS["hello"](None, {}))  # type: ignore[arg-type, call-overload]
    yield pack_report(_REPORT)
    yield from (pack_state(key, state) for key, state in _states())
    yield from _requests()


def _requests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the arguments of every request that the client makes."""
    sent: list[tuple[str, dict[str, Any]]] = []

    class Recorder(DataplaneClient):
        def _request(self, operation: str, arguments: dict[str, Any], timeout: float | None = None) -> Any:
            sent.append((operation, arguments))
            return [pack_report(_REPORT)] if operation == "reconcile" else {}

    client = Recorder("", timeout=1)
    states = _states()
    client.reconcile(states)
    client.reconcile(states, dry_run=True)
    client.inventory()
    client.stats()
    client.traffic(("router", R1))
    client.unmanage([key for key, _ in states])
    client.invalidate()
    client.invalidate([key for key, _ in states])
    client.inspect(*states[0])
    yield from sent


_REPORT = Report("router", R1, ("ip netns add x",), "an error", {"observe": 0.25, "plan": 0.5, "apply": 1.0}, 7)


def _states() -> list[tuple[Key, NamespaceState | NetworkState | None]]:
    """Return a state of each kind, with a value in every field."""
    inner, outer = _port("qr-", "1", "10.0.0.1/24", "2001:db8::1/64"), _port("qg-", "2", "203.0.113.5/24")
    router = NamespaceState(
        "router",
        R1,
        ports=frozenset({inner}),
        gateway=outer,
        routes=frozenset(
            {
                _route("0.0.0.0/0", outer, "203.0.113.1"),
                _route("192.0.2.0/24", inner, None),
                replace(_route("0.0.0.0/0", inner, "10.0.0.2"), table=16),
            }
        ),
        floating_ips=frozenset({FloatingIP(IPv4Address("203.0.113.7"), IPv4Address("10.0.0.7"))}),
        nat_address=IPv4Address("203.0.113.5"),
        snat=True,
        rules=frozenset({PolicyRule(100, 16, ip_network("10.0.0.0/24"), inner.device)}),
        neighbours=frozenset({Neighbour(inner.device, IPv4Address("10.0.0.7"), "02:00:00:00:00:01")}),
    )
    plugged = _port("eth0", "3", "10.0.0.7/24")
    host = NamespaceState(
        "host", "h1", frozenset({plugged}), routes=frozenset({_route("::/0", plugged, "2001:db8::1")})
    )
    return [
        (("router", R1), router),
        (("router", R2), None),
        (("network", NETWORK), NetworkState(NETWORK, "eth1")),
        (("host", "h1"), host),
    ]


def _port(device: str, number: str, *addresses: str) -> Port:
    port_id = f"{number * 8}-0000-4000-8000-000000000000"
    name = device if device == "eth0" else f"{device}{port_id[:11]}"
    return Port(port_id, NETWORK, name, f"fa:16:3e:00:00:0{number}", 1500, frozenset(map(ip_interface, addresses)))


def _route(destination: str, port: Port, via: str | None) -> Route:
    hop = NextHop(port.device, None if via is None else ip_interface(via).ip)
    return Route(ip_network(destination), frozenset({hop}))
