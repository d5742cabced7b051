# SPDX-License-Identifier: Apache-2.0
"""What an operator sees of a running agent: the control socket and the client that asks it."""
