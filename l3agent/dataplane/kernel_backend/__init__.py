# SPDX-License-Identifier: Apache-2.0
"""The backend of the kernel: observes and changes namespaces and devices through :mod:`l3agent.dataplane.kernel`."""
