# SPDX-License-Identifier: Apache-2.0
"""Encoding and decoding of netlink messages: pure functions between values and bytes, without sockets.

One file per subject: ``rtnl`` (links), ``addresses``, ``neighbours``, ``routes`` and ``policy_rules`` of rtnetlink;
``nft`` (nf_tables), ``conntrack`` (ctnetlink), and ``announce`` (gratuitous ARP and unsolicited neighbour
advertisements, which are frames). ``message`` is the framing.
``tables`` declares our nf_tables tables; ``ruleset`` and the modules ``nft_*`` are what they consist of.
"""
