# SPDX-License-Identifier: Apache-2.0
"""Netlink as bytes: plain functions from values to messages and back. No socket is touched here.

One file a protocol: ``rtnl`` (links, addresses, routes), ``nft`` (nf_tables), ``conntrack`` (ctnetlink), ``announce``
(gratuitous ARP and unsolicited neighbour advertisements, which are frames, not netlink). ``message`` is the framing.
"""
