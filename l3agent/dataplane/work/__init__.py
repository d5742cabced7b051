# SPDX-License-Identifier: Apache-2.0
"""Work that is suspended: waits, the second thread for long parts, and the order of requests for one state."""
