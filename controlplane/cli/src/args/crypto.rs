//! The words behind `show crypto`, `clear crypto` and `debug`: those that operators of IOS know.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use causeway_shared::api::{MAX_CONDITION_SECS, MIN_CONDITION_SECS};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::Api;

/// `show crypto …`
#[derive(Debug, Subcommand)]
pub(crate) enum ShowCrypto {
    /// Sessions: who, since when, from where, and what flows.
    Session {
        /// With every field.
        #[arg(value_enum)]
        detail: Option<Detail>,
    },
    /// IKEv2: SAs with their suites, identities and Message IDs.
    #[command(subcommand)]
    Ikev2(ShowIkev2),
}

/// `show crypto ikev2 …`
#[derive(Debug, Subcommand)]
pub(crate) enum ShowIkev2 {
    /// IKE SAs with their Child SAs.
    Session {
        /// With every field.
        #[arg(value_enum)]
        detail: Option<Detail>,
    },
    /// IKE SAs.
    Sa {
        /// With every field.
        #[arg(value_enum)]
        detail: Option<Detail>,
    },
    /// Statistics.
    #[command(subcommand)]
    Stats(ShowStats),
}

/// `show crypto ikev2 stats …`
#[derive(Debug, Subcommand)]
pub(crate) enum ShowStats {
    /// Sessions that came back, or can, by session id and token.
    Reconnect {
        /// Reasons of failures and the fate of inactive sessions, too.
        #[arg(value_enum)]
        detail: Option<Detail>,
    },
}

/// Every field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Detail {
    /// Every field.
    #[value(alias = "detailed")]
    Detail,
}

/// `clear crypto …`
#[derive(Debug, Subcommand)]
pub(crate) enum ClearCrypto {
    /// End sessions: their clients get an IKE delete, their addresses are free again, nobody can come back to them.
    Session(ClearSession),
    /// Begin statistics of IKEv2 at zero again.
    #[command(subcommand)]
    Ikev2(ClearIkev2),
}

/// `clear crypto ikev2 …`
#[derive(Debug, Subcommand)]
pub(crate) enum ClearIkev2 {
    /// Statistics.
    #[command(subcommand)]
    Stats(ClearStats),
}

/// `clear crypto ikev2 stats …`
#[derive(Debug, Subcommand)]
pub(crate) enum ClearStats {
    /// Attempts to come back; who is connected or may come back stays as it is.
    Reconnect,
}

/// Which sessions `clear crypto session` ends.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["target", "inactive"]))]
pub(crate) struct ClearSession {
    /// An id, `remote` and a peer's address, or `all`.
    #[arg(value_name = "ID | remote ADDRESS | all", num_args = 0..=2)]
    pub target: Vec<String>,
    /// Inactive sessions instead of active ones; without an id, all of them.
    #[arg(long)]
    pub inactive: bool,
    /// Print what was ended as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `debug …`
#[derive(Debug, Args)]
pub(crate) struct Debug {
    #[command(flatten)]
    pub api: Api,
    /// Print the API's answer as it is.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub what: DebugWhat,
}

/// What `debug` does.
#[derive(Debug, Subcommand)]
pub(crate) enum DebugWhat {
    /// Log matching sessions in more detail, while running.
    #[command(subcommand)]
    Crypto(DebugCrypto),
    /// Write a session's keys for Wireshark. Whoever has them reads the session's traffic; every export is logged.
    ExportKeys {
        /// The session's id, as `show sessions` lists it.
        #[arg(long, value_name = "ID")]
        session: String,
        /// Directory for the files; made if it is not there.
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// `debug crypto …`
#[derive(Debug, Subcommand)]
pub(crate) enum DebugCrypto {
    /// Whose sessions are logged.
    Condition(DebugCondition),
    /// What is logged of them; without a topic, all.
    Ikev2 {
        /// Topics to switch on, beside those that are on.
        #[arg(value_enum)]
        topics: Vec<Topic>,
        /// Switch them off instead.
        #[arg(long)]
        off: bool,
    },
    /// Conditions and topics that are set.
    Show,
}

/// `debug crypto condition …`
#[derive(Debug, Args)]
pub(crate) struct DebugCondition {
    /// Keep it until `reset`.
    #[arg(long, global = true, conflicts_with = "secs")]
    pub until_reset: bool,
    /// Seconds until it is forgotten; an hour if nothing is said.
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(MIN_CONDITION_SECS..=MAX_CONDITION_SECS))]
    pub secs: Option<u64>,
    #[command(subcommand)]
    pub whose: Whose,
}

/// Whose sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum Whose {
    /// Of one peer.
    #[command(subcommand)]
    Peer(WhosePeer),
    /// Of one user.
    Username {
        /// The user's name.
        user: String,
    },
    /// One session.
    Session {
        /// Its id, as `show sessions` lists it.
        id: String,
    },
    /// Nobody's: forget every condition.
    Reset,
}

/// `debug crypto condition peer …`
#[derive(Debug, Subcommand)]
pub(crate) enum WhosePeer {
    /// By its outer address.
    Ipv4 {
        /// The address.
        address: Ipv4Addr,
    },
    /// By its user's name.
    Username {
        /// The user's name.
        user: String,
    },
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topic {
    /// Every IKE message, in and out, without secrets.
    Packet,
    /// What happens inside.
    Internal,
    /// What goes wrong.
    Error,
}
