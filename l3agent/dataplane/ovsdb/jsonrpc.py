# SPDX-License-Identifier: Apache-2.0
"""The JSON-RPC session of the library ``ovs``: it comes back by itself after a loss, and probes a silent server."""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import Any, NamedTuple

# ovs.poller imports eventlet wherever it is installed, to ask whether it is in use. Here it never is.
_HIDDEN = "eventlet" not in sys.modules
if _HIDDEN:
    sys.modules["eventlet"] = None  # type: ignore[assignment]
try:
    import ovs.jsonrpc
    import ovs.poller
    import ovs.stream
finally:
    if _HIDDEN:
        del sys.modules["eventlet"]

#: Milliseconds: of silence until the server is probed, between two tries to connect at most, to find out what is wrong.
_PROBE_MS, _BACKOFF_MS, _TRIAL_MS = 5000, 1000, 500


class Tls(NamedTuple):
    """Paths of the files for ``ssl:`` remotes; empty where none are needed."""

    key: str = ""
    certificate: str = ""
    authority: str = ""


class Connection:
    """Requests and notifications; used by one thread.

    :param remote: where the server is, as ``tcp:127.0.0.1:6640`` or ``unix:/run/openvswitch/db.sock``.
    """

    def __init__(self, remote: str, tls: Tls) -> None:
        self.remote = remote
        if tls.key:
            ovs.stream.Stream.ssl_set_private_key_file(tls.key)
        if tls.certificate:
            ovs.stream.Stream.ssl_set_certificate_file(tls.certificate)
        if tls.authority:
            ovs.stream.Stream.ssl_set_ca_cert_file(tls.authority)
        self._session = ovs.jsonrpc.Session.open(remote, _PROBE_MS)
        self._session.reconnect.set_backoff(100, _BACKOFF_MS)

    @property
    def life(self) -> int | None:
        """A number that is another one for each connection; None while there is none."""
        return self._session.get_seqno() if self._session.is_connected() else None

    def run(self) -> None:
        """Do what is due: connect, probe, send."""
        self._session.run()

    def request(self, method: str, params: list[Any]) -> Any:
        """Send a request and return its id, None when there is no connection."""
        message = ovs.jsonrpc.Message.create_request(method, params)
        return None if self._session.send(message) else message.id

    def received(self) -> Any:
        """Return the next message, None when there is none."""
        return self._session.recv()

    def wait(self, bell: int, seconds: float | None) -> None:
        """Wait until there is something to do, the descriptor can be read, or the time is over."""
        poller = ovs.poller.Poller()
        self._session.wait(poller)
        self._session.recv_wait(poller)
        poller.fd_wait(bell, select.POLLIN)
        if seconds is not None:
            poller.timer_wait(max(0, int(seconds * 1000) + 1))
        poller.block()

    def trouble(self) -> str:
        """Find out why there is no connection."""
        error, stream = ovs.stream.Stream.open_block(ovs.stream.Stream.open(self.remote), _TRIAL_MS)
        if stream is not None:
            stream.close()
        return os.strerror(error if error > 0 else errno.ETIMEDOUT) if error else "no connection yet"
