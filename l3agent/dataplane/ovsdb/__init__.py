# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch through its database (OVSDB, RFC 7047).

``rows`` keeps a copy of what we need of it, ``transact`` turns operations of a plan into one transaction (both pure),
``switch`` is the thread that talks to the server.
"""
