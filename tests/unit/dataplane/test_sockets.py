# SPDX-License-Identifier: Apache-2.0
"""A netlink socket against a kernel that is late, interrupted or angry. The healthy one is in the functional tests."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from struct import pack, pack_into

import pytest

from l3agent.dataplane.kernel.sockets import NETLINK_ROUTE, KernelRefused, NetlinkSocket
from l3agent.dataplane.netlink import nft, rtnl, ruleset, tables
from l3agent.dataplane.netlink.message import ACK, DONE, DUMP_INTERRUPTED, ERROR, HEADER, messages
from l3agent.exceptions import ApplyError


def header(kind: int, number: int, body: bytes, flags: int = 0) -> bytes:
    return HEADER.pack(16 + len(body), kind, flags, number, 0) + body + bytes(-len(body) % 4)


def acknowledged(number: int, code: int = 0, reason: str = "") -> bytes:
    """Return an acknowledgement (code 0) or an error, with the reason as text like NETLINK_EXT_ACK."""
    words = reason.encode() + b"\0"
    attribute = pack("=HH", 4 + len(words), 1) + words + bytes(-len(words) % 4) if reason else b""
    return header(ERROR, number, pack("=i", -code) + bytes(16) + attribute)


def a_link(number: int, name: str, flags: int = 0) -> bytes:
    data = bytearray(rtnl.set_link(index=2, name=name))
    pack_into("=HI", data, 6, flags, number)
    return bytes(data)


def done(number: int, code: int = 0, flags: int = 0) -> bytes:
    return header(DONE, number, pack("=i", -code), flags)


class Kernel:
    """The other end: answers each request with a prepared answer and the numbers of the request."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.answers: list[Callable[[list[int]], list[bytes]]] = []
        self.requests: list[bytes] = []

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, data: bytes | bytearray) -> int:
        """Take a request where NetlinkSocket sends it, and answer before it returns, as the kernel does."""
        self.requests.append(bytes(data))
        for answer in self.answers.pop(0)([number for _, _, number, _, _ in messages(bytes(data))]):
            self._end.send(answer)
        return len(data)


