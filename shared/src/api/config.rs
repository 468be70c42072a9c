//! The configuration's life in the management API: what runs, what is drafted, what a change does, who made it. Enters: nothing.
//! Leaves: types only.

use serde::{Deserialize, Serialize};

use crate::config::Mistake;

/// Longest comment of a commit, octets.
pub const MAX_COMMENT: usize = 256;
/// Longest time that a commit may wait for its confirmation, seconds: a day.
pub const MAX_CONFIRM_SECS: u64 = 86_400;

/// What has to happen before a changed key counts; each is declared beside its key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing: it counts at once, for everybody.
    Live,
    /// It counts at once for new sessions and new SAs; sessions that are up keep what they have.
    NewSessions,
    /// The control plane must be started again; sessions and packets go on meanwhile.
    ControlPlaneRestart,
    /// Both daemons must be started again; no packet moves for some seconds, sessions go on afterwards.
    DataPlaneRestart,
}

impl Effect {
    /// Every effect, the least first.
    pub const ALL: [Effect; 4] =
        [Effect::Live, Effect::NewSessions, Effect::ControlPlaneRestart, Effect::DataPlaneRestart];

    /// In words, for tables and the manual.
    pub fn words(self) -> &'static str {
        match self {
            Effect::Live => "counts at once",
            Effect::NewSessions => "counts for new sessions",
            Effect::ControlPlaneRestart => "restart of the control plane",
            Effect::DataPlaneRestart => "restart of the data plane",
        }
    }

    /// Whether something must be started again.
    pub fn is_restart(self) -> bool {
        matches!(self, Effect::ControlPlaneRestart | Effect::DataPlaneRestart)
    }
}

/// `GET /v1/config/running` and `/v1/config/candidate`: a configuration as JSON, the shape that of the file. Secrets are `"***"`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigDocument {
    /// SHA-256 of the text, in hexadecimal; also the entity tag.
    pub digest: String,
    /// Whether it differs from the running one; never for the running one itself.
    pub changed: bool,
    /// Sections and keys as in the file, without comments and without keys that are left to their defaults.
    pub document: serde_json::Map<String, serde_json::Value>,
    /// What waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// `PUT /v1/config/candidate`: exactly one of the two.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewCandidate {
    /// The file's text (TOML). A secret that is `"***"` stays what it is in the candidate.
    #[serde(default)]
    pub toml: Option<String>,
    /// The same as JSON; comments are lost.
    #[serde(default)]
    pub document: Option<serde_json::Map<String, serde_json::Value>>,
}

/// `POST /v1/config/validate` and part of other answers: whether a configuration can be used.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Validation {
    /// Whether it can.
    pub ok: bool,
    /// What is wrong, each with key and remedy.
    pub mistakes: Vec<Finding>,
    /// What works, but should be known.
    pub warnings: Vec<Finding>,
}

/// One finding about a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// Key path as in `port[2].mtu`, entries counted from 1; empty when no key is at fault.
    pub key: String,
    /// Line of the text, counted from 1; 0 when it has none.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl From<&Mistake> for Finding {
    fn from(mistake: &Mistake) -> Finding {
        let Mistake { key, line, what, remedy, .. } = mistake;
        Finding { key: key.clone(), line: *line, what: what.clone(), remedy: remedy.clone() }
    }
}

/// One key that differs between two configurations.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigChange {
    /// Key path; entries of lists by name, as in `user[alice].group`.
    pub key: String,
    /// As it is running; absent if it is not set. Secrets are `"***"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<serde_json::Value>,
    /// As it is drafted; absent if it is not set. Secrets are `"***"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<serde_json::Value>,
    /// What has to happen before it counts.
    pub effect: Effect,
}

/// `GET /v1/config/diff`: what the candidate would change.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigDiff {
    /// By key, in the order of the manual.
    pub changes: Vec<ConfigChange>,
    /// The strongest effect among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Sessions that would end, because their addresses are in no pool any more.
    pub drops_sessions: u64,
}

/// `POST /v1/config/commit`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CommitOrder {
    /// Seconds within which `POST /v1/config/confirm` must follow, or the configuration before comes back by itself.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub confirm_secs: Option<u64>,
    /// Why, for the history.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 256)))]
    pub comment: String,
    /// Whether sessions may end; without it, a change that would end some is refused.
    #[serde(default)]
    pub allow_drops: bool,
}

/// `POST /v1/config/rollback`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RollbackOrder {
    /// Number of the configuration to go back to, as the history has it.
    pub number: u64,
    /// As for a commit.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub confirm_secs: Option<u64>,
    /// As for a commit.
    #[serde(default)]
    pub allow_drops: bool,
}

/// What a commit has done.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Applied {
    /// Its number in the history.
    pub number: u64,
    /// What has changed, and what of it still waits for a restart.
    pub diff: ConfigDiff,
    /// Sessions that are being ended.
    pub dropped_sessions: u64,
    /// What waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// What works, but should be known.
    pub warnings: Vec<Finding>,
}

/// A commit that waits for its confirmation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pending {
    /// Its number in the history.
    pub number: u64,
    /// What comes back without it.
    pub back_to: u64,
    /// When, seconds since 1970.
    pub deadline: u64,
}

/// One configuration that was in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Revision {
    /// Its number; the newest is the largest.
    pub number: u64,
    /// When it came into force, seconds since 1970.
    pub at: u64,
    /// Who brought it.
    pub who: String,
    /// Why, in their words.
    pub comment: String,
    /// SHA-256 of its text, in hexadecimal.
    pub digest: String,
}

/// `GET /v1/config/history`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct History {
    /// Newest first; the first one is running.
    pub revisions: Vec<Revision>,
    /// What waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}
