# SPDX-License-Identifier: Apache-2.0
"""The acceptor of metadata connections: ``l3-metadata``, a process of its own without privileges and without eventlet.

Only small modules of the standard library are imported: a few megabytes serve all routers of a node.

Review: can a client of one router make a client of another one wait, or lose its connection?
"""
