# SPDX-License-Identifier: Apache-2.0
"""The kinds of objects in kernel state, each in a file of its own; :mod:`..order` lists them."""
