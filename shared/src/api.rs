//! The management API's types (HTTP/JSON), used by the server, the CLI and tests alike.

mod access;
mod config;
mod crypto;
mod debug;
mod ports;
mod reconnect;
mod watch;

pub use access::{
    AuditEntry, AuditList, CreatedToken, MAX_TOKEN_NAME, MAX_TOKEN_SECS, NewToken, Role, TokenInfo, TokenList,
};
pub use config::{
    Applied, CommitOrder, ConfigChange, ConfigDiff, ConfigDocument, Effect, Finding, History, MAX_COMMENT,
    MAX_CONFIRM_SECS, NewCandidate, Pending, Revision, RollbackOrder, Validation,
};
pub use crypto::{
    Capabilities, DeadPeerDetection, EspDetails, Fragmentation, IkeDetails, MessageIds, NatSide,
    SelectorRange, UdpEnd,
};
pub use debug::{
    Condition, DEFAULT_CONDITION_SECS, DebugMatch, DebugState, DebugTopic, ExportedKeys, MAX_CONDITION_SECS,
    MAX_CONDITION_TEXT, MIN_CONDITION_SECS, NewCondition, SetTopics,
};
pub use ports::{Port, PortEsp, PortLink, PortList, Spread};
pub use reconnect::{InactiveSession, InactiveSessionList, ReconnectStats};
pub use watch::*;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// One remote user's session: `GET /v1/sessions`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Session {
    /// Stable for the session's life.
    pub id: String,
    /// Authenticated user: the EAP identity, else the IKE identity.
    pub user: String,
    /// IDi as text.
    pub ike_identity: String,
    /// `eap-mschapv2`, `certificate` or `psk`.
    pub auth_method: String,
    /// `active` when a Child SA carries traffic, `connecting` before that.
    pub state: SessionState,
    /// The address given from the pool.
    pub inner_address: Option<Ipv4Addr>,
    /// The client's inner IPv6 prefix: an address with length 128, or all that is the client's.
    #[serde(default)]
    pub inner_prefix6: Option<String>,
    /// The pool it came from.
    pub pool: Option<String>,
    /// The peer's outer address and port, as we see them.
    pub peer: String,
    /// Whether a NAT was detected on either side (RFC 7296 §2.23).
    pub nat_detected: bool,
    /// IKE suite, e.g. `aes256gcm16-prfsha384-ecp384`.
    pub ike_suite: String,
    /// Initiator's and responder's IKE SPI, hex.
    pub ike_spis: String,
    /// Seconds since the session was established.
    pub established_secs: u64,
    /// Milliseconds from the first IKE message to the first Child SA.
    pub set_up_ms: u64,
    /// Seconds since the last ESP packet from the peer, or since the last login or rekey, whichever is later.
    pub idle_secs: u64,
    /// Traffic of all its Child SAs, also of those that rekeys have replaced.
    #[serde(default)]
    pub traffic: Traffic,
    /// Child SAs.
    pub child_sas: Vec<ChildSa>,
    /// What `show crypto …` needs of the IKE SA.
    #[serde(default)]
    pub ike: IkeDetails,
}

/// Packets and inner octets of a session since it was established.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Traffic {
    /// Packets opened.
    pub in_packets: u64,
    /// Inner octets opened.
    pub in_bytes: u64,
    /// Packets sealed.
    pub out_packets: u64,
    /// Inner octets sealed.
    pub out_bytes: u64,
}

/// State of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// Authentication or address assignment is under way.
    Connecting,
    /// A Child SA carries traffic.
    Active,
    /// A delete is under way.
    Closing,
}

/// One Child SA of a session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChildSa {
    /// SPI of packets to us, hex.
    pub inbound_spi: String,
    /// SPI of packets to the peer, hex.
    pub outbound_spi: String,
    /// ESP suite, e.g. `aes256gcm16`, with `-esn` when extended sequence numbers are on.
    pub esp_suite: String,
    /// `esp` or `udp`.
    pub encapsulation: String,
    /// Networks on our side.
    pub local_selectors: Vec<String>,
    /// Networks on the peer's side.
    pub peer_selectors: Vec<String>,
    /// Packets opened.
    pub in_packets: u64,
    /// Inner octets opened.
    pub in_bytes: u64,
    /// Packets sealed.
    pub out_packets: u64,
    /// Inner octets sealed.
    pub out_bytes: u64,
    /// Seconds since it was installed.
    pub established_secs: u64,
    /// What `show crypto …` needs of it.
    #[serde(default)]
    pub esp: EspDetails,
}

/// `GET /v1/sessions`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionList {
    /// The page's sessions, ordered by id.
    pub sessions: Vec<Session>,
    /// All sessions there are.
    pub total: u64,
    /// Give this as `page_token` for the next page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_page_token: Option<String>,
}

/// `DELETE /v1/sessions`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cleared {
    /// Sessions that are being ended.
    pub cleared: u64,
}

/// One counter with its meaning.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Counter {
    /// Stable name.
    pub name: String,
    /// Sum over workers.
    pub value: u64,
    /// What it counts.
    pub meaning: String,
    /// What to do when it grows; empty when growth is normal.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub remedy: String,
}

/// `GET /v1/counters`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Counters {
    /// Packets and octets.
    pub flow: Vec<Counter>,
    /// Drops by reason.
    pub drops: Vec<Counter>,
    /// Control plane: IKE messages, handshakes, failures by notify.
    pub ike: Vec<Counter>,
}

/// `GET /v1/health`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Health {
    /// `ok` or `degraded`.
    pub status: String,
    /// Product version.
    pub version: String,
    /// Whether the data plane is attached and its heartbeat is fresh.
    pub dataplane_attached: bool,
    /// Data plane epoch: another, larger number after each start of the data plane.
    pub dataplane_epoch: u64,
    /// Workers of the data plane.
    pub workers: u32,
    /// Active sessions.
    pub sessions: u64,
    /// Half-open IKE SAs.
    pub half_open: u64,
    /// Address leases by pool: used and size.
    pub pools: BTreeMap<String, PoolUse>,
    /// What is wrong, in words with the next step; empty when `ok`.
    pub problems: Vec<String>,
}

/// How full a pool is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PoolUse {
    /// Leases given.
    pub used: u64,
    /// Addresses that can be given.
    pub size: u64,
}

/// Body of `POST /v1/sessions/{id}/rekey`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RekeyOrder {
    /// Which SAs get new keys.
    pub what: RekeyWhat,
}

/// Which SAs of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RekeyWhat {
    /// The IKE SA.
    Ike,
    /// Every Child SA.
    Child,
}

/// Body of `POST /v1/sessions/{id}/redirect` and of `POST /v1/redirect`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RedirectOrder {
    /// The other gateway: an IP address or a DNS name (RFC 5685 §5).
    pub to: String,
}

/// An error, as RFC 9457 `application/problem+json`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Problem {
    /// Kind of problem, a stable relative reference, e.g. `/problems/no-such-session`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short text for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This occurrence.
    pub detail: String,
    /// What to do about it.
    pub remedy: String,
    /// JSON pointer (RFC 6901) to the member of the request's body that is wrong; empty for the body as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Parameter of path, query or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
}
