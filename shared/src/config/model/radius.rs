//! The validated configuration of RADIUS and of the rules against guessing.

use std::net::IpAddr;
use std::path::PathBuf;

use super::Secret;

/// RADIUS; off without a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Radius {
    /// In order of preference.
    pub servers: Vec<RadiusServer>,
    /// NAS-Identifier.
    pub nas_identifier: String,
    /// NAS-IP-Address or NAS-IPv6-Address.
    pub nas_address: Option<IpAddr>,
    /// Wait for the first answer, milliseconds.
    pub timeout_ms: u64,
    /// Datagrams to one server.
    pub tries: u32,
    /// Seconds for which a silent server is asked last.
    pub dead_secs: u64,
    /// Which attribute may name a [`Group`](super::Group).
    pub group_attribute: GroupAttribute,
    /// How sessions are accounted for; `None`: not.
    pub accounting: Option<Accounting>,
    /// How servers may end and change sessions; `None`: not.
    pub dynamic: Option<Dynamic>,
}

/// How sessions are accounted for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accounting {
    /// Seconds between interim records; 0 for none.
    pub interim_secs: u64,
    /// What is told when a session waits for its client.
    pub on_suspend: OnSuspend,
    /// Records that may wait.
    pub queue: usize,
    /// Where they wait; memory without.
    pub queue_file: Option<PathBuf>,
}

/// One RADIUS server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RadiusServer {
    /// Where it is.
    pub address: IpAddr,
    /// Port for logins; 0 for none.
    pub port: u16,
    /// Port for accounting; 0 for none.
    pub accounting_port: u16,
    /// The shared secret.
    pub secret: Secret,
}

/// Requests of servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dynamic {
    /// Where to listen.
    pub listen: IpAddr,
    /// UDP port.
    pub port: u16,
    /// Whether requests must be signed.
    pub require_message_authenticator: bool,
    /// Whether requests must be dated.
    pub require_event_timestamp: bool,
    /// How far a date may be off, seconds.
    pub window_secs: u64,
}

/// Which attribute names a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupAttribute {
    /// None but `ipsec:group`.
    None,
    /// Class, as `NAME` or `OU=NAME;`.
    Class,
    /// Filter-Id.
    FilterId,
}

/// What accounting tells of a session that waits for its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnSuspend {
    /// An interim record, one when it waits and one when it goes on.
    Interim,
    /// A stop, and a start when it goes on.
    Stop,
}

/// What a user's next session does when there are too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnSessionLimit {
    /// It is refused.
    Refuse,
    /// It takes the place of the user's oldest one.
    Replace,
}

/// When logins are refused unseen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lockout {
    /// Failures that lock a user's name; 0 for none.
    pub user_failures: u32,
    /// Failures that lock a source address; 0 for none.
    pub source_failures: u32,
    /// Seconds within which they count.
    pub window_secs: u64,
    /// Seconds for which a lock lasts.
    pub lock_secs: u64,
}
