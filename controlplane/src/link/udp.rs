//! Plain UDP sockets and no data plane: for protocol tests and load tests (`--udp`).
//!
//! Enters: datagrams on a pair of ports per address; the second one, 4500 by default, carries the non-ESP marker of
//! RFC 3948 §2.2, which is stripped and added here. Leaves: IKE messages without marker. Child SAs are acknowledged and
//! carry nothing.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use causeway_ike::api::{ChildCommand, Datagram};
use causeway_shared::sa::SaPair;
use causeway_shm::CounterTable;
use tokio::net::UdpSocket;

use super::ledger::{Outcome, Refused, Ticket};
use super::{EarlierTraffic, Link, LinkCounts, LinkInput, LinkStatus};
use crate::sessions::SaTraffic;

/// Longest datagram taken.
const MAX_DATAGRAM: usize = 65_535;
/// Datagrams that wait for room in a socket's send buffer.
pub const MAX_UNSENT: usize = 1024;
/// Datagrams that are no IKE, skipped in one go.
const MAX_NOISE: usize = 64;
/// What precedes IKE on the second port.
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// Where to listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpEndpoint {
    /// Our address.
    pub address: IpAddr,
    /// Port of plain IKE, normally 500; 0 lets the system choose.
    pub ike_port: u16,
    /// Port of IKE with marker, normally 4500; 0 lets the system choose.
    pub natt_port: u16,
}

/// Why `--udp` was not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not ADDRESS or ADDRESS:IKE_PORT:NATT_PORT, as in 192.0.2.1, 2001:db8::1 or 127.0.0.1:5500:5501; write [::1]:5500:5501 for IPv6 with ports"
)]
pub struct NotAnEndpoint(pub String);

impl std::str::FromStr for UdpEndpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<UdpEndpoint, NotAnEndpoint> {
        let bad = || NotAnEndpoint(text.to_owned());
        if let Ok(address) = text.parse() {
            return Ok(UdpEndpoint { address, ike_port: 500, natt_port: 4500 });
        }
        let (address, ports) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").ok_or_else(bad)?,
            None => text.split_once(':').ok_or_else(bad)?,
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        if address.is_ipv6() != text.starts_with('[') {
            return Err(bad());
        }
        let ports: Vec<u16> =
            ports.split(':').map(|part| part.parse().map_err(|_| bad())).collect::<Result<_, _>>()?;
        match ports[..] {
            [ike_port, natt_port] => Ok(UdpEndpoint { address, ike_port, natt_port }),
            _ => Err(bad()),
        }
    }
}

/// The link.
pub struct UdpLink {
    sockets: Vec<Socket>,
    turn: usize,
    buffer: Vec<u8>,
    unsent: VecDeque<Datagram>,
    inbox: VecDeque<LinkInput>,
    installed: HashMap<u32, Box<SaPair>>,
    counts: LinkCounts,
}

struct Socket {
    socket: UdpSocket,
    address: IpAddr,
    port: u16,
    marker: bool,
}

impl UdpLink {
    /// Opens the sockets. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The endpoint whose address or port is not ours to use, with the system's answer.
    pub async fn bind(endpoints: &[UdpEndpoint]) -> Result<UdpLink, (UdpEndpoint, io::Error)> {
        let mut sockets = Vec::new();
        for endpoint in endpoints {
            for (port, marker) in [(endpoint.ike_port, false), (endpoint.natt_port, true)] {
                let failed = |error| (*endpoint, error);
                let socket = UdpSocket::bind((endpoint.address, port)).await.map_err(failed)?;
                let port = socket.local_addr().map_err(failed)?.port();
                sockets.push(Socket { socket, address: endpoint.address, port, marker });
            }
        }
        Ok(UdpLink {
            sockets,
            turn: 0,
            buffer: vec![0; MAX_DATAGRAM],
            unsent: VecDeque::new(),
            inbox: VecDeque::new(),
            installed: HashMap::new(),
            counts: LinkCounts::default(),
        })
    }

