# SPDX-License-Identifier: Apache-2.0
"""What other programs change: applied states, events, rotation, repairs."""
