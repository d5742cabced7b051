# SPDX-License-Identifier: Apache-2.0
"""Access to the kernel: namespaces, sockets, system calls, sysctl files, limits."""
