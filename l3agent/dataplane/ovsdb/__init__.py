# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch through its database (OVSDB, RFC 7047).

``rows`` is a copy of the monitored rows, ``transact`` converts operations of plans to one transaction (both pure),
``thread`` owns the connection to the server.
"""
