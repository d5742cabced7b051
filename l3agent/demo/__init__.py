# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl demo``: the real agent and data plane in namespaces of their own, checked step by step."""
