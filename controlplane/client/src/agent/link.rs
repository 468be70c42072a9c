//! One connection's sockets and clocks: the initiator on a UDP socket of its own.
//!
//! Enters: a connection wanted. Leaves: IKE and ESP datagrams to the gateway's two ports, told apart by the non-ESP marker
//! (RFC 3948 §2). The source port is the system's choice, new for every connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use std::time::Duration;

use causeway_ike::time::Instant;
use tokio::net::UdpSocket;

use crate::esp::Tunnels;
use crate::initiator::{GatewayPort, Initiator, Outgoing};

/// Precedes IKE on the second port.
const MARKER: [u8; 4] = [0; 4];
/// What reminds a NAT of us (RFC 3948 §2.3).
const KEEPALIVE: [u8; 1] = [0xff];
/// Largest datagram.
pub(super) const MAX_DATAGRAM: usize = 65_535;

/// Where the gateway is.
#[derive(Clone, Copy)]
pub(super) struct GatewayAddress {
    pub(super) address: IpAddr,
    pub(super) ike_port: u16,
    pub(super) natt_port: u16,
}

/// A connection.
pub(super) struct Link {
    pub(super) initiator: Initiator,
    pub(super) tunnels: Tunnels,
    pub(super) socket: UdpSocket,
    pub(super) gateway: GatewayAddress,
    /// Our outer address and port.
    pub(super) local: Option<SocketAddr>,
    /// When something was sent to the gateway's second port.
    pub(super) last_sent: tokio::time::Instant,
}

/// What came from the gateway.
pub(super) enum Arrived {
    /// Taken by the initiator; see its outputs.
    Ike,
    /// An authentic inner packet.
    Packet(Vec<u8>),
    Nothing,
}

/// A socket of a new source port, and the address that the gateway is reached from.
pub(super) async fn open_socket(
    source: Option<IpAddr>,
    gateway: GatewayAddress,
) -> std::io::Result<(UdpSocket, Option<SocketAddr>)> {
    let any = match gateway.address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let source = source.unwrap_or(any);
    let socket = UdpSocket::bind((source, 0)).await?;
    let port = socket.local_addr()?.port();
    // A connected socket knows which address the system would send from; nothing is sent by it.
    let probe = UdpSocket::bind((source, 0)).await?;
    probe.connect((gateway.address, gateway.ike_port)).await?;
    let local = SocketAddr::new(probe.local_addr()?.ip(), port);
    Ok((socket, Some(local)))
}

impl Link {
    /// Sends a message of IKE. What cannot be sent now is retransmitted later.
    pub(super) async fn send(&mut self, outgoing: &Outgoing) {
        let GatewayAddress { address, ike_port, natt_port } = self.gateway;
        let _ = match outgoing.port {
            GatewayPort::Ike => self.socket.send_to(&outgoing.bytes, (address, ike_port)).await,
            GatewayPort::Natt => {
                let marked = [&MARKER, &outgoing.bytes[..]].concat();
                self.last_sent = tokio::time::Instant::now();
                self.socket.send_to(&marked, (address, natt_port)).await
            }
        };
    }

    /// Sends a packet of the machine through the tunnel.
    pub(super) async fn send_packet(&mut self, packet: &[u8]) {
        if let Some(sealed) = self.tunnels.seal(packet) {
            self.last_sent = tokio::time::Instant::now();
            let _ = self.socket.send_to(&sealed, (self.gateway.address, self.gateway.natt_port)).await;
        }
    }

    /// When a NAT has to be reminded of us, if nothing else is sent before.
    pub(super) fn next_keepalive(&self, every_secs: u64) -> Option<tokio::time::Instant> {
        (every_secs > 0).then(|| self.last_sent + Duration::from_secs(every_secs))
    }

    /// Reminds it, if it is time.
    pub(super) async fn keep_alive(&mut self, every_secs: u64) {
        let now = tokio::time::Instant::now();
        if self.next_keepalive(every_secs).is_some_and(|due| now >= due) {
            self.last_sent = now;
            let _ = self.socket.send_to(&KEEPALIVE, (self.gateway.address, self.gateway.natt_port)).await;
        }
    }

    /// Takes a datagram.
    pub(super) fn take(&mut self, now: Instant, datagram: &[u8], from: SocketAddr) -> Arrived {
        if from.ip() != self.gateway.address {
            return Arrived::Nothing;
        }
        let message = if from.port() == self.gateway.natt_port {
            match datagram.strip_prefix(&MARKER) {
                Some(message) => message,
                None => return self.tunnels.open(datagram).map_or(Arrived::Nothing, Arrived::Packet),
            }
        } else if from.port() == self.gateway.ike_port {
            datagram
        } else {
            return Arrived::Nothing;
        };
        self.initiator.receive(now, message);
        Arrived::Ike
    }
}

/// The next datagram; never without a connection.
pub(super) async fn receive(link: Option<&Link>, buffer: &mut [u8]) -> std::io::Result<(usize, SocketAddr)> {
    match link {
        Some(link) => link.socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}
