# SPDX-License-Identifier: Apache-2.0
"""The data plane: makes the kernel match desired states. A process of its own, without eventlet.

The path of one state: ``render`` (state -> entries), ``observe`` (kernel -> entries), ``diff`` (the plan),
``encode`` (plan -> bytes), ``apply`` (the sends). ``reconcile`` ties them together, ``server`` is the socket in front.

Ownership: namespaces ``qrouter-`` and ``l3host-``; devices by their prefix (``qr-``, ``qg-``, ``eth0`` of a host);
routes by protocol 201, and default routes through ``qg-`` of any protocol; nf_tables by the table ``l3agent``; bridges
by their alias ``l3agent:network:<id>``. All else is foreign and never touched.

Review: after a crash at this line, what does the restarted process see, and does it recognise it as its own?
"""
