//! Debug conditions of the management API: whose sessions are logged in more detail. Enters: nothing. Leaves: types only.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Longest user name or session id in a condition, octets.
pub const MAX_CONDITION_TEXT: usize = 256;
/// Shortest life of a condition, seconds.
pub const MIN_CONDITION_SECS: u64 = 1;
/// Longest life of a condition that is not kept until a reset, seconds: a day.
pub const MAX_CONDITION_SECS: u64 = 86_400;
/// Life of a condition that names none, seconds: an hour.
pub const DEFAULT_CONDITION_SECS: u64 = 3600;

/// Whose sessions.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "match", content = "value", rename_all = "kebab-case")]
pub enum DebugMatch {
    /// The peer's outer address.
    PeerIpv4(Ipv4Addr),
    /// The user, authenticated or only named by a client that is logging in.
    Username(String),
    /// A session's id, as the lists show it.
    Session(String),
}

/// What is logged of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DebugTopic {
    /// Every IKE message, in and out: header and payloads, without secrets.
    Packet,
    /// What happens inside: jobs and their ends, timers, changes of state.
    Internal,
    /// What goes wrong.
    Error,
}

impl DebugTopic {
    /// Every topic.
    pub const ALL: [DebugTopic; 3] = [DebugTopic::Packet, DebugTopic::Internal, DebugTopic::Error];
}

/// `POST /v1/debug/conditions`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewCondition {
    /// Whose sessions.
    #[serde(rename = "for")]
    pub whose: DebugMatch,
    /// Seconds until it is forgotten, [`MIN_CONDITION_SECS`] to [`MAX_CONDITION_SECS`]; [`DEFAULT_CONDITION_SECS`]
    /// when absent.
    #[serde(default)]
    pub secs: Option<u64>,
    /// Keep it until it is removed; `secs` must be absent.
    #[serde(default)]
    pub until_reset: bool,
}

/// A condition that is set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Condition {
    /// Names it in `DELETE /v1/debug/conditions/{id}`.
    pub id: u64,
    /// Whose sessions.
    #[serde(rename = "for")]
    pub whose: DebugMatch,
    /// Seconds until it is forgotten; `None` when it is kept until a reset.
    pub expires_in_secs: Option<u64>,
}

/// `GET /v1/debug/conditions`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DebugState {
    /// Conditions; a session is logged in detail when one of them matches.
    pub conditions: Vec<Condition>,
    /// What is logged of the sessions that match.
    pub topics: Vec<DebugTopic>,
    /// Log lines written because of these since the start of the control plane.
    pub lines: u64,
    /// Log lines left out because there were too many in one second.
    pub suppressed: u64,
}

/// `POST /v1/debug/topics`: what is logged from now on; an empty list switches all off.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetTopics {
    /// All that is logged.
    pub topics: Vec<DebugTopic>,
}

/// `GET /v1/sessions/{id}/keys`: one file of Wireshark's each, as rows.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExportedKeys {
    /// Rows of `ikev2_decryption_table`.
    pub ikev2_decryption_table: Vec<String>,
    /// Rows of `esp_sa`.
    pub esp_sa: Vec<String>,
}
