# SPDX-License-Identifier: Apache-2.0
"""The pure part: entries of kernel state, the difference between two sets of them, and what both read as."""
