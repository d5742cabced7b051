# SPDX-License-Identifier: Apache-2.0
"""The programs: they parse options, compose services and run them; no other module imports them."""
