# SPDX-License-Identifier: Apache-2.0
"""Detection and repair of changes by other programs: applied states, events, rotation, repairs."""
