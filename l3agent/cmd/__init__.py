# SPDX-License-Identifier: Apache-2.0
"""The programs: they parse, compose and run; nothing else imports them."""
