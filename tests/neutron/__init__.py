# SPDX-License-Identifier: Apache-2.0
"""A real neutron-server with its agents on one machine, in a sandbox, and what l3-agent does under it.

``tox -e neutron`` runs it: root, Debian 12, the packages of ``tests/install-debian-packages.sh neutron``.
"""
