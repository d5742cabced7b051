# SPDX-License-Identifier: Apache-2.0
"""The process around the kernel thread: socket, connection of the agent, privileges, limit of log lines."""
