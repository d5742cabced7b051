# SPDX-License-Identifier: Apache-2.0
"""The commands of ``l3-agentctl``, their views, and the checks of a node."""
