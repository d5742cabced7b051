# SPDX-License-Identifier: Apache-2.0
"""Frozen values: what a router, a network and a host should be, and the report of making them so.

Only the standard library is imported here. Desired state is keyed by ``(kind, id)``; an absent state (``None``)
means "should not exist", so create, update, delete and resync are one call with different values.

Review: could this be a value instead of an effect? Does a restarted process recognise it as its own?
"""
