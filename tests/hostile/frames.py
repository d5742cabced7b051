# SPDX-License-Identifier: Apache-2.0
"""Frames that no agent sends: random, mutated, too long, too deep, truncated. Pure; a seed gives the same frames."""

from __future__ import annotations

import copy
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from l3agent.model.wire import FRAME_BYTES

#: Names of devices of the node that :mod:`tests.hostile.node` has. The tap and the bridge are named as the port and the
#: network with these ids would name theirs.
VM_PORT, FOREIGN_NETWORK, NIC = "aaaaaaaa-bb01-4000-8000-000000000001", "cccccccc-dd02-4000-8000-000000000002", "nic0"

_ROUTERS = tuple(f"1111111{n}-0000-4000-8000-000000000000" for n in range(6))
#: Two of them share their first 11 characters.
_PORTS = (
    VM_PORT,
    *(f"2222222{n}-0000-4000-8000-000000000000" for n in range(8)),
    "22222220-00ff-4000-8000-000000000000",
)
_NETWORKS = (FOREIGN_NETWORK, *(f"3333333{n}-0000-4000-8000-000000000000" for n in range(4)))
_WORDS = (
    "", "..", "../../etc/passwd", "/etc/shadow", "a/b", "x\0y", "\x1b[2J", "\u2028", "é" * 90, "lo", NIC, "br0", "all",
    "%n%s", "-" * 36, "x" * 300, "x" * 4096, "x" * 4097, "tapaaaaaaaa-bb", "qg-", "$(id)", "'; flush ruleset; '",
    "inner", "h1", "router", "network", "host", *_ROUTERS, *_PORTS, *_NETWORKS,
)  # fmt: skip
_NUMBERS = (0, 1, -1, 255, 1500, 65536, 2**31, 2**32, 2**63, 2**64 - 1, -(2**63))
_SCALARS: tuple[Any, ...] = (
    None,
    True,
    False,
    0.5,
    float("nan"),
    float("inf"),
    b"",
    b"\0" * 4,
    b"\xff" * 8,
    b"x" * 4096,
)


@dataclass(frozen=True)
class Frame:
    """One frame.

    :param ends: the connection cannot be used after it: its end is not where the data plane expects it.
    """

    kind: str
    data: bytes
    ends: bool = False


