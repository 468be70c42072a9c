//! RADIUS servers as the control plane uses them: EAP conversations that they hold, what they grant, accounting, and their
//! requests to end or change a session. The protocol is `causeway-radius`; here are sockets, threads and the driver's side.
//!
//! Enters: `[aaa.radius]`, EAP packets, sessions' facts. Leaves: verdicts, records, orders. Two threads of their own do the
//! waiting, so that a silent server never stands in IKE's way: one asks and listens, the other one keeps accounts.

mod accountant;
mod asker;
mod bookkeeper;
mod conversation;
pub mod counters;
mod listener;
mod policy;
mod sockets;
mod spool;

pub use accountant::{Accountant, Ends, MAX_INTERIMS, Meant};
pub use asker::{Answer, Asker, AskerStatus, NotAnswered, ServerStatus};
pub use bookkeeper::{Bookkeeper, BookkeeperStatus};
pub use conversation::{Caller, RadiusEap, RemoteLogin};
pub use listener::{Listener, ListenerCounts, Order};
pub use policy::RemotePolicy;
pub use spool::SpoolError;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use causeway_radius::SharedSecret;
use causeway_radius::accounting::Nas;
use causeway_radius::client::Settings;
use causeway_shared::config::{self, Radius};

/// Why RADIUS cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum RadiusError {
    /// A secret is empty.
    #[error("aaa.radius.server[{0}]: the secret is empty; write one that the server has, too")]
    NoSecret(usize),
    /// The file of accounting records.
    #[error(
        "aaa.radius.queue_file: {path} cannot be used: {source}; correct the path, or move the file away"
    )]
    Queue {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: SpoolError,
    },
    /// The address for servers' requests.
    #[error("aaa.radius.dynamic: cannot listen on {at}: {source}")]
    Listen {
        /// Where.
        at: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// No thread or runtime.
    #[error("aaa.radius: cannot start its thread: {0}")]
    Thread(#[source] io::Error),
}

/// One server and how it is reached for one purpose.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    pub(super) secret: SharedSecret,
}

/// The servers that have a port for a purpose.
pub(super) fn places(
    radius: &Radius,
    port: impl Fn(&config::RadiusServer) -> u16,
) -> Result<Vec<Place>, RadiusError> {
    let place = |(number, server): (usize, &config::RadiusServer)| {
        let secret = SharedSecret::new(server.secret.0.clone()).ok_or(RadiusError::NoSecret(number))?;
        Ok(Place { address: SocketAddr::new(server.address, port(server)), secret })
    };
    let used = (1..).zip(&radius.servers).filter(|(_, server)| port(server) > 0);
    used.map(place).collect()
}

/// How the servers of one purpose are asked; `patience`: how long one question may take in all.
pub(super) fn settings(radius: &Radius, places: &[Place], patience: Duration) -> Settings {
    Settings {
        secrets: places.iter().map(|place| place.secret.clone()).collect(),
        timeout: Duration::from_millis(radius.timeout_ms),
        tries: radius.tries,
        dead: Duration::from_secs(radius.dead_secs),
        patience,
    }
}

/// Who the gateway is for RADIUS servers.
pub fn nas(radius: &Radius) -> Nas {
    Nas { identifier: radius.nas_identifier.clone(), address: radius.nas_address }
}
