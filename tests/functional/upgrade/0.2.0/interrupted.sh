ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'add element ip l3agent pending_flush { "floating_dnat" . 203.0.113.7 . 10.0.0.78 }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'delete element ip l3agent floating_dnat { 203.0.113.7 }'
ip netns exec qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b nft 'delete element ip l3agent floating_snat { 10.0.0.78 }'
ip -n qrouter-a9b2e6b5-bd05-4bb2-8bf0-115fce04e26b address delete 203.0.113.7/32 dev qg-bb04a719-1a
