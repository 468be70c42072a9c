//! The registry, fed with events as the endpoint sends them.

use std::net::{IpAddr, Ipv4Addr};

use causeway_ike::api::{
    ClientKind, DownReason, EspPath, Fragmentation, IkeSpis, Lease, Selector, SelectorPolicy, SessionId,
    Side, UdpPorts,
};
use causeway_ike::ident::Identity;
use causeway_ike::time::Instant;
use causeway_shared::api::{Session, SessionState, Traffic};

use super::record::selector_text;
use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));

fn facts(session: u64) -> SessionFacts {
    SessionFacts {
        session: SessionId(session),
        user: format!("user{session}"),
        identity: Identity::from_text("client.example"),
        auth_method: "eap-mschapv2".into(),
        peer_key: None,
        ike_suite: "aes256gcm16-prfsha384-ecp384".into(),
        spis: IkeSpis { initiator: 1, responder: 2 },
        nat_detected: true,
        local: Ipv4Addr::new(192, 0, 2, 1).into(),
        local_port: 4500,
        peer: PEER,
        peer_port: 61000,
        lease: Some(Lease {
            address: Some(Ipv4Addr::new(10, 0, 0, 7)),
            netmask: None,
            address6: None,
            dns: Vec::new(),
            subnets: Vec::new(),
            selectors: SelectorPolicy::Subnets,
            lifetime_secs: None,
            pool: "staff".into(),
            attributes: Vec::new(),
        }),
        client: ClientKind::Standard,
        vendor_ids: Vec::new(),
        fragmentation: Fragmentation::None,
        local_identity: Identity::from_text("vpn.example"),
        local_auth: "ecdsa",
        resumed: None,
        by_ticket: false,
        ppk: false,
        started_at: Instant::from_millis(1_000),
        established_at: Instant::from_millis(1_120),
    }
}

fn any_selector() -> Selector {
    let last = Ipv4Addr::BROADCAST.into();
    Selector { protocol: 0, first: Ipv4Addr::UNSPECIFIED.into(), last, first_port: 0, last_port: u16::MAX }
}

fn child(session: u64, inbound_spi: u32) -> Event {
    let suite = "aes256gcm16".parse().unwrap();
    Event::ChildUp(Box::new(ChildFacts {
        session: SessionId(session),
        inbound_spi,
        outbound_spi: 0xabc,
        suite,
        esn: true,
        path: EspPath {
            local: Ipv4Addr::new(192, 0, 2, 1).into(),
            peer: PEER,
            udp: Some(UdpPorts { local: 4500, peer: 61000 }),
        },
        local_selectors: vec![any_selector()],
        peer_selectors: vec![any_selector()],
        replaces: None,
        established_at: Instant::from_millis(1_120),
    }))
}

fn figures(packets: u64) -> SaTraffic {
    SaTraffic {
        traffic: Traffic {
            in_packets: packets,
            in_bytes: 100 * packets,
            out_packets: 2 * packets,
            out_bytes: 200 * packets,
        },
        in_drops: 3 * packets,
        out_drops: packets,
        last_inbound_ms: Some(60_000),
    }
}

#[test]
fn figures_are_summed_over_rekeys() {
    let mut registry = Registry::default();
    registry.note(&Event::SessionUp(Box::new(facts(3))), |_| None);
    assert_eq!(registry.snapshot().get(3).unwrap().render(2_000, &[]).state, SessionState::Connecting);
    registry.note(&child(3, 0x1001), |_| None);
    registry.note(&child(3, 0x1002), |_| None);
    let down = Event::ChildDown { session: SessionId(3), inbound_spi: 0x1001, replaced_by: Some(0x1002) };
    registry.note(&down, |spi| (spi == 0x1001).then(|| figures(5)));
    assert_eq!((registry.session_of(0x1001), registry.session_of(0x1002)), (None, Some(3)));
    let record = registry.snapshot().get(3).unwrap();
    let shown = record.render(61_120, &[Some(figures(2))]);
    assert_eq!(shown.traffic, figures(7).traffic);
    let carried = registry.carried(3, |spi| (spi == 0x1002).then(|| figures(2)));
    assert_eq!(carried, Carried { in_packets: 7, out_packets: 14, last_inbound_ms: Some(60_000) });
    assert_eq!(registry.carried(4, |_| Some(figures(1))), Carried::default());
    assert_eq!((shown.child_sas.len(), shown.child_sas[0].in_packets), (1, 2));
    let drops = |shown: &Session| (shown.child_sas[0].esp.in_drops, shown.child_sas[0].esp.out_drops);
    assert_eq!(drops(&shown), (Some(6), Some(2)), "of this SA alone");
    assert_eq!(drops(&record.render(61_120, &[None])), (None, None), "unknown is not 0");
    assert_eq!((shown.state, shown.idle_secs, shown.established_secs), (SessionState::Active, 1, 60));
    assert_eq!((shown.set_up_ms, shown.peer.as_str()), (120, "203.0.113.5:61000"));
    assert_eq!(shown.child_sas[0].inbound_spi, "00001002");
    assert_eq!(shown.child_sas[0].esp_suite, "aes256gcm16-esn");
    assert_eq!(shown.child_sas[0].local_selectors, ["0.0.0.0/0"]);
}

