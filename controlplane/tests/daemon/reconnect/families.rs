//! Sessions of both families: a client that slept, or whose gateway crashed meanwhile, is given both of its addresses again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_shared::config::{Config, Range6};
use causeway_shared::sa::IpPrefix;

use super::{figures, impatient, login};
use crate::client::Client;
use crate::gateway::Gateway;

/// What a client has inside.
type Inner = (Option<Ipv4Addr>, Option<(Ipv6Addr, u8)>);

fn dual_stack(client_length: u8) -> impl FnOnce(&mut Config) {
    move |config| {
        impatient(config);
        let prefix = "2001:db8:9::/48".parse().unwrap();
        config.pools[0].range6 = Some(Range6 { prefix, client_length });
    }
}

fn inner(client: &Client) -> Inner {
    (client.ike.address(), client.ike.address6())
}

/// Whether two clients could be sent each other's packets.
fn overlap(one: Inner, other: Inner) -> bool {
    let prefixes = |inner: Inner| {
        let v4 = inner.0.and_then(|address| IpPrefix::new(IpAddr::V4(address), 32));
        let v6 = inner.1.and_then(|(address, length)| IpPrefix::new(IpAddr::V6(address), length));
        v4.into_iter().chain(v6)
    };
    prefixes(one).any(|one| prefixes(other).any(|other| one.overlaps(other)))
}

#[test]
fn a_client_comes_back_to_both_of_its_addresses_and_nobody_had_them_meanwhile() {
    for client_length in [128, 64] {
        let gateway =
            Gateway::start_reconnect(&format!("families{client_length}"), "", dual_stack(client_length));
        let (client, told) = login(&gateway);
        let before = inner(&client);
        assert!(before.0.is_some() && before.1.is_some_and(|(_, length)| length == client_length));
        drop(client);
        gateway.until("the session is inactive", |gateway| figures(gateway)[4] == 1);
        let (other, _) = login(&gateway);
        assert!(!overlap(before, inner(&other)), "{before:?} is {:?}", inner(&other));
        let client = Client::resuming(&gateway, &told).connect();
        assert_eq!(inner(&client), before);
        let prefixes: Vec<_> =
            gateway.sessions().sessions.into_iter().map(|session| session.inner_prefix6).collect();
        assert!(prefixes.iter().all(Option::is_some) && prefixes[0] != prefixes[1], "{prefixes:?}");
    }
}

#[test]
fn both_addresses_outlive_a_crash_of_the_gateway_while_the_client_sleeps() {
    let mut gateway = Gateway::start_reconnect("families-crash", "", dual_stack(64));
    let (client, told) = login(&gateway);
    let before = inner(&client);
    assert!(before.0.is_some() && before.1.is_some());
    drop(client);
    gateway.until("the session is inactive", |gateway| figures(gateway)[4] == 1);
    gateway.crash();
    let gateway = gateway.again();
    let (other, _) = login(&gateway);
    assert!(!overlap(before, inner(&other)), "{before:?} is {:?}", inner(&other));
    let client = Client::resuming(&gateway, &told).connect();
    assert_eq!(inner(&client), before);
}
