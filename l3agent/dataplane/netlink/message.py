# SPDX-License-Identifier: Apache-2.0
"""Netlink framing: encoding and decoding of headers, attributes and nested attributes.

Source: linux/netlink.h, netlink(7), RFC 3549 section 2. Integers of the frame are in host byte order; messages and
attributes are padded to four bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, pack, pack_into, unpack_from

# Flags of a message (linux/netlink.h).
REQUEST = 0x001
ACK = 0x004
DUMP_INTERRUPTED = 0x010
DUMP = 0x300
REPLACE = 0x100
EXCLUSIVE = 0x200
CREATE = 0x400
APPEND = 0x800

# Message types of all protocols.
ERROR = 2
DONE = 3

#: The type bits of an attribute type without flags (NLA_TYPE_MASK).
_TYPE_MASK = 0x3FFF
_NESTED = 0x8000

HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute with its padding."""
    length = len(value) + 4
    return _ATTRIBUTE.pack(length, kind) + value + _PADDING[length & 3]


def nested(kind: int, *parts: bytes) -> bytes:
    """Return an attribute that contains attributes."""
    value = b"".join(parts)
    return _ATTRIBUTE.pack(len(value) + 4, kind | _NESTED) + value


def text(kind: int, value: str) -> bytes:
    """Return an attribute with a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    """Return an attribute with one byte."""
    return pack("=HHBxxx", 5, kind, value)


def u32(kind: int, value: int) -> bytes:
    """Return an attribute with 32 bits in host byte order."""
    return pack("=HHI", 8, kind, value)


def be32(kind: int, value: int) -> bytes:
    """Return an attribute with 32 bits in network byte order, which nf_tables uses."""
    return pack("=HH", 8, kind) + pack(">I", value)


def message(kind: int, flags: int, body: bytes) -> bytes:
    """Return one request; the sender sets the sequence number."""
    return HEADER.pack(len(body) + 16, kind, flags | REQUEST, 0, 0) + body


def number_messages(messages: bytearray, first: int) -> int:
    """Number the messages of a batch from ``first``, request an acknowledgement of the last, and return its number.

    One acknowledgement suffices: the kernel reports an error of any message in any case.
    """
    offset, sequence, last = 0, first - 1, 0
    size = len(messages)
    while offset < size:
        (length,) = unpack_from("=I", messages, offset)
        sequence += 1
        pack_into("=I", messages, offset + 8, sequence)
        last = offset
        offset += (length + 3) & ~3
    (flags,) = unpack_from("=H", messages, last + 6)
    pack_into("=H", messages, last + 6, flags | ACK)
    return sequence


def split_batch(messages: bytes, limit: int) -> Iterator[bytes]:
    """Split a batch between messages into parts of at most ``limit`` bytes."""
    start = offset = 0
    while len(messages) - start > limit:
        while offset < len(messages):
            (length,) = unpack_from("=I", messages, offset)
            after = offset + ((length + 3) & ~3)
            if after - start > limit and offset > start:
                break
            offset = after
        yield messages[start:offset]
        start = offset
    if start < len(messages):
        yield messages[start:]


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (type, flags, sequence, start of the body, end of the message) of each message in received bytes.

    A truncated message ends the iteration.
    """
    offset, size = 0, len(data)
    while offset + 16 <= size:
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if length < 16 or offset + length > size:
            return
        yield kind, flags, sequence, offset + 16, offset + length
        offset += (length + 3) & ~3


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (type without flags, start of the value, end of the value) of each attribute.

    A truncated attribute ends the iteration.
    """
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4 or start + length > end:
            return
        yield kind & _TYPE_MASK, start + 4, start + length
        start += (length + 3) & ~3


def attribute_map(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """Return attributes as a dictionary from type to value; the last of repeated types wins."""
    return {kind: data[first:last] for kind, first, last in attributes(data, start, end)}