    /// Where the link listens; with port 0 asked for, what the system chose.
    pub fn endpoints(&self) -> Vec<UdpEndpoint> {
        let pair = |pair: &[Socket]| match pair {
            [ike, natt] => {
                Some(UdpEndpoint { address: ike.address, ike_port: ike.port, natt_port: natt.port })
            }
            _ => None,
        };
        self.sockets.chunks(2).filter_map(pair).collect()
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let readable = self.sockets.iter().any(|each| each.socket.poll_recv_ready(context).is_ready());
        let writable = self.unsent.front().is_some_and(|datagram| {
            let socket = self.sockets.iter().find(|each| each.serves(datagram));
            socket.is_none_or(|each| each.socket.poll_send_ready(context).is_ready())
        });
        if readable || writable || !self.inbox.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes the next datagram that is IKE, from each socket in turn.
    fn receive(&mut self) -> Option<Datagram> {
        let count = self.sockets.len();
        let (mut idle, mut noise) = (0, 0);
        while idle < count && noise < MAX_NOISE {
            let place = self.turn % count;
            self.turn = place + 1;
            let socket = self.sockets.get(place)?;
            // Errors are reports about earlier datagrams (ICMP) or "nothing there"; neither stops the others.
            let Ok((len, from)) = socket.socket.try_recv_from(&mut self.buffer) else {
                idle += 1;
                continue;
            };
            let datagram = self.buffer.get(..len).unwrap_or_default();
            let message = match socket.marker {
                true => datagram.strip_prefix(&NON_ESP_MARKER).filter(|rest| !rest.is_empty()),
                false => Some(datagram),
            };
            if let Some(bytes) = message {
                return Some(Datagram {
                    local: socket.address,
                    local_port: socket.port,
                    peer: from.ip(),
                    peer_port: from.port(),
                    bytes: bytes.to_vec(),
                });
            }
            self.counts.not_ike = self.counts.not_ike.saturating_add(1);
            (idle, noise) = (0, noise + 1);
        }
        None
    }

    fn try_send(&mut self, datagram: &Datagram) -> Sent {
        let Some(socket) = self.sockets.iter().find(|each| each.serves(datagram)) else { return Sent::Never };
        let target = SocketAddr::new(datagram.peer, datagram.peer_port);
        let sent = if socket.marker {
            let marked = [&NON_ESP_MARKER, &datagram.bytes[..]].concat();
            socket.socket.try_send_to(&marked, target)
        } else {
            socket.socket.try_send_to(&datagram.bytes, target)
        };
        match sent {
            Ok(_) => Sent::Yes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Later,
            Err(_) => Sent::Never,
        }
    }
}

enum Sent {
    Yes,
    Later,
    Never,
}

impl Socket {
    fn serves(&self, datagram: &Datagram) -> bool {
        (self.address, self.port) == (datagram.local, datagram.local_port)
    }
}

impl Link for UdpLink {
    async fn ready(&mut self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }

    fn take(&mut self) -> Option<LinkInput> {
        self.inbox.pop_front().or_else(|| self.receive().map(LinkInput::Datagram))
    }

    fn transmit(&mut self, datagram: Datagram) {
        let now = if self.unsent.is_empty() { self.try_send(&datagram) } else { Sent::Later };
        match now {
            Sent::Yes => {}
            Sent::Later if self.unsent.len() < MAX_UNSENT => self.unsent.push_back(datagram),
            Sent::Later | Sent::Never => self.counts.unsent = self.counts.unsent.saturating_add(1),
        }
    }

    fn install(&mut self, _now: Duration, pair: SaPair, ticket: Ticket) -> Result<(), Refused> {
        let inbound_spi = pair.inbound_spi;
        if self.installed.contains_key(&inbound_spi) {
            return Err(Refused::Duplicate);
        }
        self.installed.insert(inbound_spi, Box::new(pair));
        self.inbox.push_back(LinkInput::Outcome(Outcome::Installed { ticket, inbound_spi }));
        Ok(())
    }

    fn restore(&mut self, pair: SaPair, _traffic: EarlierTraffic) {
        self.installed.insert(pair.inbound_spi, Box::new(pair));
    }

    fn change(&mut self, command: ChildCommand) {
        if let ChildCommand::Remove { inbound_spi } = command
            && self.installed.remove(&inbound_spi).is_some()
        {
            self.inbox.push_back(LinkInput::Outcome(Outcome::Gone { inbound_spi }));
        }
    }

