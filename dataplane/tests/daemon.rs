//! The whole daemon as its own process: this test binary starts itself again as the data plane, and plays control plane,
//! client and operator around it.
//!
//! Virtual ports without traffic (`net_null`) where no packet is needed; `net_af_packet` on a veth pair in a network
//! namespace of its own where one is. The latter need root and iproute2, and fail saying so without.

#![allow(clippy::unwrap_used, clippy::panic)] // Clippy knows test functions, but not their helpers.

mod support;

use std::net::{Ipv4Addr, UdpSocket};

use causeway_shared::api::Spread;
use causeway_shared::config::PortRole;
use causeway_shared::counters::Flow;
use causeway_shared::sa::{
    Encapsulation, EspKeys, EspSuite, MAX_CIPHER_KEY, MAX_INTEGRITY_KEY, SALT_LEN, SaLimits, SaPair, Selector,
};
use causeway_shared::wire::{AckStatus, Action, Datagram, Event};
use causeway_shm::{AttachError, ControlSide, monotonic_ns};

use support::{DEADLINE, Daemon, Namespace, Site, execute, push, until};

const NULL_PORTS: [&str; 2] = ["net_null0,no-rx=1", "net_null1,no-rx=1"];
const INNER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);

#[test]
fn a_control_plane_attaches_its_commands_take_effect_and_outlive_it() {
    let daemon = Daemon::start(&Site { name: "commands", cores: &[0, 1], ..Site::default() });
    let mut control = daemon.attach();
    assert_eq!((control.workers(), control.sa_capacity()), (2, 256));
    let ports = control.ports();
    let told: Vec<_> =
        ports.iter().map(|port| (port.driver.as_str(), port.role, &port.polled_by[..])).collect();
    assert_eq!(
        told,
        [("net_null", PortRole::Outside, &[0, 1][..]), ("net_null", PortRole::Inside, &[0, 1])],
        "{ports:?}"
    );
    for port in &ports {
        assert_eq!((port.rx_queues, port.tx_queues, port.link.up), (2, 2, true), "{port:?}");
        assert_eq!(port.spread, Spread::ReceiveHash, "{port:?}");
        assert!(port.esp.reason.contains("self-test") && !port.esp.inline_capable, "{port:?}");
        assert!(NULL_PORTS.contains(&port.device.as_str()) && port.mac.split(':').count() == 6, "{port:?}");
    }

    assert_eq!(execute(&mut control, Action::RemoveAll), AckStatus::Done);
    assert_eq!(execute(&mut control, Action::AddPool("10.9.0.0/24".parse().unwrap())), AckStatus::Done);
    // One SA for each worker: slots 2 and 3.
    for spi in [0x1002, 0x1003] {
        assert_eq!(execute(&mut control, install(spi)), AckStatus::Done);
        let stats = control.stats(spi).unwrap();
        assert!(stats.outbound_reserved_end >= 5, "{stats:?}");
        assert_eq!((stats.inbound_spi, stats.highest_inbound_sequence, stats.in_packets), (spi, 3, 0));
    }
    assert_eq!(execute(&mut control, install(0x2003)), AckStatus::SlotInUse);
    assert_eq!(execute(&mut control, Action::SelectOutbound { inbound_spi: 0x1002 }), AckStatus::Done);
    assert_eq!(execute(&mut control, Action::Barrier), AckStatus::Done);
    let second = ControlSide::attach(&daemon.socket(), "test").map(|_| ()).unwrap_err();
    assert!(matches!(second, AttachError::Busy { .. }), "{second}");
    let epoch = control.epoch();
    drop(control);

    let mut successor = daemon.attach();
    assert_eq!(successor.epoch(), epoch);
    assert_eq!(execute(&mut successor, install(0x1002)), AckStatus::AlreadyInstalled, "it is still there");
    for spi in [0x1002, 0x1003] {
        assert_eq!(execute(&mut successor, Action::RemoveSa { inbound_spi: spi }), AckStatus::Done);
        assert_eq!(execute(&mut successor, Action::RemoveSa { inbound_spi: spi }), AckStatus::NoSuchSa);
    }
    assert!(daemon.stop().success());
}

#[test]
fn more_commands_than_can_be_under_way_are_all_acknowledged_once() {
    const COMMANDS: u32 = 200;
    let daemon = Daemon::start(&Site { name: "many", cores: &[0, 1], ..Site::default() });
    let mut control = daemon.attach();
    assert_eq!(execute(&mut control, Action::AddPool("10.9.0.0/24".parse().unwrap())), AckStatus::Done);
    let mut waiting: Vec<u64> = (0..COMMANDS)
        .map(|number| {
            let Action::InstallSa(mut pair) = install(0x1000 + number) else { unreachable!() };
            pair.peer_inner = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 9, 0, 1)) + number).into();
            push(&mut control, Action::InstallSa(pair))
        })
        .collect();
    let barrier = push(&mut control, Action::Barrier);
    let status = until("the barrier's acknowledgement", || match control.next_event().unwrap() {
        Some((_, Event::Ack { command_id, status })) if command_id == barrier => Some(status),
        Some((_, Event::Ack { command_id, status })) => {
            assert_eq!(status, AckStatus::Done);
            let place = waiting.iter().position(|id| *id == command_id).unwrap();
            waiting.swap_remove(place);
            None
        }
        _ => None,
    });
    assert_eq!(status, AckStatus::Done);
    assert!(waiting.is_empty(), "acknowledged before the barrier: all but {waiting:?}");
    assert!(daemon.stop().success());
}

