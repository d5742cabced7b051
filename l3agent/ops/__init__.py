# SPDX-License-Identifier: Apache-2.0
"""Operation of a running agent: control socket and its client, status, metrics, health and HTTP server."""
