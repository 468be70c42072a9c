//! Inactive sessions and the reconnect statistics of the management API. Enters: nothing. Leaves: types only.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{Counter, Traffic};

/// A session whose client is silent and may come back by session id and token: `GET /v1/sessions?state=inactive`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InactiveSession {
    /// Names it in the API; never an active session's id at the same time.
    pub id: String,
    /// The session's number while it was active.
    #[serde(default)]
    pub serial: Option<u64>,
    /// Authenticated user.
    pub user: String,
    /// Authorization group.
    #[serde(default)]
    pub group: Option<String>,
    /// Name of the gateway's profile.
    #[serde(default)]
    pub profile: Option<String>,
    /// The session id that the client comes back with, in upper-case hex as the shows print it.
    #[serde(default)]
    pub session_id: Option<String>,
    /// How the user proved itself at login, e.g. `anyconnect-eap`.
    #[serde(default)]
    pub auth_method: Option<String>,
    /// The address that is kept for it.
    pub inner_address: Option<Ipv4Addr>,
    /// The IPv6 address inside that it keeps.
    #[serde(default)]
    pub inner_address6: Option<Ipv6Addr>,
    /// The pool it came from.
    #[serde(default)]
    pub pool: Option<String>,
    /// Where the client was last seen, `address:port`.
    #[serde(default)]
    pub last_peer: Option<String>,
    /// Seconds since it became inactive.
    pub inactive_secs: u64,
    /// Seconds until it is forgotten.
    pub expires_in_secs: u64,
    /// How often it was resumed before.
    #[serde(default)]
    pub resumes: u64,
    /// Traffic since login.
    #[serde(default)]
    pub traffic: Traffic,
}

/// `GET /v1/sessions?state=inactive`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InactiveSessionList {
    /// The page's sessions, ordered by id.
    pub sessions: Vec<InactiveSession>,
    /// All inactive sessions there are.
    pub total: u64,
    /// Give this as `page_token` for the next page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_page_token: Option<String>,
}

/// `GET /v1/stats/reconnect`: the five figures of `show crypto ikev2 stats reconnect`, in its order. The first three, and
/// `more`, count since the start of the control plane or since `DELETE /v1/stats/reconnect`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReconnectStats {
    /// IKE_AUTH requests whose IDi named a session id, known or not.
    pub total_incoming: u64,
    /// Those that were resumed.
    pub success: u64,
    /// Those that were refused.
    pub failed: u64,
    /// Active sessions whose client has a session id and a token.
    pub active_capable: u64,
    /// Inactive sessions that can be resumed.
    pub inactive_capable: u64,
    /// Whether `reconnect.enabled` is set.
    #[serde(default)]
    pub enabled: bool,
    /// What else is counted: why attempts failed, what became of inactive sessions.
    #[serde(default)]
    pub more: Vec<Counter>,
}
