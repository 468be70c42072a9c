//! UDP sockets to RADIUS servers, one for each server and lane, made when first used.
//!
//! Enters: datagrams with their server and lane. Leaves: what comes back on the same way. The sockets are connected, so the
//! kernel drops what another address sends. Nothing here waits for a socket to be ready: UDP may be lost, and is sent again.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_radius::packet::MAX_PACKET_OCTETS;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Datagrams that wait to be looked at; more stay in the sockets' own buffers.
const INBOX: usize = 1024;
/// Wait after an error that is not an answer of the other end.
const PAUSE: Duration = Duration::from_secs(1);

/// A datagram from a server.
pub(super) struct Arrival {
    pub(super) server: usize,
    pub(super) lane: u16,
    pub(super) octets: Vec<u8>,
}

/// The sockets.
pub(super) struct Sockets {
    servers: Vec<SocketAddr>,
    open: HashMap<(usize, u16), Arc<UdpSocket>>,
    inbox: mpsc::Sender<Arrival>,
    arrivals: mpsc::Receiver<Arrival>,
    /// Datagrams that the system did not take.
    pub(super) unsent: u64,
}

impl Sockets {
    pub(super) fn new(servers: Vec<SocketAddr>) -> Sockets {
        let (inbox, arrivals) = mpsc::channel(INBOX);
        Sockets { servers, open: HashMap::new(), inbox, arrivals, unsent: 0 }
    }

    /// Sends, or counts that it cannot.
    pub(super) fn send(&mut self, server: usize, lane: u16, octets: &[u8]) {
        let sent = self.socket(server, lane).and_then(|socket| socket.try_send(octets));
        if let Err(error) = sent {
            self.unsent = self.unsent.saturating_add(1);
            tracing::debug!(server, lane, %error, "a RADIUS request was not sent");
        }
    }

    /// The next datagram. May be dropped at any point.
    pub(super) async fn arrival(&mut self) -> Arrival {
        match self.arrivals.recv().await {
            Some(arrival) => arrival,
            // Cannot be: this side holds a sender.
            None => std::future::pending().await,
        }
    }

    fn socket(&mut self, server: usize, lane: u16) -> io::Result<Arc<UdpSocket>> {
        if let Some(socket) = self.open.get(&(server, lane)) {
            return Ok(Arc::clone(socket));
        }
        let to = *self.servers.get(server).ok_or(io::ErrorKind::NotFound)?;
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        self.open.insert((server, lane), Arc::clone(&socket));
        tokio::spawn(receive(Arc::clone(&socket), server, lane, self.inbox.clone()));
        Ok(socket)
    }
}

/// Ends with the other side of the channel.
async fn receive(socket: Arc<UdpSocket>, server: usize, lane: u16, inbox: mpsc::Sender<Arrival>) {
    let mut buffer = vec![0; MAX_PACKET_OCTETS + 1];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => {
                let octets = buffer.get(..length).unwrap_or_default().to_vec();
                if inbox.send(Arrival { server, lane, octets }).await.is_err() {
                    return;
                }
            }
            // Nobody listens there, says somebody whom anybody could have sent: the question's own timer decides.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        if inbox.is_closed() {
            return;
        }
    }
}
