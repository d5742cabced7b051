# SPDX-License-Identifier: Apache-2.0
"""Packets between ``l3-metadata`` and its parent, and headers of the PROXY protocol, for all values."""

from __future__ import annotations

import json
from contextlib import suppress
from ipaddress import ip_address
from struct import unpack
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from l3agent.exceptions import InvalidState
from l3agent.metadata.proxy_protocol import encode_header, encode_router, unmap
from l3agent.metadata.redirect import source_of
from l3agent.model.metadata_messages import (
    AddRouter,
    Configure,
    ControlAnswer,
    Drain,
    QueryStatus,
    RemoveRouter,
    Request,
    decode_answer,
    decode_number,
    decode_request,
    encode_answer,
    encode_request,
)

NUMBERS = st.integers(0, (1 << 63) - 1)
ROUTERS = st.text("0123456789abcdefABCDEF-", min_size=11, max_size=36)
COUNTS = st.integers(1, 1_000_000)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
REQUESTS: st.SearchStrategy[Request] = st.one_of(
    st.builds(AddRouter, ROUTERS),
    st.builds(RemoveRouter, ROUTERS),
    st.builds(Drain, st.integers(0, 86_400)),
    st.builds(QueryStatus, ROUTERS | st.just("")),
    st.builds(
        Configure,
        st.from_regex(r"/[!-~]{0,106}", fullmatch=True),
        COUNTS,
        COUNTS,
        COUNTS,
        st.integers(1, 86_400),
    ),
)
FIELDS = st.sampled_from(["id", "op", "router", "timeout", "after", "haproxy_socket", "connections", "x"])
OPERATIONS = st.sampled_from(["configure", "add_router", "remove_router", "drain", "status"])
PORTS = st.integers(0, 65535)


@given(NUMBERS, REQUESTS)
def test_a_request_survives_its_packet(number: int, request: Request) -> None:
    packet = encode_request(number, request)
    assert (decode_number(packet), decode_request(packet)) == (number, request)


@given(st.none() | NUMBERS, st.none() | st.text(), JSON)
def test_an_answer_survives_its_packet(number: int | None, error: str | None, result: Any) -> None:
    answer = ControlAnswer(number, error, result)
    assert decode_answer(encode_answer(answer)) == answer


@given(st.binary())
def test_any_bytes_are_a_request_or_invalid(packet: bytes) -> None:
    decode_number(packet)
    for decode in (decode_request, decode_answer):
        with suppress(InvalidState):
            decode(packet)


@given(st.dictionaries(FIELDS, JSON | OPERATIONS | ROUTERS | NUMBERS))
def test_any_object_is_a_request_or_invalid(message: dict[str, Any]) -> None:
    packet = json.dumps(message).encode()
    try:
        request = decode_request(packet)
    except InvalidState:
        return
    assert decode_request(encode_request(message["id"], request)) == request


@given(ROUTERS, st.sampled_from([4, 16]), st.data(), PORTS, PORTS)
def test_a_header_has_all_that_it_was_made_of(
    router: str, size: int, data: st.DataObject, source_port: int, port: int
) -> None:
    source, destination = (data.draw(st.binary(min_size=size, max_size=size)) for _ in range(2))
    header = encode_header((source, source_port), (destination, port), encode_router(router))
    signature, command, family, length = unpack("!12sBBH", header[:16])
    assert signature == bytes.fromhex("0d0a0d0a000d0a515549540a")
    assert (command, family) == (0x21, 0x11 if size == 4 else 0x21)
    assert len(header) == 16 + length
    body = header[16:]
    assert (body[:size], body[size : 2 * size]) == (source, destination)
    assert unpack("!HH", body[2 * size : 2 * size + 4]) == (source_port, port)
    kind, value_length = unpack("!BH", body[2 * size + 4 : 2 * size + 7])
    assert kind == 0x05
    assert body[2 * size + 7 :] == router.encode() and value_length == len(router)


@given(st.ip_addresses(), PORTS)
def test_the_address_of_a_peer_is_packed(address: Any, port: int) -> None:
    mapped = getattr(address, "ipv4_mapped", None) or address
    assert source_of((str(address), port)) == (mapped.packed, port)
    if address.version == 4:
        assert source_of((f"::ffff:{address}", port, 0, 0)) == (address.packed, port)
    else:
        assert source_of((f"{address}%eth0", port, 0, 2)) == (unmap(address.packed), port)
        assert ip_address(source_of((str(address), port))[0]).packed == mapped.packed