class Frames:
    """An endless source of frames.

    :param seed: the same seed gives the same frames.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._number = 0

    def __iter__(self) -> Iterator[Frame]:
        makers, weights = zip(*self._kinds(), strict=True)
        while True:
            yield self._random.choices(makers, weights)[0]()

    def _kinds(self) -> tuple[tuple[Callable[[], Frame], float], ...]:
        return (
            (self._valid, 2),
            (self._mutated, 55),
            (self._flipped, 3),
            (self._msgpack, 20),
            (self._bytes, 2),
            (self._truncated, 2),
            (self._length, 2),
            (self._deep, 0.5),
            (self._long, 0.02),
        )

    # ---- kinds ----------------------------------------------------------------------------------------------

    def _valid(self) -> Frame:
        return Frame("valid", msgpack.packb(self._request()))

    def _mutated(self) -> Frame:
        request = copy.deepcopy(self._request())
        for _ in range(self._random.choice((1, 1, 1, 2, 4))):
            request = self._mutate(request)
        try:
            return Frame("mutated", msgpack.packb(request))
        except (OverflowError, ValueError):
            return self._msgpack()

    def _flipped(self) -> Frame:
        data = bytearray(msgpack.packb(self._request()))
        for _ in range(self._random.randint(1, 8)):
            data[self._random.randrange(len(data))] = self._random.randrange(256)
        return Frame("flipped bytes", bytes(data), ends=True)

    def _msgpack(self) -> Frame:
        return Frame("random msgpack", msgpack.packb(self._value(4)))

    def _bytes(self) -> Frame:
        return Frame("random bytes", self._random.randbytes(self._random.randint(1, 300)), ends=True)

    def _truncated(self) -> Frame:
        data = msgpack.packb(self._request())
        return Frame("truncated", data[: self._random.randrange(len(data))], ends=True)

    def _length(self) -> Frame:
        kind = self._random.choice(b"\xc6\xc9\xdb\xdd\xdf\xc5\xda\xdc\xde")
        length = self._random.choice((2**32 - 1, 2**31, 60_000_000, FRAME_BYTES + 1, 1 << 17, 65535))
        packed = struct.pack(">I", length) if kind in b"\xc6\xc9\xdb\xdd\xdf" else struct.pack(">H", length & 0xFFFF)
        head = self._random.choice((b"", b"\x93\x01", b"\x93\x01\xa9reconcile"))
        return Frame("huge length", head + bytes((kind,)) + packed + self._random.randbytes(64), ends=True)

    def _deep(self) -> Frame:
        unit = self._random.choice((b"\x91", b"\x81\x01", b"\x81\xa1x"))
        depth = self._random.choice((30, 400, 600, 1200, 5000, 50_000))
        head = self._random.choice((b"", b"\x93\x01\xa9reconcile"))
        return Frame("deep nesting", head + unit * depth + b"\xc0", ends=True)

    def _long(self) -> Frame:
        size = self._random.choice((FRAME_BYTES // 4, FRAME_BYTES - 4096, FRAME_BYTES + 4096))
        row = self._random.choice((b"\x90", b"\xa0", b"\x80", b"\xc0"))
        count = min(size, self._random.choice((1 << 16, 1 << 17)))
        rows = (b"\xdd" + struct.pack(">I", count) + row * count) * (size // (count + 5) or 1)
        routes = [
            [bytes((10, one >> 8 & 255, one & 255, 0)), 24, [["qr-22222220-00", None]]] for one in range(size // 64)
        ]
        body = self._random.choice((rows, msgpack.packb(routes)))
        head = self._random.choice((b"\x93\x01\xa9reconcile", b"\x93\x01\xa5hello", b""))
        return Frame("long", head + body, ends=True)

    # ---- what they are made of ------------------------------------------------------------------------------

    def _request(self) -> list[Any]:
        self._number += 1
        pick = self._random.choice
        key = [pick(("router", "router", "network", "host")), pick((*_ROUTERS, "h1", *_NETWORKS))]
        states = [self._state() for _ in range(pick((1, 1, 1, 3)))]
        operation, arguments = pick((
            ("hello", {}),
            ("invalidate", {"keys": pick((None, [key]))}),
            ("inventory", {"marked": pick((True, False))}),
            ("unmanage", {"keys": [key]}),
            ("inspect", {"state": self._state()}),
            ("release", {}),
            ("stats", {}),
            ("traffic", {"kind": key[0], "id": key[1]}),
            ("reconcile", {"states": [self._state()], "dry_run": True, "lines": pick((0, 1, 1 << 30))}),
            ("reconcile", {"states": states, "dry_run": pick((False, True, True))}),
        ))  # fmt: skip
        return [self._number, operation, arguments]

    def _state(self) -> dict[str, Any]:
        pick = self._random.choice
        kind = pick(("router",) * 6 + ("network", "host"))
        if self._random.random() < 0.3:
            return {"kind": kind, "id": pick((*_ROUTERS, *_NETWORKS, "h1")), "state": None}
        if kind == "network":
            return {"kind": kind, "id": pick(_NETWORKS), "state": {"interface": pick((None, NIC, "lo", "br0", "eth0"))}}
        if kind == "host":
            plugged = self._port("eth0", 5)
            body = self._namespace([plugged], None, [self._route("eth0", 1)])
            return {"kind": kind, "id": "h1", "state": body}
        ports = [self._port("qr-", n) for n in range(self._random.randint(0, 3))]
        gateway = pick((None, self._port("qg-", 9)))
        devices = [one[2] for one in (*ports, *([gateway] if gateway else []))]
        routes = [self._route(pick(devices), n) for n in range(self._random.randint(0, 3))] if devices else []
        return {"kind": kind, "id": pick(_ROUTERS), "state": self._namespace(ports, gateway, routes)}

    def _namespace(self, ports: list[Any], gateway: list[Any] | None, routes: list[Any]) -> dict[str, Any]:
        pick = self._random.choice
        pair = bytes((203, 0, 113, self._random.randint(1, 254), 10, 0, 0, self._random.randint(1, 254)))
        body: dict[str, Any] = {
            "ports": ports,
            "gateway": gateway,
            "routes": routes,
            "floating_ips": pair * self._random.randint(0, 2) if gateway else b"",
            "nat_address": bytes((203, 0, 113, 9)) if gateway else None,
            "snat": gateway is not None and pick((True, False)),
        }
        if ports and pick((True, False)):
            device = ports[0][2]
            routes.append([*self._route(device, 4), pick((16, 2**32 - 1))])
            body["rules"] = [[pick((1, 32765, 32766, 2**32 - 1)), 16, pick((None, [bytes((10, 0, 0, 0)), 24])), device]]
            mac = bytes((2, 0, 0, 0, 0, 1))
            body["neighbours"] = device.encode().ljust(16, b"\0") + bytes(10) + b"\xff\xff" + bytes((10, 0, 0, 7)) + mac
        return body

    def _port(self, prefix: str, number: int) -> list[Any]:
        port_id = self._random.choice(_PORTS)
        device = prefix if prefix == "eth0" else (prefix + port_id)[:14]
        mac = f"fa:16:3e:00:0{number}:{self._random.randint(16, 99)}"
        addresses = [[bytes((10, 0, number, 1)), 24]]
        return [port_id, self._random.choice(_NETWORKS), device, mac, self._random.choice((None, 1500)), addresses]

    def _route(self, device: str, number: int) -> list[Any]:
        return [bytes((172, 30, number, 0)), 24, [[device, self._random.choice((None, bytes((10, 0, number, 7))))]]]

    def _value(self, depth: int) -> Any:
        pick = self._random.choice
        kind = self._random.randrange(6 if depth else 4)
        if kind == 4:
            return [self._value(depth - 1) for _ in range(self._random.randint(0, 4))]
        if kind == 5:
            return {pick((*_WORDS[:20], 1, None)): self._value(depth - 1) for _ in range(self._random.randint(0, 3))}
        return (pick(_WORDS), pick(_NUMBERS), pick(_SCALARS), self._random.randbytes(pick((4, 8, 16))))[kind]

    def _mutate(self, value: Any) -> Any:
        """Return a value with one change somewhere in it."""
        inside = (
            list(value.items())
            if isinstance(value, dict)
            else list(enumerate(value))
            if isinstance(value, list)
            else []
        )
        if inside and self._random.random() < 0.85:
            at, one = self._random.choice(inside)
            match self._random.randrange(12):
                case 0:
                    del value[at]
                case 1 if isinstance(value, list):
                    value.insert(at, one)
                case 2 if isinstance(value, dict):
                    value[self._random.choice((*_WORDS, 7))] = self._value(2)
                case _:
                    value[at] = self._mutate(one)
            return value
        if isinstance(value, bytes) and value and self._random.random() < 0.7:
            return self._random.choice((value * 2, value[:-1], value + b"\0", self._random.randbytes(len(value))))
        return self._value(2)
