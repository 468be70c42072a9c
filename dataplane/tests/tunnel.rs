//! Two data planes back to back: ESP tunnel, outer network and hosts are real, only IKE is played by the test.
//!
//! ```text
//! left host ── lan ── left gateway ══ ESP ══ right gateway ── lan ── right host
//! 10.1.0.2            192.0.2.1             192.0.2.9            10.9.0.7
//! ```
//! What one gateway calls its client is the host behind the other. Needs root and iproute2.

#![allow(clippy::unwrap_used, clippy::panic)] // Clippy knows test functions, but not their helpers.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::sa::{
    Encapsulation, EspKeys, EspSuite, Ipv4Prefix, SaLimits, SaPair, Selector, keymat_len,
};
use causeway_shared::wire::{AckStatus, Action};
use causeway_shm::ControlSide;

use support::{DEADLINE, Daemon, Namespace, Site, execute, until};

const LEFT_OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const RIGHT_OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const LEFT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const RIGHT_HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);
const LEFT_NET: &str = "10.1.0.0/24";
const RIGHT_NET: &str = "10.9.0.0/24";
const NAT_T: Encapsulation = Encapsulation::Udp { local_port: 4500, peer_port: 4500 };
/// Octets that a transfer carries each way: enough for many bursts.
const TRANSFER: usize = 1 << 20;

#[test]
fn tcp_passes_a_gcm_tunnel_over_udp_between_single_workers() {
    let world = World::new("gcm", &[0]);
    let (mut left, mut right) = world.attach();
    left.install(&child(EspSuite::Aes256Gcm16, true, NAT_T));
    right.install(&child(EspSuite::Aes256Gcm16, true, NAT_T).mirrored());
    world.transfer();
    left.carried_everything();
    right.carried_everything();
}

/// Each port has one queue, polled by another worker than the SA's owner: packets change workers in every direction.
#[test]
fn tcp_passes_a_cbc_tunnel_over_plain_esp_between_pairs_of_workers() {
    let world = World::new("cbc", &[0, 1]);
    let (mut left, mut right) = world.attach();
    left.install(&child(EspSuite::Aes128CbcSha256, false, Encapsulation::Esp));
    right.install(&child(EspSuite::Aes128CbcSha256, false, Encapsulation::Esp).mirrored());
    world.transfer();
    left.carried_everything();
    right.carried_everything();
    for side in [&left, &right] {
        assert!(side.flow(Flow::HandedOff) > 0, "workers passed packets to each other");
    }
}

#[test]
fn an_sa_that_is_installed_again_after_a_crash_goes_on_where_the_old_one_may_have_been() {
    let mut world = World::new("crash", &[0]);
    let (mut left, mut right) = world.attach();
    let pair = child(EspSuite::Aes256Gcm16, false, NAT_T);
    left.install(&pair);
    right.install(&pair.mirrored());
    world.transfer();

    let (epoch, figures) = (left.control.epoch(), left.control.stats_reader().unwrap());
    world.crash_left();
    let last = figures.read(pair.left_spi).unwrap();
    assert!(last.outbound_reserved_end > last.out_packets, "{last:?}");
    let mut left = Side::attach(&world.left, RIGHT_NET);
    assert_ne!(left.control.epoch(), epoch);
    left.install(&Child {
        first_outbound_sequence: last.outbound_reserved_end,
        highest_inbound_sequence: last.highest_inbound_sequence,
        ..pair
    });
    world.transfer();
    left.carried_everything();
    right.carried_everything();
}

/// What IKE would have negotiated, seen from one gateway.
#[derive(Clone, Copy)]
struct Child {
    suite: EspSuite,
    esn: bool,
    encapsulation: Encapsulation,
    /// SPI of packets to this gateway; the other gateway's is `right_spi`.
    left_spi: u32,
    right_spi: u32,
    left_outer: Ipv4Addr,
    right_outer: Ipv4Addr,
    right_host: Ipv4Addr,
    left_net: &'static str,
    /// First octet of the keys of packets to this gateway, and from it.
    key_seeds: [u8; 2],
    first_outbound_sequence: u64,
    highest_inbound_sequence: u64,
}

/// The left gateway's view. Its SA lies in an even slot, the right gateway's in an odd one: different owners where there
/// are two workers.
fn child(suite: EspSuite, esn: bool, encapsulation: Encapsulation) -> Child {
    Child {
        suite,
        esn,
        encapsulation,
        left_spi: 0xaaaa_0104,
        right_spi: 0xbbbb_0205,
        left_outer: LEFT_OUTER,
        right_outer: RIGHT_OUTER,
        right_host: RIGHT_HOST,
        left_net: LEFT_NET,
        key_seeds: [0x20, 0xa0],
        first_outbound_sequence: 1,
        highest_inbound_sequence: 0,
    }
}

impl Child {
    /// The same, seen from the other gateway.
    fn mirrored(self) -> Child {
        Child {
            left_spi: self.right_spi,
            right_spi: self.left_spi,
            left_outer: self.right_outer,
            right_outer: self.left_outer,
            right_host: LEFT_HOST,
            left_net: RIGHT_NET,
            key_seeds: [self.key_seeds[1], self.key_seeds[0]],
            ..self
        }
    }

