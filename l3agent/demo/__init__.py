# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl demo``: runs the real agent and data plane in a sandbox of namespaces and checks each step."""