#[test]
fn a_snapshot_stays_as_it_was_taken() {
    let mut registry = Registry::default();
    for session in [9, 4, 6] {
        registry.note(&Event::SessionUp(Box::new(facts(session))), |_| None);
    }
    let before = registry.snapshot();
    assert!(Arc::ptr_eq(&before, &registry.snapshot()), "nothing changed, nothing copied");
    let moved = Event::PeerMoved { session: SessionId(4), peer: Ipv4Addr::LOCALHOST.into(), peer_port: 1 };
    registry.note(&moved, |_| None);
    let rekeyed = Event::IkeRekeyed {
        session: SessionId(4),
        spis: IkeSpis { initiator: 7, responder: 8 },
        suite: "other".into(),
        by: Side::Peer,
    };
    registry.note(&rekeyed, |_| None);
    let down = Event::SessionDown { session: SessionId(9), reason: DownReason::PeerDeleted };
    registry.note(&down, |_| None);
    assert!(registry.closing(6) && !registry.closing(9));
    let after = registry.snapshot();
    let ids = |snapshot: &Snapshot, id| snapshot.after(id).iter().map(|r| r.id()).collect::<Vec<_>>();
    assert_eq!(ids(&before, None), [4, 6, 9]);
    assert_eq!(
        (ids(&after, None), ids(&after, Some(4)), ids(&after, Some(5))),
        (vec![4, 6], vec![6], vec![6])
    );
    let (old, new) = (before.get(4).unwrap().render(0, &[]), after.get(4).unwrap().render(0, &[]));
    assert_eq!((old.peer.as_str(), new.peer.as_str()), ("203.0.113.5:61000", "127.0.0.1:1"));
    assert_eq!((old.ike_suite.as_str(), new.ike_suite.as_str()), ("aes256gcm16-prfsha384-ecp384", "other"));
    assert_eq!(after.get(6).unwrap().render(0, &[]).state, SessionState::Closing);
    assert!(after.get(9).is_none());
}

#[test]
fn selectors_read_like_an_operator_writes_them() {
    let selector = |first: [u8; 4], last: [u8; 4], protocol, first_port, last_port| Selector {
        protocol,
        first: first.into(),
        last: last.into(),
        first_port,
        last_port,
    };
    for (selector, text) in [
        (any_selector(), "0.0.0.0/0"),
        (selector([10, 0, 0, 7], [10, 0, 0, 7], 0, 0, 65535), "10.0.0.7/32"),
        (selector([10, 0, 0, 0], [10, 0, 0, 255], 17, 53, 53), "10.0.0.0/24 protocol 17 port 53"),
        (selector([10, 0, 0, 1], [10, 0, 0, 2], 6, 1, 9), "10.0.0.1-10.0.0.2 protocol 6 ports 1-9"),
    ] {
        assert_eq!(selector_text(&selector), text);
    }
}

#[test]
fn numbers_go_on_and_tunnel_ids_are_used_again() {
    let mut registry = Registry::default();
    let up = |registry: &mut Registry, session| {
        registry.note(&Event::SessionUp(Box::new(facts(session))), |_| None)
    };
    let down = |registry: &mut Registry, session| {
        let reason = DownReason::PeerDead;
        registry.note(&Event::SessionDown { session: SessionId(session), reason }, |_| None);
    };
    let numbers = |registry: &mut Registry, session| registry.snapshot().get(session).unwrap().numbers();
    for session in [10, 20, 30] {
        up(&mut registry, session);
    }
    assert_eq!(numbers(&mut registry, 30), Numbers { serial: 3, tunnel_id: 3 });
    down(&mut registry, 20);
    up(&mut registry, 40);
    assert_eq!(numbers(&mut registry, 40), Numbers { serial: 4, tunnel_id: 2 });
    registry.set_serial(40, 17);
    up(&mut registry, 50);
    assert_eq!(numbers(&mut registry, 40), Numbers { serial: 17, tunnel_id: 2 });
    assert_eq!(numbers(&mut registry, 50), Numbers { serial: 18, tunnel_id: 4 });
}
