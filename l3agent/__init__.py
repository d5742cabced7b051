# SPDX-License-Identifier: Apache-2.0
"""An L3 agent for OpenStack Networking, and the eventlet service library it stands on.

Importing this package patches, starts and opens nothing.
"""

__version__ = "0.2.0"
