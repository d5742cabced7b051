# SPDX-License-Identifier: Apache-2.0
"""Planning without I/O: entries of kernel state, the difference of two sets of entries, and their text forms."""