    fn pair(&self) -> SaPair {
        let keys = |seed: u8| {
            let keymat: Vec<u8> =
                (0..keymat_len(self.suite)).map(|place| seed.wrapping_add(place as u8)).collect();
            EspKeys::from_keymat(self.suite, &keymat).unwrap()
        };
        let all_ports =
            |first, last| Selector { protocol: 0, first, last, first_port: 0, last_port: u16::MAX };
        let net: Ipv4Prefix = self.left_net.parse().unwrap();
        SaPair {
            inbound_spi: self.left_spi,
            outbound_spi: self.right_spi,
            session_id: 1,
            suite: self.suite,
            esn: self.esn,
            inbound_keys: keys(self.key_seeds[0]),
            outbound_keys: keys(self.key_seeds[1]),
            local_outer: self.left_outer.into(),
            peer_outer: self.right_outer.into(),
            encapsulation: self.encapsulation,
            peer_inner: self.right_host.into(),
            peer_selectors: vec![all_ports(self.right_host.into(), self.right_host.into())],
            local_selectors: vec![all_ports(net.address.into(), net.last().into())],
            replay_window: 1024,
            first_outbound_sequence: self.first_outbound_sequence,
            highest_inbound_sequence: self.highest_inbound_sequence,
            limits: SaLimits::default(),
            outbound_selected: true,
        }
    }
}

/// Both gateways' daemons, and the hosts behind them. Fields drop in this order: daemons first.
struct World {
    left: Daemon,
    right: Daemon,
    name: String,
    cores: Vec<usize>,
    left_gateway: Namespace,
    _right_gateway: Namespace,
    left_host: Namespace,
    right_host: Namespace,
}

const DEVICES: [&str; 2] = ["net_af_packet0,iface=wan", "net_af_packet1,iface=lan"];

impl World {
    fn new(name: &str, cores: &[usize]) -> World {
        let [left_gateway, right_gateway, left_host, right_host] =
            ["lgw", "rgw", "lh", "rh"].map(|role| Namespace::new(&format!("{name}-{role}")));
        left_gateway.connect("wan", &right_gateway, "wan");
        for (gateway, host, address, far, via) in [
            (&left_gateway, &left_host, "10.1.0.2/24", RIGHT_NET, "10.1.0.1"),
            (&right_gateway, &right_host, "10.9.0.7/24", LEFT_NET, "10.9.0.1"),
        ] {
            gateway.connect("lan", host, "lan");
            host.add_address("lan", address);
            host.add_route(far, via);
        }
        let left = Daemon::start(&left_site(&format!("{name}-left"), cores, &left_gateway));
        let right = Daemon::start(&Site {
            name: &format!("{name}-right"),
            cores,
            devices: DEVICES,
            addresses: ["192.0.2.9/24", "10.9.0.1/24"],
            pool: LEFT_NET,
            namespace: Some(&right_gateway.name),
        });
        World {
            left,
            right,
            name: name.to_owned(),
            cores: cores.to_vec(),
            left_gateway,
            _right_gateway: right_gateway,
            left_host,
            right_host,
        }
    }

    fn attach(&self) -> (Side, Side) {
        (Side::attach(&self.left, RIGHT_NET), Side::attach(&self.right, LEFT_NET))
    }

    fn crash_left(&mut self) {
        let name = format!("{}-left", self.name);
        self.left.crash_and_restart(&left_site(&name, &self.cores, &self.left_gateway));
    }

    /// Both hosts send each other [`TRANSFER`] octets on one TCP connection at the same time. Full-size segments do not
    /// fit the tunnel, so path MTU discovery has to work too.
    fn transfer(&self) {
        let listener = self.right_host.sockets(|| TcpListener::bind((RIGHT_HOST, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || exchange(listener.accept().unwrap().0, 0x55));
        let client =
            self.left_host.sockets(move || TcpStream::connect_timeout(&(RIGHT_HOST, port).into(), DEADLINE));
        let received = [exchange(client.unwrap(), 0xaa), server.join().unwrap()];
        assert!(
            received[0] == pattern(0x55) && received[1] == pattern(0xaa),
            "the content arrived unchanged"
        );
    }
}

fn left_site<'a>(name: &'a str, cores: &'a [usize], gateway: &'a Namespace) -> Site<'a> {
    Site {
        name,
        cores,
        devices: DEVICES,
        addresses: ["192.0.2.1/24", "10.1.0.1/24"],
        pool: RIGHT_NET,
        namespace: Some(&gateway.name),
    }
}

fn pattern(seed: u8) -> Vec<u8> {
    (0..TRANSFER).map(|place| (place / 251) as u8 ^ place as u8 ^ seed).collect()
}

/// Sends one pattern and answers what came.
fn exchange(mut stream: TcpStream, seed: u8) -> Vec<u8> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut sender = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        sender.write_all(&pattern(seed)).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::with_capacity(TRANSFER);
    stream.read_to_end(&mut received).unwrap();
    sending.join().unwrap();
    received
}

/// One gateway as its control plane sees it.
struct Side {
    control: ControlSide,
}

impl Side {
    fn attach(daemon: &Daemon, pool: &str) -> Side {
        let mut control = daemon.attach();
        assert_eq!(execute(&mut control, Action::AddPool(pool.parse().unwrap())), AckStatus::Done);
        Side { control }
    }

    fn install(&mut self, child: &Child) {
        let action = Action::InstallSa(Box::new(child.pair()));
        assert_eq!(execute(&mut self.control, action), AckStatus::Done);
    }

    fn flow(&self, flow: Flow) -> u64 {
        self.control.counter_totals()[flow.index()]
    }

    /// Packets passed in both directions, and none was taken for a replay or a forgery.
    fn carried_everything(&self) {
        let segments = (TRANSFER / 1500) as u64;
        until("the counters", || {
            (self.flow(Flow::EspInPackets) > segments && self.flow(Flow::EspOutPackets) > segments)
                .then_some(())
        });
        let totals = self.control.counter_totals();
        for reason in [Drop::Replay, Drop::BadIcv, Drop::BadEspFormat, Drop::SelectorMismatch] {
            assert_eq!(totals[reason.index()], 0, "{}", reason.name());
        }
    }
}
