//! Both families, outside and inside: who asks for what gets what there is, by one Child SA or by two (RFC 7296 §2.9, §3.15.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::harness::*;
use crate::api::{Input, Operator, Wish};
use crate::counters::IkeCounter;
use crate::policy::{Limits, Subnet};
use crate::testing::*;
use crate::wire::{CfgAttribute, CfgAttributeType, ExchangeType, Payload, TrafficSelector, TsRange};

const GATEWAY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const CLIENT6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7));
const INNER4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const INNER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);

fn both() -> Vec<TrafficSelector> {
    [TsRange::any_ipv4(), TsRange::any_ipv6()].map(TrafficSelector::Range).to_vec()
}

fn gateway(pki: &Pki, pools: (bool, bool)) -> Gateway {
    gateway_with(pki, pools, |_| {})
}

fn gateway_with(
    pki: &Pki,
    (v4, v6): (bool, bool),
    change: impl FnOnce(&mut crate::policy::EndpointConfig),
) -> Gateway {
    let mut gateway = Gateway::new(pki, 1, change);
    gateway.subnets.push(Subnet { address: "fd00:1::".parse().unwrap(), prefix_len: 64 });
    if !v4 {
        gateway.pool.clear();
    }
    if v6 {
        gateway.pool6 = (1..=9).map(|last| Ipv6Addr::from_bits(INNER6.to_bits() + last - 1)).collect();
    }
    gateway
}

fn client(outer6: bool, change: impl FnOnce(&mut InitiatorConfig)) -> Client {
    let mut config = InitiatorConfig { selectors: (both(), both()), ..psk_config() };
    if outer6 {
        (config.local.0, config.gateway.0) = (CLIENT6, GATEWAY6);
    }
    change(&mut config);
    let (gateway, address) = (config.gateway.0, config.local.0);
    Client { gateway, address, ..Client::new(config, 2) }
}

fn without(kind: CfgAttributeType, mut payloads: Vec<Payload>) -> Vec<Payload> {
    for payload in &mut payloads {
        if let Payload::Cp(request) = payload {
            request.attributes.retain(|attribute| attribute.kind != kind);
        }
    }
    payloads
}

fn only_ip6(_: ExchangeType, payloads: Vec<Payload>) -> Vec<Payload> {
    without(CfgAttributeType::InternalIp4Address, payloads)
}

fn only_ip4(_: ExchangeType, payloads: Vec<Payload>) -> Vec<Payload> {
    without(CfgAttributeType::InternalIp6Address, payloads)
}

fn as_asked(_: ExchangeType, payloads: Vec<Payload>) -> Vec<Payload> {
    payloads
}

fn families(selectors: &[TrafficSelector]) -> (bool, bool) {
    let has = |v4: bool| {
        selectors.iter().any(|selector| match selector {
            TrafficSelector::Range(range) => {
                matches!(range.addresses, crate::wire::AddressRange::Ipv4(..)) == v4
            }
            TrafficSelector::Unknown { .. } => false,
        })
    };
    (has(true), has(false))
}

/// Outer family, what is asked for, which pools there are; what the client gets.
#[test]
fn every_mixture_of_families_logs_in_rekeys_and_ends() {
    let pki = Pki::new();
    for outer6 in [false, true] {
        let asks: [(Arrange, (bool, bool)); 3] =
            [(as_asked, (true, true)), (only_ip4, (true, false)), (only_ip6, (false, true))];
        for (arrange, asked) in asks {
            for pools in [(true, true), (true, false), (false, true)] {
                let mut gateway = gateway(&pki, pools);
                let mut client = client(outer6, |config| config.arrange = arrange);
                let notable = client.login(&mut gateway);
                let gets = (asked.0 && pools.0, asked.1 && pools.1);
                let case = format!("outer6 {outer6}, asked {asked:?}, pools {pools:?}");
                let child = notable.iter().any(|seen| matches!(seen, Notable::ChildUp(_)));
                assert_eq!(child, gets.0 || gets.1, "{case}: {notable:?}");
                if !child {
                    assert_eq!(gateway.count(IkeCounter::AddressFailure), 1, "{case}");
                    continue;
                }
                assert_eq!(client.initiator.address(), gets.0.then_some(INNER4), "{case}");
                assert_eq!(client.initiator.address6(), gets.1.then_some((INNER6, 128)), "{case}");
                let told = client.initiator.config_reply().unwrap();
                for (kind, due) in [
                    (CfgAttributeType::InternalIp4Dns, gets.0),
                    (CfgAttributeType::InternalIp4Subnet, gets.0),
                    (CfgAttributeType::InternalIp6Dns, gets.1),
                    (CfgAttributeType::InternalIp6Subnet, gets.1),
                ] {
                    assert_eq!(told.has(kind), due, "{case}: {kind}");
                }
                assert_agreement(&client, &gateway);
                let path = gateway.installed.values().next().unwrap().path;
                assert_eq!(path.peer, if outer6 { CLIENT6 } else { CLIENT }, "{case}");
                // Both sides rekey; the successors carry what the first one did.
                let old = client.child().inbound_spi;
                client.act(&mut gateway, |initiator| initiator.create_child(Some(old), None));
                let session = gateway.session();
                gateway.input(Input::Operator(Operator::RekeyChildren(session)));
                client.exchange(&mut gateway, Vec::new());
                assert_agreement(&client, &gateway);
                for child in client.initiator.children() {
                    assert_eq!((families(&child.local), families(&child.remote)), (gets, gets), "{case}");
                }
                gateway.input(Input::Operator(Operator::Delete(session)));
                client.exchange(&mut gateway, Vec::new());
                gateway.assert_empty_after_farewell();
            }
        }
    }
}

