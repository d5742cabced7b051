ip netns add l3host-ha0000001
ip -n l3host-ha0000001 link set lo up
ip netns exec l3host-ha0000001 sysctl -w net.ipv4.conf.all.promote_secondaries=1
ip netns exec l3host-ha0000001 sysctl -w net.ipv6.conf.default.accept_ra=0
ip netns exec l3host-ha0000001 sysctl -w net.ipv6.conf.default.addr_gen_mode=1
ip link add brq7c777afe-2c address 02:0e:3f:b6:28:99 type bridge mcast_snooping 0
sysctl -e -w net.ipv4.conf.brq7c777afe-2c.rp_filter=1 net.ipv4.conf.brq7c777afe-2c.arp_ignore=8 net.ipv6.conf.brq7c777afe-2c.disable_ipv6=1
ip link set brq7c777afe-2c alias l3agent:network:7c777afe-2c60-4aed-9dd7-4cc125ac84e3 up
ip link add tapa0000001-00 mtu 1500 type veth peer name eth0 address fa:16:3e:00:00:01 mtu 1500 netns l3host-ha0000001
sysctl -e -w net.ipv4.conf.tapa0000001-00.rp_filter=1 net.ipv4.conf.tapa0000001-00.arp_ignore=8 net.ipv6.conf.tapa0000001-00.disable_ipv6=1
ip link set tapa0000001-00 alias l3agent:port master brq7c777afe-2c up
ip -n l3host-ha0000001 link set eth0 up
ip -n l3host-ha0000001 address add 10.0.0.77/24 broadcast 10.0.0.255 dev eth0
ip -n l3host-ha0000001 address add 2001:db8:1::77/64 nodad dev eth0
ip -n l3host-ha0000001 address add fe80::f816:3eff:fe00:1/64 nodad dev eth0
ip -n l3host-ha0000001 route replace 0.0.0.0/0 protocol 201 via 10.0.0.1 dev eth0
ip -6 -n l3host-ha0000001 route replace ::/0 protocol 201 via 2001:db8:1:: dev eth0 onlink
ip netns add l3host-ha0000002
ip -n l3host-ha0000002 link set lo up
ip netns exec l3host-ha0000002 sysctl -w net.ipv4.conf.all.promote_secondaries=1
ip netns exec l3host-ha0000002 sysctl -w net.ipv6.conf.default.accept_ra=0
ip netns exec l3host-ha0000002 sysctl -w net.ipv6.conf.default.addr_gen_mode=1
ip link add tapa0000002-00 mtu 1500 type veth peer name eth0 address fa:16:3e:00:00:02 mtu 1500 netns l3host-ha0000002
sysctl -e -w net.ipv4.conf.tapa0000002-00.rp_filter=1 net.ipv4.conf.tapa0000002-00.arp_ignore=8 net.ipv6.conf.tapa0000002-00.disable_ipv6=1
ip link set tapa0000002-00 alias l3agent:port master brq7c777afe-2c up
ip -n l3host-ha0000002 link set eth0 up
ip -n l3host-ha0000002 address add 10.0.0.78/24 broadcast 10.0.0.255 dev eth0
ip -n l3host-ha0000002 address add fe80::f816:3eff:fe00:2/64 nodad dev eth0
ip -n l3host-ha0000002 route replace 0.0.0.0/0 protocol 201 via 10.0.0.1 dev eth0
ip netns add l3host-ha0000003
ip -n l3host-ha0000003 link set lo up
ip netns exec l3host-ha0000003 sysctl -w net.ipv4.conf.all.promote_secondaries=1
ip netns exec l3host-ha0000003 sysctl -w net.ipv6.conf.default.accept_ra=0
ip netns exec l3host-ha0000003 sysctl -w net.ipv6.conf.default.addr_gen_mode=1
ip link add tapa0000003-00 mtu 1500 type veth peer name eth0 address fa:16:3e:00:00:03 mtu 1500 netns l3host-ha0000003
sysctl -e -w net.ipv4.conf.tapa0000003-00.rp_filter=1 net.ipv4.conf.tapa0000003-00.arp_ignore=8 net.ipv6.conf.tapa0000003-00.disable_ipv6=1
ip link set tapa0000003-00 alias l3agent:port master brq7c777afe-2c up
ip -n l3host-ha0000003 link set eth0 up
ip -n l3host-ha0000003 address add 10.0.0.215/24 broadcast 10.0.0.255 dev eth0
ip -n l3host-ha0000003 address add fe80::f816:3eff:fe00:3/64 nodad dev eth0
ip -n l3host-ha0000003 route replace 0.0.0.0/0 protocol 201 via 10.0.0.1 dev eth0
ip netns add l3host-ha0000004
ip -n l3host-ha0000004 link set lo up
ip netns exec l3host-ha0000004 sysctl -w net.ipv4.conf.all.promote_secondaries=1
ip netns exec l3host-ha0000004 sysctl -w net.ipv6.conf.default.accept_ra=0
ip netns exec l3host-ha0000004 sysctl -w net.ipv6.conf.default.addr_gen_mode=1
ip link add brqf30d9ffb-64 address 02:4d:0d:cb:89:94 type bridge mcast_snooping 0
sysctl -e -w net.ipv4.conf.brqf30d9ffb-64.rp_filter=1 net.ipv4.conf.brqf30d9ffb-64.arp_ignore=8 net.ipv6.conf.brqf30d9ffb-64.disable_ipv6=1
ip link set brqf30d9ffb-64 alias l3agent:network:f30d9ffb-64fa-43a3-8a4d-2159ef3cfb04 up
ip link add tapa0000004-00 mtu 1500 type veth peer name eth0 address fa:16:3e:00:00:04 mtu 1500 netns l3host-ha0000004
sysctl -e -w net.ipv4.conf.tapa0000004-00.rp_filter=1 net.ipv4.conf.tapa0000004-00.arp_ignore=8 net.ipv6.conf.tapa0000004-00.disable_ipv6=1
ip link set tapa0000004-00 alias l3agent:port master brqf30d9ffb-64 up
ip -n l3host-ha0000004 link set eth0 up
ip -n l3host-ha0000004 address add 203.0.113.1/24 broadcast 203.0.113.255 dev eth0
ip -n l3host-ha0000004 address add 2001:db8:ffff::1/64 nodad dev eth0
ip -n l3host-ha0000004 address add fe80::f816:3eff:fe00:4/64 nodad dev eth0
ip -6 -n l3host-ha0000004 route replace 2001:db8:1::/64 protocol 201 via 2001:db8:ffff::1da dev eth0 onlink
ip netns add qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b link set lo up
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b sysctl -w net.ipv4.conf.all.arp_announce=2
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b sysctl -w net.ipv4.conf.all.arp_ignore=1
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b sysctl -w net.ipv4.conf.all.promote_secondaries=1
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b sysctl -w net.ipv4.ip_forward=1
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b sysctl -w net.ipv6.conf.all.forwarding=1
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b sysctl -w net.ipv6.conf.default.addr_gen_mode=1
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1
ip link add tapbb04a719-1a mtu 1500 type veth peer name qg-bb04a719-1a address 12:34:56:da:a3:a3 mtu 1500 netns qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b
sysctl -e -w net.ipv4.conf.tapbb04a719-1a.rp_filter=1 net.ipv4.conf.tapbb04a719-1a.arp_ignore=8 net.ipv6.conf.tapbb04a719-1a.disable_ipv6=1
ip link set tapbb04a719-1a alias l3agent:port master brqf30d9ffb-64 up
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b link set qg-bb04a719-1a up
ip link add tap03dbf1c2-f7 mtu 1500 type veth peer name qr-03dbf1c2-f7 address 12:34:56:19:77:cd mtu 1500 netns qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b
sysctl -e -w net.ipv4.conf.tap03dbf1c2-f7.rp_filter=1 net.ipv4.conf.tap03dbf1c2-f7.arp_ignore=8 net.ipv6.conf.tap03dbf1c2-f7.disable_ipv6=1
ip link set tap03dbf1c2-f7 alias l3agent:port master brq7c777afe-2c up
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b link set qr-03dbf1c2-f7 up
ip link add tap06382499-80 mtu 1500 type veth peer name qr-06382499-80 address 12:34:56:27:b4:07 mtu 1500 netns qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b
sysctl -e -w net.ipv4.conf.tap06382499-80.rp_filter=1 net.ipv4.conf.tap06382499-80.arp_ignore=8 net.ipv6.conf.tap06382499-80.disable_ipv6=1
ip link set tap06382499-80 alias l3agent:port master brq7c777afe-2c up
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b link set qr-06382499-80 up
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add table ip l3agent; add map ip l3agent floating_dnat { type ipv4_addr : ipv4_addr; }; add map ip l3agent floating_snat { type ipv4_addr : ipv4_addr; }; add map ip l3agent gateway_snat { type ifname : ipv4_addr; }; add map ip l3agent hairpin_snat { type ifname : ipv4_addr; }; add set ip l3agent external { type ifname; }; add set ip l3agent pending_flush { type ifname . ipv4_addr . ipv4_addr; }; add set ip l3agent guarded { type ifname; }; add set ip l3agent gateway_addresses { type ipv4_addr; }; add chain ip l3agent prerouting { type nat hook prerouting priority -100; }; add chain ip l3agent output { type nat hook output priority -100; }; add chain ip l3agent postrouting { type nat hook postrouting priority 100; }; add chain ip l3agent guard { type filter hook postrouting priority 101; }; add rule ip l3agent prerouting dnat to ip daddr map @floating_dnat; add rule ip l3agent output dnat to ip daddr map @floating_dnat; add rule ip l3agent postrouting oifname != @external ct status and dnat == 0 accept; add rule ip l3agent postrouting snat to ip saddr map @floating_snat fully-random; add rule ip l3agent postrouting snat to oifname map @gateway_snat fully-random; add rule ip l3agent postrouting ct status and dnat != 0 snat to iifname map @hairpin_snat fully-random; add rule ip l3agent guard ip daddr 169.254.0.0/16 oifname @external drop; add rule ip l3agent guard ct status snat,dnat accept; add rule ip l3agent guard oifname @guarded ip saddr != @gateway_addresses drop'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent external { "qg-bb04a719-1a" }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent floating_dnat { 203.0.113.7 : 10.0.0.78 }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent floating_dnat { 203.0.113.222 : 10.0.0.215 }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent floating_snat { 10.0.0.78 : 203.0.113.7 }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent floating_snat { 10.0.0.215 : 203.0.113.222 }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent gateway_addresses { 203.0.113.53 }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent gateway_snat { "qg-bb04a719-1a" : 203.0.113.53 }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent guarded { "qg-bb04a719-1a" }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent hairpin_snat { "qr-03dbf1c2-f7" : 203.0.113.53 }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent hairpin_snat { "qr-06382499-80" : 203.0.113.53 }'
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b address add 203.0.113.7/32 dev qg-bb04a719-1a
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b address add 203.0.113.53/24 broadcast 203.0.113.255 dev qg-bb04a719-1a
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b address add 203.0.113.222/32 dev qg-bb04a719-1a
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b address add 2001:db8:ffff::1da/64 nodad dev qg-bb04a719-1a
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b address add fe80::1034:56ff:feda:a3a3/64 nodad dev qg-bb04a719-1a
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b address add 10.0.0.1/24 broadcast 10.0.0.255 dev qr-03dbf1c2-f7
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b address add fe80::1034:56ff:fe19:77cd/64 nodad dev qr-03dbf1c2-f7
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b address add 2001:db8:1::/64 nodad dev qr-06382499-80
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b address add fe80::1034:56ff:fe27:b407/64 nodad dev qr-06382499-80
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b route replace 198.51.100.0/24 protocol 201 dev qg-bb04a719-1a
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b route replace 0.0.0.0/0 protocol static via 203.0.113.1 dev qg-bb04a719-1a
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b route replace 172.30.0.0/24 protocol 201 via 10.0.0.77 dev qr-03dbf1c2-f7
ip -6 -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b route replace ::/0 protocol static via 2001:db8:ffff::1 dev qg-bb04a719-1a
ip netns add qrouter-c0000000-0000-4000-8000-000000000000
ip -n qrouter-c0000000-0000-4000-8000-000000000000 link set lo up
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 sysctl -w net.ipv4.conf.all.arp_announce=2
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 sysctl -w net.ipv4.conf.all.arp_ignore=1
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 sysctl -w net.ipv4.conf.all.promote_secondaries=1
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 sysctl -w net.ipv4.ip_forward=1
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 sysctl -w net.ipv6.conf.all.forwarding=1
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 sysctl -w net.ipv6.conf.default.addr_gen_mode=1
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1
ip link add brqd0000100-00 address 02:0a:12:3d:a6:57 type bridge mcast_snooping 0
sysctl -e -w net.ipv4.conf.brqd0000100-00.rp_filter=1 net.ipv4.conf.brqd0000100-00.arp_ignore=8 net.ipv6.conf.brqd0000100-00.disable_ipv6=1
ip link set brqd0000100-00 alias l3agent:network:d0000100-0000-4000-8000-000000000000 up
ip link add brqee000000-00 address 02:d5:27:9e:ba:22 type bridge mcast_snooping 0
sysctl -e -w net.ipv4.conf.brqee000000-00.rp_filter=1 net.ipv4.conf.brqee000000-00.arp_ignore=8 net.ipv6.conf.brqee000000-00.disable_ipv6=1
ip link set brqee000000-00 alias l3agent:network:ee000000-0000-4000-8000-000000000000 up
ip link add tapb0000000-00 mtu 1500 type veth peer name qg-b0000000-00 address fa:16:3e:ff:00:01 mtu 1500 netns qrouter-c0000000-0000-4000-8000-000000000000
sysctl -e -w net.ipv4.conf.tapb0000000-00.rp_filter=1 net.ipv4.conf.tapb0000000-00.arp_ignore=8 net.ipv6.conf.tapb0000000-00.disable_ipv6=1
ip link set tapb0000000-00 alias l3agent:port master brqee000000-00 up
ip -n qrouter-c0000000-0000-4000-8000-000000000000 link set qg-b0000000-00 up
ip link add tapa0000100-00 mtu 1500 type veth peer name qr-a0000100-00 address fa:16:3e:00:01:00 mtu 1500 netns qrouter-c0000000-0000-4000-8000-000000000000
sysctl -e -w net.ipv4.conf.tapa0000100-00.rp_filter=1 net.ipv4.conf.tapa0000100-00.arp_ignore=8 net.ipv6.conf.tapa0000100-00.disable_ipv6=1
ip link set tapa0000100-00 alias l3agent:port master brqd0000100-00 up
ip -n qrouter-c0000000-0000-4000-8000-000000000000 link set qr-a0000100-00 up
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 nft 'add table ip l3agent; add map ip l3agent floating_dnat { type ipv4_addr : ipv4_addr; }; add map ip l3agent floating_snat { type ipv4_addr : ipv4_addr; }; add map ip l3agent gateway_snat { type ifname : ipv4_addr; }; add map ip l3agent hairpin_snat { type ifname : ipv4_addr; }; add set ip l3agent external { type ifname; }; add set ip l3agent pending_flush { type ifname . ipv4_addr . ipv4_addr; }; add set ip l3agent guarded { type ifname; }; add set ip l3agent gateway_addresses { type ipv4_addr; }; add chain ip l3agent prerouting { type nat hook prerouting priority -100; }; add chain ip l3agent output { type nat hook output priority -100; }; add chain ip l3agent postrouting { type nat hook postrouting priority 100; }; add chain ip l3agent guard { type filter hook postrouting priority 101; }; add rule ip l3agent prerouting dnat to ip daddr map @floating_dnat; add rule ip l3agent output dnat to ip daddr map @floating_dnat; add rule ip l3agent postrouting oifname != @external ct status and dnat == 0 accept; add rule ip l3agent postrouting snat to ip saddr map @floating_snat fully-random; add rule ip l3agent postrouting snat to oifname map @gateway_snat fully-random; add rule ip l3agent postrouting ct status and dnat != 0 snat to iifname map @hairpin_snat fully-random; add rule ip l3agent guard ip daddr 169.254.0.0/16 oifname @external drop; add rule ip l3agent guard ct status snat,dnat accept; add rule ip l3agent guard oifname @guarded ip saddr != @gateway_addresses drop'
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 nft 'add element ip l3agent external { "qg-b0000000-00" }'
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 nft 'add element ip l3agent floating_dnat { 203.0.113.20 : 10.0.0.5 }'
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 nft 'add element ip l3agent floating_snat { 10.0.0.5 : 203.0.113.20 }'
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 nft 'add element ip l3agent gateway_addresses { 203.0.113.10 }'
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 nft 'add element ip l3agent gateway_snat { "qg-b0000000-00" : 203.0.113.10 }'
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 nft 'add element ip l3agent guarded { "qg-b0000000-00" }'
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 nft 'add element ip l3agent hairpin_snat { "qr-a0000100-00" : 203.0.113.10 }'
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 sysctl -w net.ipv6.conf.qg-b0000000-00.autoconf=0
ip netns exec qrouter-c0000000-0000-4000-8000-000000000000 sysctl -w net.ipv6.conf.qg-b0000000-00.accept_ra=2
ip -n qrouter-c0000000-0000-4000-8000-000000000000 address add 203.0.113.10/24 broadcast 203.0.113.255 dev qg-b0000000-00
ip -n qrouter-c0000000-0000-4000-8000-000000000000 address add 203.0.113.20/32 dev qg-b0000000-00
ip -n qrouter-c0000000-0000-4000-8000-000000000000 address add fe80::f816:3eff:feff:1/64 nodad dev qg-b0000000-00
ip -n qrouter-c0000000-0000-4000-8000-000000000000 address add 10.0.0.1/24 broadcast 10.0.0.255 dev qr-a0000100-00
ip -n qrouter-c0000000-0000-4000-8000-000000000000 address add fe80::f816:3eff:fe00:100/64 nodad dev qr-a0000100-00
ip -n qrouter-c0000000-0000-4000-8000-000000000000 route replace 0.0.0.0/0 protocol static via 203.0.113.1 dev qg-b0000000-00
