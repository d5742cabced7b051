# SPDX-License-Identifier: Apache-2.0
"""The number of the protocol that agent and data plane speak."""

#: Both processes must have the same. Raise it with every change of what crosses the socket: a packed state or report,
#: the name or an argument of an operation, a result. ``test_protocol.py`` and ``test_protocol_results.py`` fail until
#: that is done. 0 stands for releases before 0.2.0, which compare their versions instead.
PROTOCOL = 1
