//! The validated configuration of remote access: AnyConnect logins, Auto Reconnect, Cisco's extensions, groups, users and the
//! session store.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{NtHash, OnSessionLimit, Secret};
use crate::sa::IpPrefix;

/// How AnyConnect clients log in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Anyconnect {
    /// What certificates are for.
    pub certificate: CertificateLogin,
    /// Text for connected clients; may have several lines. Groups and users may have their own.
    pub banner: Option<String>,
    /// Title of the login form.
    pub title: String,
    /// Text above its fields.
    pub message: String,
    /// Names of groups to choose from, each a [`Group::name`]; empty for no choice.
    pub groups: Vec<String>,
    /// Passwords that may be tried in one login, 1 to 10.
    pub attempts: u32,
}

/// What client certificates are for in an AnyConnect login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateLogin {
    /// They are not asked for.
    None,
    /// Certificate and password.
    Required,
    /// A certificate is enough.
    Instead,
}

/// Auto Reconnect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reconnect {
    /// Whether clients may come back.
    pub enabled: bool,
    /// Seconds that a session waits for its client, 600 to 86,400.
    pub timeout_secs: u64,
    /// When tokens change.
    pub token_policy: TokenPolicy,
    /// Seconds for which the old token counts beside the new one.
    pub rotate_grace_secs: u64,
    /// Most sessions that wait; the one that waits longest makes room.
    pub max_inactive: usize,
    /// Most sessions of one user that wait.
    pub per_user_max: usize,
    /// What a client's IKE delete means.
    pub on_client_delete: OnClientDelete,
    /// What a replaced token brings about.
    pub on_token_replay: OnTokenReplay,
    /// Whether a full pool takes the address of the session that waits longest.
    pub reclaim: bool,
    /// Whether a session that is still active can be resumed.
    pub allow_active_takeover: bool,
    /// Seconds of silence after which the gateway probes (on demand).
    pub dpd_interval_secs: u64,
    /// Seconds between probes.
    pub dpd_retry_secs: u64,
    /// Probes without an answer before the session waits.
    pub dpd_tries: u32,
}

/// When session tokens change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenPolicy {
    /// A new one each time the client comes back.
    Rotate,
    /// One for the life of the session.
    Stable,
}

/// What a client's authenticated IKE delete does to its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnClientDelete {
    /// It ends for good.
    Remove,
    /// It waits for the client.
    Keep,
}

/// What the use of a replaced token does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnTokenReplay {
    /// The session ends for good.
    Kill,
    /// The attempt is refused.
    Refuse,
}

/// Cisco's extensions of IKEv2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cisco {
    /// Numbers of the reconnect attributes, resolved from the profile.
    pub attributes: ReconnectAttributes,
    /// Where they come from.
    pub attribute_profile: AttributeProfile,
    /// Whether AnyConnect clients are answered with Cisco's vendor IDs.
    pub vendor_ids: bool,
    /// ID types that may carry `*$AnyConnectClient$*`.
    pub idi_types: Vec<u8>,
    /// Whether fragments in payload 132 are taken.
    pub fragmentation: bool,
    /// Which hash of our certificate the client is told.
    pub server_cert_hash: ServerCertHash,
}

/// Where the numbers of the reconnect attributes come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttributeProfile {
    /// [`ReconnectAttributes::LAB`].
    Lab,
    /// What the operator saw in a capture.
    Capture,
}

/// Numbers of the reconnect attributes in CP payloads (RFC 7296 §3.15.1, private use).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReconnectAttributes {
    /// Session id.
    pub session_id: u16,
    /// Session token.
    pub token: u16,
    /// Sealed session data.
    pub session_data: u16,
    /// Time that a session waits.
    pub cleanup_interval: u16,
    /// Time between the client's probes.
    pub dpd_interval: u16,
}

impl ReconnectAttributes {
    /// Our own client's numbers: outside of every number that Cisco is known to use.
    pub const LAB: ReconnectAttributes = ReconnectAttributes {
        session_id: 0x7080,
        token: 0x7081,
        session_data: 0x7082,
        cleanup_interval: 0x7083,
        dpd_interval: 0x7084,
    };
}

/// Which hash of the gateway's certificate AnyConnect clients are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerCertHash {
    /// SHA-1 of the certificate.
    CertSha1,
    /// SHA-1 of its SubjectPublicKeyInfo.
    SpkiSha1,
}

/// What a client gets; `None` leaves it to the next one in line (user, group, pool).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// Name of a [`super::Pool`].
    pub pool: Option<String>,
    /// INTERNAL_IP4_DNS.
    pub dns: Option<Vec<IpAddr>>,
    /// Default domain.
    pub domain: Option<String>,
    /// More domains that are looked up through the tunnel.
    pub split_dns: Option<Vec<String>>,
    /// Split tunnel; empty: everything.
    pub subnets: Option<Vec<IpPrefix>>,
    /// What the Child SA's selectors of our side are narrowed to.
    pub traffic_selectors: Option<TrafficSelectors>,
    /// Text for the connected client; may have several lines.
    pub banner: Option<String>,
}

/// What the selectors of our side of a Child SA are narrowed to (RFC 7296 §2.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TrafficSelectors {
    /// To the split tunnel's networks: the gateway drops what a client sends elsewhere.
    #[default]
    Subnets,
    /// To nothing: the networks are the client's routes only.
    Any,
}

/// A group of users.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// Name.
    pub name: String,
    /// What its users get.
    pub policy: Policy,
    /// Seconds after which a session ends for good; 0 for none.
    pub session_lifetime_secs: u64,
    /// Seconds without traffic after which a session ends; 0 for none.
    pub idle_secs: u64,
}

/// A local user; has at least one of the two hashes, or the password.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct User {
    /// Name, as in the EAP identity.
    pub name: String,
    /// MD4 of the UTF-16LE password (what MSCHAPv2 needs): the form kept at rest.
    pub nt_hash: Option<NtHash>,
    /// Argon2 hash for methods that see the password.
    pub password_hash: Option<PasswordHash>,
    /// The password itself.
    pub password: Option<Secret>,
    /// Name of a [`Group`].
    pub group: Option<String>,
    /// Fixed inner address, inside a pool.
    pub address: Option<Ipv4Addr>,
    /// The user's own inner IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// What this user gets.
    pub policy: Policy,
}

/// What users may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aaa {
    /// Name of the [`Group`] of users that have none.
    pub authorize_group: Option<String>,
    /// Whether [`User::policy`] and [`User::address`] count.
    pub user_attributes_cached: bool,
    /// Whether the group's policy counts before the user's.
    pub group_overrides: bool,
    /// Most sessions of one user that are up; 0 for no limit.
    pub max_sessions_per_user: usize,
    /// What happens to one more.
    pub on_session_limit: OnSessionLimit,
}

/// Where sessions are stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Store {
    /// In what.
    pub backend: StoreBackend,
    /// The file of [`StoreBackend::Sqlite`].
    pub path: PathBuf,
}

/// In what sessions are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreBackend {
    /// A SQLite file.
    Sqlite,
    /// Memory; a restart forgets them.
    Memory,
}

/// Argon2 hash of a password, a PHC string whose shape was checked. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}
