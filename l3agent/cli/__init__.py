# SPDX-License-Identifier: Apache-2.0
"""The subcommands of ``l3-agentctl``, their views, and the checks of a node."""
