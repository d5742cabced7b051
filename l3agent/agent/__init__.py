# SPDX-License-Identifier: Apache-2.0
"""The agent between the server and the data plane.

Invariants: an endpoint only enqueues; a router is never in two workers; of two things said about a router the newer
wins, whatever order they arrive in; nothing is removed for not being named before a full sync is complete; a failure is
tried again for ever, and costs the other routers nothing.

Review: does it block? What do the other routers see when it fails? What may have changed while it waited?
"""
