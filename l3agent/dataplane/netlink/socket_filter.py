# SPDX-License-Identifier: Apache-2.0
"""Filter programs of sockets for events, in classic BPF: which notifications the kernel delivers.

Source: linux/filter.h, linux/bpf_common.h, Documentation/networking/filter.rst (the extension "nla"). A filter is a
decision: :data:`KEEP`, :data:`DROP`, or a :class:`Test` of a field or :class:`HasAttribute`, which lead to one of two
decisions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from struct import pack

from l3agent.dataplane.netlink.message import HEADER

# Load from an offset of the message, load a number, load the index register, compare, test bits, return the
# length to keep.
_LOAD = {4: 0x20, 2: 0x28, 1: 0x30}
_LOAD_NUMBER, _LOAD_INDEX = 0x00, 0x01
_EQUAL, _BITS, _RETURN = 0x15, 0x45, 0x06
#: SKF_AD_OFF + SKF_AD_NLATTR: the offset of the attribute whose type is in the index register, 0 if there is none; the
#: offset of the first attribute is in the accumulator.
_FIND_ATTRIBUTE = (-0x1000 + 12) & 0xFFFFFFFF
_ALL = 0xFFFFFFFF
_TYPE_AT, _PORT_AT = 4, 12


@dataclass(frozen=True, slots=True)
class FilterVerdict:
    """An end of a decision."""

    keeps: bool


KEEP, DROP = FilterVerdict(True), FilterVerdict(False)


@dataclass(frozen=True, slots=True)
class Test:
    """A comparison of a field of the body of a message.

    :param at: offset in the body.
    :param value: what the field is compared with.
    :param then: the decision if the field equals the value, or if it has one of its bits.
    :param size: bytes of the field, in host byte order.
    :param bits: test the bits of the value.
    """

    at: int
    value: int
    then: Filter
    otherwise: Filter = DROP
    size: int = 1
    bits: bool = False


@dataclass(frozen=True, slots=True)
class HasAttribute:
    """A test for an attribute.

    :param at: offset of the first attribute in the body.
    :param type: type of the attribute.
    :param then: the decision if the message has the attribute.
    """

    at: int
    type: int
    then: Filter
    otherwise: Filter = DROP


Filter = FilterVerdict | Test | HasAttribute
_Instruction = tuple[int, int, int, int]


def compile_filter(port: int, messages: Iterable[tuple[int, Filter]]) -> bytes:
    """Return the program of a socket.

    It drops the messages of our own sockets, whose netlink port is ``port`` in every namespace, and those of all types
    that are not listed.

    :param messages: type of a message, and the decision about its body.
    """
    program = _ends(DROP)
    for kind, decision in reversed(list(messages)):
        program = _branch(_EQUAL, _host_order(2, kind), _code(decision), program)
    program = [(_LOAD[2], 0, 0, _TYPE_AT), *program]
    return _pack([(_LOAD[4], 0, 0, _PORT_AT), *_branch(_EQUAL, _host_order(4, port), _ends(DROP), program)])


def compile_own_filter(port: int) -> bytes:
    """Return the program of a socket that drops the messages of our own sockets only."""
    load = (_LOAD[4], 0, 0, _PORT_AT)
    return _pack([load, *_branch(_EQUAL, _host_order(4, port), _ends(DROP), _ends(KEEP))])


def _code(decision: Filter) -> list[_Instruction]:
    if isinstance(decision, FilterVerdict):
        return _ends(decision)
    then, otherwise = _code(decision.then), _code(decision.otherwise)
    at = HEADER.size + decision.at
    if isinstance(decision, HasAttribute):
        find = [(_LOAD_NUMBER, 0, 0, at), (_LOAD_INDEX, 0, 0, decision.type), (_LOAD[4], 0, 0, _FIND_ATTRIBUTE)]
        return [*find, *_branch(_EQUAL, 0, otherwise, then)]
    compare = _BITS if decision.bits else _EQUAL
    value = _host_order(decision.size, decision.value)
    return [(_LOAD[decision.size], 0, 0, at), *_branch(compare, value, then, otherwise)]


def _branch(compare: int, value: int, then: list[_Instruction], otherwise: list[_Instruction]) -> list[_Instruction]:
    """Return a comparison, the code for "equal", and the code for "not equal". A jump skips 255 at most."""
    return [(compare, 0, len(then), value), *then, *otherwise]


def _ends(verdict: FilterVerdict) -> list[_Instruction]:
    return [(_RETURN, 0, 0, _ALL if verdict.keeps else 0)]


def _pack(program: list[_Instruction]) -> bytes:
    return b"".join(pack("=HBBI", *one) for one in program)


def _host_order(size: int, value: int) -> int:
    """Return the result of a filter load of a value in host order: loads assume network order."""
    return int.from_bytes(value.to_bytes(size, sys.byteorder), "big")