#[test]
fn every_thread_shows_that_it_lives_and_sigterm_ends_all_of_it() {
    let daemon = Daemon::start(&Site { name: "lives", cores: &[0, 1], ..Site::default() });
    let control = daemon.attach();
    let first = control.heartbeats();
    assert_eq!(first.len(), 3, "two workers and the manager");
    until("a beat of every thread", || {
        let beats = control.heartbeats();
        first.iter().zip(&beats).all(|(before, now)| now.count > before.count + 1).then_some(())
    });
    assert!(control.heartbeats().iter().all(|beat| !beat.is_stale(monotonic_ns(), DEADLINE)));
    let link = control.link();
    let socket = daemon.socket();
    assert!(daemon.stop().success());
    until("the end of the link", || link.is_gone().then_some(()));
    assert!(!socket.exists(), "the socket is removed");
}

#[test]
fn what_keeps_the_daemon_from_starting_is_named() {
    for (name, cores, ports, expected) in [
        ("device", &[0][..], ["net_nonsense0", "net_null1"], "[[port]] \"wan\": device `net_nonsense0`"),
        ("interface", &[0], ["net_af_packet0,iface=not-there", "net_null1"], "ip link show not-there"),
        ("core", &[0, 1000], NULL_PORTS, "dataplane.cores names core 1000"),
        ("twice", &[0], ["net_null0", "net_null0,size=128"], "net_null0"),
    ] {
        let daemon = Daemon::spawn(&Site { name, cores, devices: ports, ..Site::default() });
        let (status, log) = daemon.wait();
        assert!(!status.success() && log.contains(expected), "{name}: {status}: {log}");
    }
}

#[test]
fn pings_are_answered_and_ike_datagrams_pass_both_ways_with_one_worker() {
    exchange_with_a_neighbour("one", &[0]);
}

/// The port has one queue, so one of the workers sends through the other.
#[test]
fn pings_are_answered_and_ike_datagrams_pass_both_ways_with_two_workers() {
    exchange_with_a_neighbour("two", &[0, 1]);
}

fn exchange_with_a_neighbour(name: &str, cores: &[usize]) {
    let gateway = Namespace::new(&format!("{name}-gw"));
    let peer = Namespace::new(&format!("{name}-peer"));
    for (interface, address) in [("wan", "192.0.2.2/24"), ("lan", "10.1.0.2/24")] {
        gateway.connect(interface, &peer, interface);
        peer.add_address(interface, address);
    }
    let daemon = Daemon::start(&Site {
        name,
        cores,
        devices: ["net_af_packet0,iface=wan", "net_af_packet1,iface=lan"],
        namespace: Some(&gateway.name),
        ..Site::default()
    });
    let mut control = daemon.attach();
    for address in ["192.0.2.1", "10.1.0.1"] {
        peer.ping(address);
    }

    let client = peer.sockets(|| UdpSocket::bind((Ipv4Addr::new(192, 0, 2, 2), 5000)).unwrap());
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.send_to(b"an IKE request", (Ipv4Addr::new(192, 0, 2, 1), 500)).unwrap();
    let punted = until("the punted datagram", || control.next_punt().unwrap()).1;
    assert_eq!(punted.payload, b"an IKE request");
    assert_eq!((punted.peer, punted.peer_port, punted.local_port), ([192, 0, 2, 2].into(), 5000, 500));

    // Longer than the MTU: it arrives whole from its fragments.
    for payload in [b"an IKE answer".to_vec(), vec![7; 4000]] {
        control.to_send.push(&Datagram { payload: payload.clone(), ..punted.clone() }).unwrap();
        let mut received = vec![0; 5000];
        let (length, sender) = client.recv_from(&mut received).unwrap();
        assert_eq!((&received[..length], sender.to_string().as_str()), (&payload[..], "192.0.2.1:500"));
    }
    let counted = until("the counters", || {
        let counters = control.counter_totals();
        let [punted, sent, echoes] = [Flow::PuntedIke, Flow::SentIke, Flow::IcmpEchoReplies]
            .map(|flow| counters.get(flow.index()).copied().unwrap());
        ((punted, sent, echoes) == (1, 2, 6)).then_some(counters)
    });
    assert!(counted[Flow::TxPackets.index()] >= 6 + 4);
    assert!(daemon.stop().success());
}

fn install(inbound_spi: u32) -> Action {
    let keys =
        EspKeys { cipher: [7; MAX_CIPHER_KEY], salt: [8; SALT_LEN], integrity: [0; MAX_INTEGRITY_KEY] };
    let any = |first, last| Selector { protocol: 0, first, last, first_port: 0, last_port: u16::MAX };
    Action::InstallSa(Box::new(SaPair {
        inbound_spi,
        outbound_spi: 0x7000,
        session_id: 1,
        suite: EspSuite::Aes256Gcm16,
        esn: false,
        inbound_keys: keys.clone(),
        outbound_keys: keys,
        local_outer: Ipv4Addr::new(192, 0, 2, 1).into(),
        peer_outer: Ipv4Addr::new(192, 0, 2, 9).into(),
        encapsulation: Encapsulation::Udp { local_port: 4500, peer_port: 4500 },
        peer_inner: INNER.into(),
        peer_selectors: vec![any(INNER.into(), INNER.into())],
        local_selectors: vec![any(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into())],
        replay_window: 64,
        first_outbound_sequence: 5,
        highest_inbound_sequence: 3,
        limits: SaLimits::default(),
        outbound_selected: true,
    }))
}
