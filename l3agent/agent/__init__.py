# SPDX-License-Identifier: Apache-2.0
"""The agent between the server and the data plane.

Invariants: an endpoint only enqueues; two workers never process the same router; of two updates of a router the newer
wins, in whatever order they arrive; no router is removed for its absence from an answer before a full sync is complete;
a failed update is retried without end and does not delay other routers.

Review: does it block? What do the other routers see when it fails? What may have changed while it waited?
"""