@pytest.fixture
def pair() -> Iterator[tuple[NetlinkSocket, Kernel]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(0.05)
    one = NetlinkSocket(NETLINK_ROUTE)
    kernel = Kernel(theirs)
    one.close()

    class Between:
        send = staticmethod(kernel.send)
        recv_into = staticmethod(ours.recv_into)

    one._socket = Between()  # type: ignore[assignment]
    yield one, kernel
    ours.close()
    theirs.close()


BATCH = rtnl.set_link(index=1, up=True) + rtnl.set_link(index=2, up=True) + rtnl.set_link(index=3, up=True)


def test_only_the_last_message_of_a_batch_is_acknowledged(pair: tuple[NetlinkSocket, Kernel]) -> None:
    one, kernel = pair
    kernel.answers = [lambda numbers: [acknowledged(numbers[-1])]]
    one.batch(BATCH)
    assert [bool(flags & ACK) for _, flags, _, _, _ in messages(kernel.requests[0])] == [False, False, True]


def test_the_first_refusal_has_its_position_and_the_message_of_the_kernel(
    pair: tuple[NetlinkSocket, Kernel],
) -> None:
    one, kernel = pair
    for _ in range(2):
        kernel.answers = [lambda n: [acknowledged(n[1], errno.EINVAL, "no good"), acknowledged(n[2], errno.EPERM)]]
        with pytest.raises(KernelRefused) as caught:
            one.batch(BATCH)
        assert (caught.value.number, caught.value.code) == (2, errno.EINVAL)
        assert caught.value.numbers == [2, 3]
        assert str(caught.value) == "Invalid argument: no good"


def test_very_many_messages_go_in_several_calls_and_refusals_keep_their_places(
    pair: tuple[NetlinkSocket, Kernel],
) -> None:
    one, kernel = pair
    each = rtnl.set_link(index=1, up=True)
    count = 3 * (1 << 18) // len(each)
    kernel.answers = [
        lambda n: [acknowledged(n[-1])],
        lambda n: [acknowledged(n[1], errno.EINVAL), acknowledged(n[-1])],
        lambda n: [acknowledged(n[-1], errno.EPERM)],
    ]
    with pytest.raises(KernelRefused) as caught:
        one.batch(each * count)
    assert b"".join(kernel.requests).count(each[16:]) == count and len(kernel.requests) == 3
    assert caught.value.code == errno.EINVAL
    assert caught.value.numbers == [len(kernel.requests[0]) // len(each) + 2, count]


def test_errors_that_mean_already_so_are_none(pair: tuple[NetlinkSocket, Kernel]) -> None:
    one, kernel = pair
    kernel.answers = [lambda n: [acknowledged(n[0], errno.ENODEV), acknowledged(n[2], errno.ENODEV)]]
    one.batch(BATCH, ignore=frozenset((errno.ENODEV,)))


def test_an_answer_that_comes_late_is_not_taken_for_that_of_the_next_request(
    pair: tuple[NetlinkSocket, Kernel],
) -> None:
    one, kernel = pair
    late: list[bytes] = []
    kernel.answers = [
        lambda n: late.append(acknowledged(n[-1])) or [],
        lambda n: [*late, acknowledged(n[1], errno.EPERM), acknowledged(n[2])],
    ]
    with pytest.raises((ApplyError, TimeoutError)):
        one.batch(BATCH)
    with pytest.raises(KernelRefused):
        one.batch(BATCH)


def test_a_late_answer_is_no_part_of_a_dump_and_of_no_question(pair: tuple[NetlinkSocket, Kernel]) -> None:
    one, kernel = pair
    stale = [a_link(7, "stale"), done(7)]
    one._next = 100
    kernel.answers = [
        lambda n: [*stale, a_link(n[0], "fresh") + done(n[0])],
        lambda n: [*stale, a_link(n[0], "fresh"), acknowledged(n[1], errno.ENODEV)],
    ]
    assert [link.name for link in rtnl.parse_links(one.dump(rtnl.dump_links()))] == ["fresh"]
    answers = one.query([rtnl.get_link(name="fresh"), rtnl.get_link(name="none")])
    assert [[link.name for link in rtnl.parse_links(answer)] for answer in answers] == [["fresh"], []]


def test_numbers_begin_anew_before_they_run_out(pair: tuple[NetlinkSocket, Kernel]) -> None:
    one, kernel = pair
    one._next = (1 << 31) + 1
    kernel.answers = [lambda n: [acknowledged(n[-1])]]
    one.batch(BATCH)
    assert [number for _, _, number, _, _ in messages(kernel.requests[0])] == [1, 2, 3]


# ---- dumps --------------------------------------------------------------------------------------------------------


def test_a_dump_that_was_interrupted_is_asked_for_again(pair: tuple[NetlinkSocket, Kernel]) -> None:
    one, kernel = pair
    kernel.answers = [
        lambda n: [a_link(n[0], "torn", DUMP_INTERRUPTED), done(n[0])],
        lambda n: [a_link(n[0], "torn"), done(n[0], flags=DUMP_INTERRUPTED)],
        lambda n: [a_link(n[0], "whole"), done(n[0])],
    ]
    assert [link.name for link in rtnl.parse_links(one.dump(rtnl.dump_links()))] == ["whole"]


def test_a_dump_that_is_always_interrupted_is_an_error_with_this_cause(pair: tuple[NetlinkSocket, Kernel]) -> None:
    one, kernel = pair
    kernel.answers = [lambda n: [done(n[0], flags=DUMP_INTERRUPTED)]] * 5
    with pytest.raises(ApplyError, match="interrupted"):
        one.dump(rtnl.dump_links())


@pytest.mark.parametrize("answer", [acknowledged, done])
def test_a_dump_of_what_does_not_exist_is_empty(
    pair: tuple[NetlinkSocket, Kernel], answer: Callable[[int, int], bytes]
) -> None:
    one, kernel = pair
    kernel.answers = [lambda n: [answer(n[0], errno.ENOENT)]]
    assert one.dump(nft.dump_content(tables.ROUTER)[-1]) == b""


@pytest.mark.parametrize("answer", [acknowledged, done])
def test_a_dump_that_fails_at_its_beginning_or_end_is_an_error(
    pair: tuple[NetlinkSocket, Kernel], answer: Callable[[int, int], bytes]
) -> None:
    one, kernel = pair
    kernel.answers = [lambda n: [answer(n[0], errno.ENOMEM)]]
    with pytest.raises(KernelRefused, match="Cannot allocate memory"):
        one.dump(rtnl.dump_links())


# ---- nf_tables ----------------------------------------------------------------------------------------------------


def test_the_operation_of_a_refused_batch_is_found_by_its_position(pair: tuple[NetlinkSocket, Kernel]) -> None:
    one, kernel = pair
    parts = [ruleset.delete_table(tables.ROUTER), *ruleset.new_table(tables.ROUTER)]
    # The batch begins with a message of its own: the first step has the second number.
    kernel.answers = [lambda n: [acknowledged(n[1], errno.ENOENT), acknowledged(n[len(parts)])]]
    with pytest.raises(KernelRefused) as caught:
        one.nft_batch(parts)
    assert (caught.value.number, caught.value.code) == (1, errno.ENOENT)


def test_a_batch_refused_as_a_whole_is_an_error_without_a_step(pair: tuple[NetlinkSocket, Kernel]) -> None:
    one, kernel = pair
    kernel.answers = [lambda n: [acknowledged(n[0], errno.EBUSY), acknowledged(n[-2])], lambda n: [acknowledged(n[-2])]]
    with pytest.raises(KernelRefused) as caught:
        one.nft_batch(list(ruleset.new_table(tables.ROUTER)))
    assert (caught.value.number, caught.value.code) == (0, errno.EBUSY)
    # A late answer of the kernel is not taken for that of the next query.
    one.nft_batch(list(ruleset.new_table(tables.ROUTER)))


def test_nothing_is_sent_for_nothing(pair: tuple[NetlinkSocket, Kernel]) -> None:
    one, kernel = pair
    one.batch(b"")
    one.nft_batch([])
    assert one.query([]) == []
    assert kernel.requests == []
