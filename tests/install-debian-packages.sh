#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what the functional tests need from Debian (12): a kernel's view by ip, nft, conntrack and tcpdump, iptables
# and a C compiler for what the benchmark compares with, a browser for the status page, and a systemd, a RabbitMQ and an
# Open vSwitch of which the tests start private ones; qemu and what builds an initial RAM file system, for other kernels
# (tox -e kernels fetches those itself); the programs that the data plane supervises. Needs root; those of the machine
# are not started. With the argument "neutron" also what a real neutron-server and its agents need (tox -e neutron): a
# database and programs of Neutron's own L3 agent; none of them is started either.
set -eu

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "$0: needs root and apt-get; without these packages the tests that need them are left out" >&2
    exit 77
fi

# invoke-rc.d asks this file whether it may start what was just installed (101: it may not).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
packages="busybox-static chromium conntrack cpio gcc haproxy iproute2 iptables iputils-ping keepalived kmod libc6-dev
logrotate nftables openvswitch-switch procps prometheus python3-systemd python3-venv qemu-system-x86 rabbitmq-server
radvd sudo systemd tcpdump util-linux"
if [ "${1-}" = neutron ]; then
    packages="$packages mariadb-server ipset iputils-arping"
fi
# shellcheck disable=SC2086
apt-get install -y -q --no-install-recommends $packages
