# SPDX-License-Identifier: Apache-2.0
"""A hostile client of the data plane: ``python -m tests.hostile`` sends it frames that no agent sends."""
