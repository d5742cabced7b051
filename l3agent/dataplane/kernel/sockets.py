# SPDX-License-Identifier: Apache-2.0
"""Netlink sockets: send a batch and wait for its end, dump a table, send single queries.

A socket belongs to the namespace it was made in, whatever namespace its user is in later. One thread uses it at a time.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from struct import error as struct_error
from struct import pack, unpack_from

from l3agent.dataplane.netlink import nft
from l3agent.dataplane.netlink.message import (
    DONE,
    DUMP_INTERRUPTED,
    ERROR,
    attributes,
    messages,
    number_messages,
    split_batch,
)
from l3agent.exceptions import ApplyError

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
_SOL_NETLINK = 270
# Socket options (linux/netlink.h): short acknowledgements, reasons as text, filters in dumps.
_CAP_ACK, _EXT_ACK, _GET_STRICT_CHK = 10, 11, 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BUFFER_BYTES = 4 << 20
#: Bytes per call: less than the send buffer, and the errors of all messages fit into the receive buffer.
_SEND_BYTES = 1 << 18
#: Seconds until a missing answer is an error: the kernel answers in the same system call, so this is not reached.
_ANSWER_S = 10
_DUMP_ATTEMPTS = 5
#: Sequence numbers have 32 bits; they restart at this one.
_LAST_NUMBER = 1 << 31
#: Higher ones are for dumps.
_LAST_DUMP = (1 << 32) - 1


class KernelRefused(ApplyError):
    """The kernel refused a message of a batch.

    :param number: which message of the batch, from 1; 0 for the batch as a whole.
    :param code: errno.
    :ivar numbers: all that were refused, in order.
    """

    def __init__(self, number: int, code: int, reason: str) -> None:
        self.number = number
        self.numbers = [number]
        self.code = code
        self.reason = reason
        super().__init__(f"{os.strerror(code)}{': ' + reason if reason else ''}")


class _ThreadBuffer(threading.local):
    """The receive buffer of a thread."""

    def __init__(self) -> None:
        self.data = bytearray(1 << 18)


class NetlinkSocket:
    """One netlink socket in the calling thread's network namespace."""

    # One buffer serves all sockets of a thread: every read is copied out before the next one.
    _thread_buffer = _ThreadBuffer()

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        if protocol == NETLINK_ROUTE:
            self._socket.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        self._grow_buffers()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("@ll", _ANSWER_S, 0))
        self._socket.bind((0, 0))
        self._next = 1
        self._dumps = _LAST_NUMBER + 1

    def close(self) -> None:
        """Close the socket; for nf_tables that may wait for an RCU grace period, so not on the hot path."""
        self._socket.close()

    def batch(self, body: bytes, *, ignore: frozenset[int] = frozenset()) -> None:
        """Send rtnetlink or ctnetlink messages, in one call unless they are large; errors do not stop the kernel.

        :param ignore: error numbers that mean "already done".
        :raises KernelRefused: the first refusal, when all messages were tried.
        """
        refused: KernelRefused | None = None
        sent = 0
        for part in split_batch(body, _SEND_BYTES):
            first = self._first_number()
            numbered_body = bytearray(part)
            self._next = number_messages(numbered_body, first) + 1
            self._send(numbered_body)
            try:
                self._wait(first, self._next - 1, first - 1 - sent, ignore)
            except KernelRefused as exc:
                if refused is None:
                    refused = exc
                else:
                    refused.numbers += exc.numbers
            sent += self._next - first
        if refused is not None:
            raise refused

    def nft_batch(self, parts: list[bytes]) -> None:
        """Send an nf_tables batch, which the kernel applies as a whole or not at all.

        :raises KernelRefused: the kernel applied nothing.
        """
        if parts:
            begin = self._first_number()
            body, last = nft.batch(parts, begin)
            self._next = last + 1
            self._send(body)
            self._wait(begin, last, begin, frozenset())

    def dump(self, request: bytes) -> bytes:
        """Return the messages of a dump; empty if the requested table does not exist.

        All dumps have the same sequence number, so that dumps of an unchanged table are equal to the byte; an
        incomplete dump changes the number. A dump that the kernel marks as interrupted by a change is requested again.

        :raises ApplyError: it was interrupted again and again.
        """
        for _ in range(_DUMP_ATTEMPTS):
            try:
                self._send(request[:8] + pack("=I", self._dumps) + request[12:])
                data, interrupted = self._read_dump(self._dumps)
            except ApplyError:
                self._dumps = self._dumps + 1 if self._dumps < _LAST_DUMP else _LAST_NUMBER + 1
                raise
            if not interrupted:
                return data
        raise ApplyError("a netlink dump was interrupted by changes five times in a row")

    def dump_parts(self, request: bytes) -> Iterator[bytes]:
        """Yield the messages of a dump as the kernel sends them; each received part starts the next read in the kernel.

        Nothing else may use the socket before the end. Entries that change meanwhile may be missing or outdated.

        :raises ApplyError: the kernel does not answer.
        """
        self._send(request[:8] + pack("=I", self._dumps) + request[12:])
        is_over = False
        while not is_over:
            data = self._receive()
            is_over = any(kind in (DONE, ERROR) for kind, *_ in messages(data))
            yield data

    def query(self, requests: list[bytes]) -> list[bytes]:
        """Send queries in one call; return the answer of each, empty if the object does not exist."""
        if not requests:
            return []
        body = bytearray(b"".join(requests))
        first = self._first_number()
        self._next = first + len(requests)
        offset = 0
        for number, request in enumerate(requests, start=first):
            body[offset + 8 : offset + 12] = pack("=I", number)
            offset += len(request)
        self._send(body)
        return self._read_answers(first, len(requests))

    # ---- private ---------------------------------------------------------------------------------------------

    def _first_number(self) -> int:
        """Return a sequence number without recent use on this socket, so that a late answer is recognised."""
        return self._next if self._next < _LAST_NUMBER else 1

    def _grow_buffers(self) -> None:
        for forced, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_BYTES)
            except PermissionError:
                # Inside a user namespace the host's limit stands.
                self._socket.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_BYTES)

    def _send(self, data: bytes | bytearray) -> None:
        try:
            self._socket.send(data)
        except OSError as exc:
            raise ApplyError(f"sending {len(data)} bytes of netlink: {exc.strerror}") from exc

    def _receive(self) -> bytes:
        try:
            size = self._socket.recv_into(self._thread_buffer.data)
        except BlockingIOError as exc:
            raise ApplyError(f"the kernel did not answer a netlink request within {_ANSWER_S} s") from exc
        except OSError as exc:
            raise ApplyError(f"reading a netlink answer: {exc.strerror}") from exc
        return bytes(memoryview(self._thread_buffer.data)[:size])

    def _wait(self, first: int, last: int, begin: int, ignore: frozenset[int]) -> None:
        """Wait for the acknowledgement of message ``last``, or for an error of the whole batch (number ``begin``)."""
        refused: KernelRefused | None = None
        while True:
            data = self._receive()
            for kind, _, number, start, end in messages(data):
                if kind != ERROR or not first <= number <= last:
                    continue
                code = -unpack_from("=i", data, start)[0]
                if code and code not in ignore:
                    if refused is None:
                        refused = KernelRefused(number - begin, code, _reason(data, start, end))
                    else:
                        refused.numbers.append(number - begin)
                if number == last or (code and number == begin):
                    if refused is not None:
                        raise refused
                    return

    def _read_dump(self, number: int) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        interrupted = False
        while True:
            data = self._receive()
            for kind, flags, answered, start, end in messages(data):
                if answered != number:
                    break
                interrupted = interrupted or bool(flags & DUMP_INTERRUPTED)
                if kind in (DONE, ERROR):
                    # The end of a dump carries an error too, when it came in the middle of it.
                    code = -unpack_from("=i", data, start)[0] if end - start >= 4 else 0
                    if code in _NOT_FOUND:
                        return b"", False
                    if code:
                        raise KernelRefused(0, code, "")
                    return b"".join((*parts, data)), interrupted
            else:
                parts.append(data)

    def _read_answers(self, first: int, count: int) -> list[bytes]:
        answers = [b""] * count
        missing = count
        while missing:
            data = self._receive()
            for kind, _, number, start, end in messages(data):
                if first <= number < first + count:
                    missing -= 1
                    if kind != ERROR:
                        answers[number - first] = data[start - 16 : end]
        return answers


#: ENOENT and ENODEV: the requested table or device does not exist.
_NOT_FOUND = frozenset((2, 19))
_NLMSGERR_ATTR_MSG = 1


def _reason(data: bytes, start: int, end: int) -> str:
    """Return the message of the kernel, if it sent one (NETLINK_EXT_ACK); it follows code and copied header."""
    try:
        for kind, first, last in attributes(data, start + 20, end):
            if kind == _NLMSGERR_ATTR_MSG:
                return data[first : last - 1].decode(errors="replace")
    except struct_error:
        pass
    return ""
