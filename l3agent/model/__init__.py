# SPDX-License-Identifier: Apache-2.0
"""Immutable values: the desired state of a router, a network and a host, and the report of applying it.

The package imports only the standard library. ``(kind, id)`` identifies a desired state; the state ``None`` means
"must not exist", so create, update, delete and resync are one call with different values.

Review: could this be a value instead of an effect? Does a restarted process recognise it as its own?
"""