#[test]
fn the_reply_has_the_octets_of_the_rfc() {
    let pki = Pki::new();
    let mut gateway = gateway(&pki, (true, true));
    let mut client = client(true, |_| {});
    client.login(&mut gateway);
    let reply = client.initiator.config_reply().unwrap();
    let value =
        |kind| reply.all(kind).next().map(|attribute: &CfgAttribute| attribute.value.clone()).unwrap();
    let of = |address: &str, more: &[u8]| [&address.parse::<Ipv6Addr>().unwrap().octets()[..], more].concat();
    assert_eq!(value(CfgAttributeType::InternalIp6Address), of("fd00:9::1", &[128]));
    assert_eq!(value(CfgAttributeType::InternalIp6Dns), of("fd00:1::53", &[]));
    assert_eq!(value(CfgAttributeType::InternalIp6Subnet), of("fd00:1::", &[64]));
}

/// A wish of 17 octets as the RFC has it, and one of 16 as some clients send it.
#[test]
fn a_wish_for_an_address_is_handed_on() {
    fn wishing(octets: usize, payloads: Vec<Payload>) -> Vec<Payload> {
        let wish: Vec<u8> =
            "fd00:9::5".parse::<Ipv6Addr>().unwrap().octets().into_iter().chain([128]).collect();
        let mut payloads = only_ip6(ExchangeType::IkeAuth, payloads);
        for payload in &mut payloads {
            if let Payload::Cp(request) = payload {
                let kind = CfgAttributeType::InternalIp6Address;
                let wished = request.attributes.iter_mut().find(|attribute| attribute.kind == kind);
                wished.unwrap().value = wish[..octets].to_vec();
            }
        }
        payloads
    }
    let pki = Pki::new();
    let ways: [(Arrange, bool); 3] = [
        (|_, payloads| wishing(17, payloads), true),
        (|_, payloads| wishing(16, payloads), true),
        (|_, payloads| wishing(15, payloads), false),
    ];
    for (arrange, understood) in ways {
        let mut gateway = gateway(&pki, (true, true));
        let mut client = client(true, |config| config.arrange = arrange);
        client.login(&mut gateway);
        let wish = "fd00:9::5".parse().unwrap();
        let request = &gateway.address_requests[0];
        assert_eq!(request.ip6, if understood { Wish::This(wish) } else { Wish::Any });
        assert_eq!(request.ip4, Wish::None);
        assert_eq!(client.initiator.address6(), Some((if understood { wish } else { INNER6 }, 128)));
    }
}

#[test]
fn a_prefix_is_the_clients_whole() {
    let pki = Pki::new();
    let mut gateway = gateway(&pki, (true, true));
    gateway.client_prefix6 = 64;
    let mut client = client(false, |_| {});
    client.login(&mut gateway);
    assert_eq!(client.initiator.address6(), Some((INNER6, 64)));
    let last = Ipv6Addr::new(0xfd00, 9, 0, 0, u16::MAX, u16::MAX, u16::MAX, u16::MAX);
    let first = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 0);
    let whole = TrafficSelector::Range(TsRange::ipv6(first, last));
    assert!(client.child().local.contains(&whole), "{:?}", client.child().local);
}

