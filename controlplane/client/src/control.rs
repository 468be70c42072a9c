//! Commands to a running client: one line of JSON each way over a Unix socket.
//!
//! Enters: a [`Request`]. Leaves: a [`Reply`]. The socket's directory lets only its owner in.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::esp::EspCounters;

/// Longest line either way, octets.
pub const MAX_LINE: u64 = 64 * 1024;
/// Longest wait for a reply: a resume may have to try for a while.
const REPLY_TIMEOUT: Duration = Duration::from_secs(180);

/// What the running client is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Fall silent, as if the machine slept.
    Suspend,
    /// Wake up: resume the session. Answered when it is up again, or cannot be.
    Resume,
    /// How is it?
    Status,
    /// End the session with a DELETE, and the process with it.
    Disconnect,
    /// Rekey the Child SAs.
    Rekey,
    /// Rekey the IKE SA.
    RekeyIke,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done; this is how it stands.
    Done(Box<Status>),
    /// Not possible, for this reason.
    Refused(String),
}

/// How the client stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Where it is in its life.
    pub state: ConnectionState,
    /// What users call the gateway.
    pub gateway: String,
    /// The user.
    pub user: String,
    /// The inner address.
    pub address: Option<Ipv4Addr>,
    /// The inner IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// DNS servers behind the gateway.
    pub dns: Vec<IpAddr>,
    /// What is reached through the tunnel, `address/length`; empty: everything.
    pub subnets: Vec<String>,
    /// The TUN device.
    pub device: Option<String>,
    /// Our outer address and port.
    pub local: Option<SocketAddr>,
    /// The gateway's.
    pub peer: Option<SocketAddr>,
    /// Session id of Auto Reconnect; `None` when the session cannot be resumed.
    pub session_id: Option<String>,
    /// SPIs of the IKE SA, hexadecimal.
    pub ike_spis: Option<(String, String)>,
    /// Whether this IKE SA resumed a session.
    pub resumed: bool,
    /// Resumes that worked.
    pub resumes: u64,
    /// Resumes that the gateway refused.
    pub resumes_refused: u64,
    /// Full logins.
    pub logins: u64,
    /// Liveness checks that were answered.
    pub dpd_answered: u64,
    /// New IKE SAs in the place of old ones, by whichever side.
    pub ike_rekeys: u64,
    /// New Child SAs since the connection began, the first not counted.
    pub rekeys: u64,
    /// Packets.
    pub esp: EspCounters,
}

/// Where the client is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionState {
    /// Logging in.
    Connecting,
    /// Up.
    Connected,
    /// Silent.
    Suspended,
    /// Resuming, or waiting to try again.
    Reconnecting,
    /// Saying goodbye.
    Disconnecting,
}

/// Asks a running client.
///
/// # Errors
/// When there is none at this socket, or it does not answer.
pub fn ask(socket: &Path, request: Request) -> std::io::Result<Reply> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = String::new();
    BufReader::new(stream).take(MAX_LINE).read_line(&mut reply)?;
    Ok(serde_json::from_str(&reply)?)
}
