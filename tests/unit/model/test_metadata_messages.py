# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from l3agent.exceptions import InvalidState
from l3agent.model.metadata_messages import (
    MAX_PACKET,
    STATUS_ROUTERS,
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

ROUTER = "e3aad189-6228-41b6-a9c9-1d2c00833235"


@pytest.mark.parametrize(
    ("request_", "packet"),
    [
        (
            Configure("/run/l3agent/haproxy.sock", 100, 50, 5, 60),
            '{"id":7,"op":"configure","haproxy_socket":"/run/l3agent/haproxy.sock","connections":100,'
            '"router_connections":50,"source_connections":5,"idle_timeout":60}',
        ),
        (AddRouter(ROUTER), f'{{"id":7,"op":"add_router","router":"{ROUTER}"}}'),
        (RemoveRouter(ROUTER), f'{{"id":7,"op":"remove_router","router":"{ROUTER}"}}'),
        (Drain(30), '{"id":7,"op":"drain","timeout":30}'),
        (QueryStatus(), '{"id":7,"op":"status","after":""}'),
    ],
)
def test_the_format_of_requests(request_: Request, packet: str) -> None:
    assert encode_request(7, request_) == packet.encode()
    assert decode_request(packet.encode()) == request_


def test_fields_with_a_default_are_optional() -> None:
    assert decode_request(b'{"id":0,"op":"configure","haproxy_socket":"/a"}') == Configure("/a")


@pytest.mark.parametrize(
    "answer", [ControlAnswer(3), ControlAnswer(None, "no"), ControlAnswer(0, None, {"routers": {}})]
)
def test_answers(answer: ControlAnswer) -> None:
    assert decode_answer(encode_answer(answer)) == answer


@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (b"", "packet: b'': expected JSON"),
        (b"\xff", "packet: b'\\xff': expected JSON"),
        (b"[" * 50_000, "expected JSON"),
        (b"7", "packet: 7: expected a JSON object"),
        (b'{"op":"status"}', "id: None: expected an integer of 0 or more"),
        (b'{"id":true,"op":"status"}', "id: True: expected an integer of 0 or more"),
        (b'{"id":-1,"op":"status"}', "id: -1: expected an integer of 0 or more"),
        (b'{"id":1,"op":"exit"}', "op: 'exit': expected one of configure, add_router"),
        (b'{"id":1,"op":[]}', "op: []: expected one of"),
        (b'{"id":1,"op":"add_router"}', "router: None: add_router needs this field"),
        (b'{"id":1,"op":"add_router","router":"../../etc/x"}', "router: '../../etc/x': expected the id of a router"),
        (b'{"id":1,"op":"remove_router","router":7}', "router: 7: expected the id of a router"),
        (b'{"id":1,"op":"status","port":80}', "port: 80: status has no such field"),
        (b'{"id":1,"op":"status","after":"*"}', "after: '*': expected the id of a router, or an empty text"),
        (b'{"id":1,"op":"drain","timeout":-1}', "timeout: -1: expected an integer from 0 to 86400"),
        (b'{"id":1,"op":"drain","timeout":1.5}', "timeout: 1.5: expected an integer from 0 to 86400"),
        (b'{"id":1,"op":"configure","haproxy_socket":"a"}', "haproxy_socket: 'a': expected an absolute path"),
        (b'{"id":1,"op":"configure","haproxy_socket":"/a\\u0000"}', "expected an absolute path"),
        (b'{"id":1,"op":"configure","haproxy_socket":"/%s"}' % (b"a" * 107), "longer than 107 bytes"),
        (
            b'{"id":1,"op":"configure","haproxy_socket":"/a","connections":0}',
            "connections: 0: expected an integer from 1",
        ),
    ],
)
def test_invalid_requests(packet: bytes, error: str) -> None:
    with pytest.raises(InvalidState) as caught:
        decode_request(packet)
    assert error in str(caught.value)


@pytest.mark.parametrize("packet", [b"", b"[]", b'{"id":"1"}', b'{"id":1,"error":1}'])
def test_invalid_answers(packet: bytes) -> None:
    with pytest.raises(InvalidState):
        decode_answer(packet)


def test_the_number_is_read_although_the_rest_is_invalid() -> None:
    assert decode_number(b'{"id":9,"op":"exit"}') == 9
    assert decode_number(b'{"id":"9"}') is None
    assert decode_number(b"{") is None


def test_a_status_of_as_many_routers_as_one_answer_has_fits() -> None:
    results = dict.fromkeys(("forwarded", "not_redirected", "source_limit", "unavailable", "evicted", "idle"), 10**10)
    routers = {ROUTER[:-3] + f"{number:03}": results for number in range(STATUS_ROUTERS)}
    assert len(encode_answer(ControlAnswer(1, None, {"routers": routers, "results": results}))) < MAX_PACKET
    with pytest.raises(ValueError, match="at most 65536"):
        encode_answer(ControlAnswer(1, json.dumps(routers) * 2))
