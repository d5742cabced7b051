# SPDX-License-Identifier: Apache-2.0
"""Protocol number of the socket between agent and data plane."""

#: Must be equal in both processes. Increase it with each change of the wire format: a packed state or report, the name
#: or an argument of an operation, a result. ``test_protocol.py`` and ``test_protocol_results.py`` fail until it is
#: increased. 0 stands for releases before 0.2.0, which compare their versions instead.
PROTOCOL = 3
