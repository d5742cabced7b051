# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l3agent.dataplane.netlink.message import (
    ACK,
    HEADER,
    attribute,
    attribute_map,
    attributes,
    be32,
    message,
    messages,
    nested,
    number_messages,
    split_batch,
    text,
    u8,
    u32,
)

#: Types that carry no flag bits.
kinds = st.integers(1, 0x3FFF)
values = st.binary(max_size=40)


@given(st.lists(st.tuples(kinds, values), max_size=6))
def test_attributes_are_padded_to_four_bytes_and_read_back(listed: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, value) for kind, value in listed)
    assert len(data) % 4 == 0
    assert [(kind, data[start:end]) for kind, start, end in attributes(data, 0, len(data))] == listed


@given(kinds, st.lists(st.tuples(kinds, values), max_size=4))
def test_nested_attributes_are_read_back_without_their_flag(kind: int, inside: list[tuple[int, bytes]]) -> None:
    data = nested(kind, *(attribute(*one) for one in inside))
    ((found, start, end),) = attributes(data, 0, len(data))
    assert found == kind
    assert [(one, data[first:last]) for one, first, last in attributes(data, start, end)] == inside


def test_numbers_have_the_byte_order_and_size_that_the_kernel_wants() -> None:
    assert attribute_map(text(3, "lo") + u8(1, 7) + be32(2, 258), 0, 24) == {3: b"lo\0", 1: b"\7", 2: b"\0\0\1\2"}
    assert u32(4, 1)[4:] == (1).to_bytes(4, "little" if HEADER.pack(1, 0, 0, 0, 0)[0] else "big")


@given(st.lists(st.binary(max_size=30).map(lambda body: body + bytes(-len(body) % 4)), min_size=1, max_size=6))
def test_a_batch_is_numbered_and_only_its_last_message_wants_an_acknowledgement(bodies: list[bytes]) -> None:
    batch = bytearray(b"".join(message(16, 0, body) for body in bodies))
    assert number_messages(batch, 41) == 40 + len(bodies)
    found = list(messages(bytes(batch)))
    assert [number for _, _, number, _, _ in found] == list(range(41, 41 + len(bodies)))
    assert [bool(flags & ACK) for _, flags, _, _, _ in found] == [False] * (len(bodies) - 1) + [True]
    assert [bytes(batch[start:end]) for _, _, _, start, end in found] == bodies


@given(st.binary(max_size=200))
def test_walking_garbage_ends_and_stays_inside(data: bytes) -> None:
    for _, _, _, start, end in messages(data):
        assert 16 <= start <= end <= len(data)
    for _, start, end in attributes(data, 0, len(data)):
        assert 4 <= start <= end <= len(data)


@given(st.lists(values, min_size=1, max_size=4), st.integers(0, 200))
def test_what_is_cut_off_is_left_out(bodies: list[bytes], cut: int) -> None:
    whole = b"".join(message(16, 0, body + bytes(-len(body) % 4)) for body in bodies)
    expected = [one for one in messages(whole) if one[4] <= cut]
    assert list(messages(whole[:cut])) == expected


@given(st.lists(values, max_size=20), st.integers(1, 200))
def test_a_batch_is_cut_between_messages_and_nothing_is_lost(bodies: list[bytes], most: int) -> None:
    listed = [message(16, 0, attribute(1, body)) for body in bodies]
    parts = list(split_batch(b"".join(listed), most))
    assert b"".join(parts) == b"".join(listed)
    for part in parts:
        whole = [part[start - 16 : end] for _, _, _, start, end in messages(part)]
        assert b"".join(whole) == part
        assert len(part) <= most or len(whole) == 1
