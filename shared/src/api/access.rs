//! Who may do what in the management API: roles, tokens, and the log of who did what. Enters: nothing. Leaves: types only.

use serde::{Deserialize, Serialize};

/// Longest name of a token, octets.
pub const MAX_TOKEN_NAME: usize = 64;
/// Longest life of a token, seconds: ten years.
pub const MAX_TOKEN_SECS: u64 = 315_360_000;

/// What somebody may do; each role may all that those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Ends and renews sessions, sends clients elsewhere, debugs.
    Operator,
    /// Everything: keys, tokens, the audit log.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// As the API and the command spell it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// `POST /v1/tokens`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whose it is or what it is for; 1 to [`MAX_TOKEN_NAME`] octets of printable text.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 64), regex(pattern = "^[!-~]+( [!-~]+)*$"))
    )]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Seconds until it is void, up to [`MAX_TOKEN_SECS`]; without it, it is void when it is revoked.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 315_360_000)))]
    pub expires_in_secs: Option<u64>,
}

/// A token that is valid, without what proves it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenInfo {
    /// Names it in `DELETE /v1/tokens/{id}`, and in the audit log.
    pub id: String,
    /// Whose it is or what it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Who made it.
    pub created_by: String,
    /// When, seconds since 1970.
    pub created_at: u64,
    /// When it is void, seconds since 1970; `None` for never.
    pub expires_at: Option<u64>,
}

/// Answer of `POST /v1/tokens`: the only time that the token itself is shown.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CreatedToken {
    /// What `Authorization: Bearer` wants.
    pub token: String,
    /// The rest of it.
    pub info: TokenInfo,
}

/// `GET /v1/tokens`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenList {
    /// Those that are valid, oldest first.
    pub tokens: Vec<TokenInfo>,
}

/// One line of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// Number, without gaps.
    pub seq: u64,
    /// When, seconds since 1970.
    pub at: u64,
    /// Who: `uid 0 pid 77`, `token ID NAME`, `certificate NAME`.
    pub who: String,
    /// From where: `local`, or an address.
    pub from: String,
    /// HTTP method.
    pub method: String,
    /// Path with its query.
    pub target: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// SHA-256 of what was changed, as it was, in hexadecimal; `None` where nothing lasting was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The same as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// `hash` of the entry before; zeros in the first one.
    pub prev: String,
    /// SHA-256 of this entry as JSON with an empty `hash`, in hexadecimal.
    pub hash: String,
}

/// `GET /v1/audit`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditList {
    /// Entries, oldest first.
    pub entries: Vec<AuditEntry>,
    /// Whether every entry that is kept follows from the one before it.
    pub intact: bool,
    /// Give this as `after` for the entries that follow; absent when there are none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<u64>,
}