    fn pair(&self, inbound_spi: u32) -> Option<&SaPair> {
        self.installed.get(&inbound_spi).map(Box::as_ref)
    }

    fn flush(&mut self, _now: Duration) {
        while let Some(datagram) = self.unsent.pop_front() {
            match self.try_send(&datagram) {
                Sent::Yes => {}
                Sent::Later => {
                    self.unsent.push_front(datagram);
                    return;
                }
                Sent::Never => self.counts.unsent = self.counts.unsent.saturating_add(1),
            }
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        None
    }

    fn is_settled(&self) -> bool {
        self.inbox.is_empty() && self.unsent.is_empty()
    }

    fn traffic(&self, _inbound_spi: u32) -> Option<SaTraffic> {
        None
    }

    fn status(&self, _now: Duration) -> LinkStatus {
        let problems = vec![
            "Started with --udp: IKE only, no ESP is carried. Start without it for a data plane.".to_owned(),
        ];
        LinkStatus { problems, ..LinkStatus::default() }
    }

    fn is_carrying(&self) -> bool {
        true
    }

    fn data_plane_counters(&self) -> Option<CounterTable> {
        None
    }

    fn counts(&self) -> LinkCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_an_address_with_or_without_ports() {
        let loopback = |ike_port, natt_port| UdpEndpoint { address: LOOPBACK[0], ike_port, natt_port };
        assert_eq!("127.0.0.1".parse(), Ok(loopback(500, 4500)));
        assert_eq!("127.0.0.1:0:9".parse(), Ok(loopback(0, 9)));
        let six = |ike_port, natt_port| UdpEndpoint { address: LOOPBACK[1], ike_port, natt_port };
        assert_eq!("::1".parse(), Ok(six(500, 4500)));
        assert_eq!("[::1]:0:9".parse(), Ok(six(0, 9)));
        for bad in [
            "",
            "localhost",
            "127.0.0.1:1",
            "127.0.0.1:1:2:3",
            "127.0.0.1:x:2",
            "[127.0.0.1]:1:2",
            "::1:1:x",
            "[::1]",
        ] {
            assert_eq!(bad.parse::<UdpEndpoint>(), Err(NotAnEndpoint(bad.into())));
        }
    }

    const LOOPBACK: [IpAddr; 2] =
        [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];

    async fn next_datagram(link: &mut UdpLink) -> Datagram {
        loop {
            match link.take() {
                Some(LinkInput::Datagram(datagram)) => return datagram,
                Some(other) => panic!("{other:?}"),
                None => tokio::time::timeout(Duration::from_secs(5), link.ready()).await.unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn the_marker_is_on_the_second_port_only() {
        for address in LOOPBACK {
            the_marker_is_on_the_second_port(address).await;
        }
    }

    async fn the_marker_is_on_the_second_port(address: IpAddr) {
        let any = UdpEndpoint { address, ike_port: 0, natt_port: 0 };
        let mut link = UdpLink::bind(&[any]).await.unwrap();
        let ports = link.endpoints()[0];
        let peer = UdpSocket::bind((address, 0)).await.unwrap();
        let mut buffer = [0; 64];

        peer.send_to(b"hello", (address, ports.ike_port)).await.unwrap();
        let datagram = next_datagram(&mut link).await;
        assert_eq!((&datagram.bytes[..], datagram.local_port), (&b"hello"[..], ports.ike_port));
        link.transmit(datagram);
        assert_eq!(peer.recv(&mut buffer).await.unwrap(), 5);

        for noise in [&b"\xff"[..], b"\x01\x02\x03\x04esp", b"\0\0\0\0"] {
            peer.send_to(noise, (address, ports.natt_port)).await.unwrap();
        }
        peer.send_to(b"\0\0\0\0hello", (address, ports.natt_port)).await.unwrap();
        let datagram = next_datagram(&mut link).await;
        assert_eq!((&datagram.bytes[..], datagram.local_port), (&b"hello"[..], ports.natt_port));
        assert_eq!(link.counts().not_ike, 3);
        link.transmit(datagram);
        assert_eq!(peer.recv(&mut buffer).await.unwrap(), 9);
        assert_eq!(&buffer[..9], b"\0\0\0\0hello");
    }
}
