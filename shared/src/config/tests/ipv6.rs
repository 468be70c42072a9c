//! IPv6 keys: what a good file means, and each mistake with its place.

use super::*;

/// [`GOOD`] with IPv6 everywhere.
fn good6() -> String {
    GOOD.replace("address = \"192.0.2.1/24\"", "address = \"192.0.2.1/24\"\naddress6 = \"2001:db8::1/64\"")
        .replace("address = \"10.0.0.1/24\"", "address = \"10.0.0.1/24\"\naddress6 = \"fd00:1::1/64\"")
        .replace("[ike]", "[[route]]\ndestination = \"::/0\"\nvia = \"2001:db8::fe\"\n[ike]")
        .replace("range = \"10.99.0.0/16\"", "range = \"10.99.0.0/16\"\nrange6 = \"fd00:99::/48\"")
        .replace("\"10.0.0.53\"", "\"10.0.0.53\", \"fd00:1::53\"")
        .replace("\"10.0.0.0/8\"", "\"10.0.0.0/8\", \"fd00:1::/64\"")
}

#[test]
fn both_families_are_read() {
    let config = check_plain(&good6()).config.unwrap();
    let interface = config.ports[0].address6.unwrap();
    assert_eq!((interface.address.to_string().as_str(), interface.prefix_len), ("2001:db8::1", 64));
    assert_eq!(config.routes[1].destination.to_string(), "::/0");
    let pool = &config.pools[0];
    let range6 = pool.range6.unwrap();
    assert_eq!((range6.prefix.to_string().as_str(), range6.client_length), ("fd00:99::/48", 128));
    assert_eq!((pool.dns.len(), pool.subnets[1].to_string().as_str()), (2, "fd00:1::/64"));
    let alone = good6().replace("range = \"10.99.0.0/16\"\n", "client_prefix6 = 64\n");
    let pool = &check_plain(&alone).config.unwrap().pools[0];
    assert_eq!((pool.range, pool.range6.unwrap().client_length), (None, 64));
}

#[test]
fn each_mistake_is_told() {
    for (good, bad, expected) in [
        ("2001:db8::1/64", "fe80::1/64", "port[1].address6: fe80::1 cannot be a port's IPv6 address"),
        ("2001:db8::1/64", "2001:db8::/64", "port[1].address6: 2001:db8:: is every router's address"),
        (
            "2001:db8::1/64",
            "2001:db8::1/129",
            "port[1].address6: `2001:db8::1/129` is not an IPv6 address with",
        ),
        (
            "fd00:1::1/64",
            "2001:db8::9/32",
            "port[2].address6: link 2001:db8::/32 overlaps 2001:db8::/64 of port[1]",
        ),
        ("role = \"outside\"", "role = \"outside\"\nmtu = 1279", "port[1].mtu: 1279 is too little for IPv6"),
        ("2001:db8::fe", "2001:db8:9::fe", "route[2].via: next hop 2001:db8:9::fe is in no port's subnet"),
        ("2001:db8::fe", "192.0.2.254", "route[2].via: 192.0.2.254 cannot be the next hop of ::/0"),
        ("\"::/0\"", "\"fd00:99:0:1::/64\"", "route[2].destination: fd00:99:0:1::/64 lies in pool[1].range6"),
        (
            "fd00:99::/48",
            "fd00:99::/8",
            "pool[1].range6: `fd00:99::/8` has bits set behind its prefix length",
        ),
        (
            "fd00:99::/48",
            "ff00::/16",
            "pool[1].range6: ff00::/16 holds other addresses than clients can have",
        ),
        ("fd00:99::/48", "fd00::/16", "pool[1].range6: fd00::/16 overlaps the link of port[2].address6"),
        (
            "range6 =",
            "client_prefix6 = 49\nrange6 =",
            "pool[1].client_prefix6: prefixes of length 49 are too few",
        ),
        ("range = \"10.99.0.0/16\"\nrange6 = \"fd00:99::/48\"", "", "pool[1]: gives out no address"),
        (
            "[[user]]",
            "[[pool]]\nname = \"b\"\nrange6 = \"fd00:99:0:4::/64\"\n[[user]]",
            "pool[2].range6: fd00:99:0:4::/64 overlaps pool[1].range6",
        ),
        ("fd00:1::53", "ff02::53", "pool[1].dns: ff02::53 cannot be a DNS server"),
        (
            "name = \"alice\"",
            "name = \"alice\"\naddress6 = \"fd00:98::1\"",
            "user[1].address6: no pool gives out fd00:98::1",
        ),
    ] {
        assert!(good6().contains(good), "{good}");
        let found = mistakes(&good6().replace(good, bad));
        assert!(found.iter().any(|line| line.contains(expected)), "{good} -> {bad}: {found:?}");
    }
}
