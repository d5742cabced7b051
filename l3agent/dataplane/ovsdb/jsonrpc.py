# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC session of the library ``ovs``, which reconnects after a loss and probes a silent server."""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import Any, NamedTuple

# ovs.poller imports eventlet if it is installed, to detect whether it is in use. The data plane never uses it.
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

#: Milliseconds: silence before the server is probed, maximum back-off between connection attempts, and time limit of
#: the connection attempt that diagnoses a failure.
_PROBE_MS, _BACKOFF_MS, _TRIAL_MS = 5000, 1000, 500


class Tls(NamedTuple):
    """Paths of the files for ``ssl:`` remotes; empty if not needed."""

    key: str = ""
    certificate: str = ""
    authority: str = ""


class OvsdbConnection:
    """Connection for requests and notifications; used by a single thread.

    :param remote: address of the server, for example ``tcp:127.0.0.1:6640`` or ``unix:/run/openvswitch/db.sock``.
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
    def session_number(self) -> int | None:
        """Number of the current connection, unique per connection; None if not connected."""
        return self._session.get_seqno() if self._session.is_connected() else None

    def run(self) -> None:
        """Connect, probe and send, as due."""
        self._session.run()

    def request(self, method: str, params: list[Any]) -> Any:
        """Send a request and return its id; None if not connected."""
        message = ovs.jsonrpc.Message.create_request(method, params)
        return None if self._session.send(message) else message.id

    def receive(self) -> Any:
        """Return the next received message, or None."""
        return self._session.recv()

    def wait(self, wakeup_fd: int, seconds: float | None) -> None:
        """Wait until the session has work, the descriptor is readable, or the time limit expires."""
        poller = ovs.poller.Poller()
        self._session.wait(poller)
        self._session.recv_wait(poller)
        poller.fd_wait(wakeup_fd, select.POLLIN)
        if seconds is not None:
            poller.timer_wait(max(0, int(seconds * 1000) + 1))
        poller.block()

    def diagnose(self) -> str:
        """Return the reason why there is no connection."""
        error, stream = ovs.stream.Stream.open_block(ovs.stream.Stream.open(self.remote), _TRIAL_MS)
        if stream is not None:
            stream.close()
        return os.strerror(error if error > 0 else errno.ETIMEDOUT) if error else "no connection yet"