/// Clients exist that make one Child SA for each family: each is found by its own address only.
#[test]
fn a_child_sa_for_each_family() {
    fn ip4_first(_: ExchangeType, mut payloads: Vec<Payload>) -> Vec<Payload> {
        for payload in &mut payloads {
            if let Payload::TsI(selectors) | Payload::TsR(selectors) = payload {
                *selectors = vec![TrafficSelector::Range(TsRange::any_ipv4())];
            }
        }
        payloads
    }
    let pki = Pki::new();
    let mut gateway = gateway(&pki, (true, true));
    let any6 = vec![TrafficSelector::Range(TsRange::any_ipv6())];
    let mut client = client(true, |config| {
        config.arrange = ip4_first;
        config.selectors = (any6.clone(), any6);
    });
    client.login(&mut gateway);
    let first = client.child();
    client.act(&mut gateway, |initiator| initiator.create_child(None, None));
    let second = client.child();
    gateway.input(Input::DataPlane(crate::api::DataPlaneEvent::FirstInbound {
        inbound_spi: second.outbound_spi,
    }));
    assert_agreement(&client, &gateway);
    assert_eq!(gateway.selected.get(&INNER4.into()), Some(&first.outbound_spi));
    assert_eq!(gateway.selected.get(&INNER6.into()), Some(&second.outbound_spi));
}

#[test]
fn a_nat_between_ipv6_addresses_is_seen() {
    let pki = Pki::new();
    for (mapped, port) in [(false, None), (true, Some(40_001))] {
        let mut gateway = gateway(&pki, (true, true));
        let mut client = client(true, |_| {});
        client.mapped_port = port;
        assert!(client.login(&mut gateway).contains(&Notable::Up));
        assert_eq!(gateway.facts().nat_detected, mapped);
        let path = gateway.installed.values().next().unwrap().path;
        assert_eq!(path.udp.map(|ports| ports.peer), port);
    }
}

#[test]
fn a_cookie_holds_for_its_address() {
    let pki = Pki::new();
    let mut gateway = gateway_with(&pki, (true, true), |config| {
        config.limits = Limits { cookie_threshold: 0, ..config.limits };
    });
    let mut client = client(true, |_| {});
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    assert_eq!(gateway.count(IkeCounter::CookiesSent), 1);
    assert_eq!(gateway.count(IkeCounter::CookiesWrong), 0);
}

/// An IPv6 header is 20 octets longer, so fragments are 20 octets shorter (RFC 7383 §2.5.1).
#[test]
fn fragments_fit_the_configured_packet() {
    let pki = Pki::new();
    for (outer6, headers) in [(false, 28), (true, 48)] {
        let mut gateway = gateway_with(&pki, (true, true), |config| config.fragment_size = 600);
        gateway.attributes = vec![(28_800, vec![7; 900])];
        let mut client = client(outer6, |config| {
            config.fragment = Some(500);
            config.attributes = vec![(28_800, vec![])];
        });
        let mut longest = 0;
        let mut to_gateway: std::collections::VecDeque<_> = client.initiator.start().unwrap().into();
        while let Some(outgoing) = to_gateway.pop_front() {
            gateway.input(Input::Datagram(client.datagram(&outgoing)));
            while let Some(answer) = gateway.outbox.pop_front() {
                let marker = if answer.local_port == 4500 { 4 } else { 0 };
                longest = longest.max(answer.bytes.len() + marker + headers);
                to_gateway.extend(client.receive(&answer));
            }
        }
        assert!(client.notable.contains(&Notable::Up));
        assert!((590..=600).contains(&longest), "{longest}");
    }
}

#[test]
fn both_addresses_outlive_the_process() {
    let pki = Pki::new();
    let mut gateway = gateway(&pki, (true, true));
    gateway.client_prefix6 = 64;
    let mut client = client(true, |_| {});
    client.login(&mut gateway);
    let before = gateway.facts();
    let snapshot = gateway.snapshot().unwrap();
    gateway.restart();
    let session = gateway.restore(snapshot.expose(), 0).unwrap();
    assert_eq!(crate::api::SessionFacts { session, ..before }, gateway.facts());
    assert_agreement(&client, &gateway);
    let old = client.child().inbound_spi;
    client.act(&mut gateway, |initiator| initiator.create_child(Some(old), None));
    assert_agreement(&client, &gateway);
    assert_eq!(families(&client.child().local), (true, true));
}
