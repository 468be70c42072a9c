//! Auto Reconnect: sessions that outlive their IKE SAs (docs/reconnect.md draws it).
//!
//! Enters: logins, attempts to resume, ends of IKE SAs, time, randomness. Leaves: decisions, and [`Effect`]s in the order
//! in which they must be performed. Nothing here waits, reads a clock or touches the store: [`Table`] knows which session
//! stands where, the store knows it durably, and the driver brings the two together.

pub mod attempts;
pub mod attributes;
mod ike;
mod inactive;
mod lifetime;
mod resume;
mod statistics;
mod table;
mod ticket;
mod write;

use std::net::IpAddr;
use std::time::Duration;

use causeway_ike::api::PolicyEnd;
use causeway_shared::config::{self, OnClientDelete, OnTokenReplay, ReconnectAttributes, TokenPolicy};

pub use ike::ending;
pub use inactive::{Inactive, InactivePlace};
pub use resume::{MAX_CLAIMS, NotWon};
pub use statistics::Counts;
pub use table::{Login, Table};
pub use write::Write;

use crate::store::{DurableId, SessionRecord, StoreError, Token, Tokens, WallSecs};

/// Letters of a token, of base64url: 384 random bits. The letters are the shared key, not what they encode.
pub const TOKEN_LETTERS: usize = 64;

/// The policy.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether clients may come back at all.
    pub enabled: bool,
    /// How long a session waits for its client.
    pub timeout_secs: u64,
    /// When tokens change.
    pub token_policy: TokenPolicy,
    /// How long the token before counts, unless the new one is confirmed sooner.
    pub rotate_grace_secs: u64,
    /// Most sessions that wait.
    pub max_inactive: usize,
    /// Most sessions of one user that wait.
    pub per_user_max: usize,
    /// What a client's delete means.
    pub on_client_delete: OnClientDelete,
    /// What a burnt token brings about.
    pub on_token_replay: OnTokenReplay,
    /// Whether a full pool takes an address from a session that waits.
    pub reclaim: bool,
    /// Whether a session can be resumed that is still active.
    pub allow_active_takeover: bool,
    /// What the client is told of the gateway's patience.
    pub dpd_interval_secs: u64,
    /// Numbers of the attributes.
    pub attributes: ReconnectAttributes,
}

impl Settings {
    /// As configured.
    pub fn new(reconnect: &config::Reconnect, attributes: ReconnectAttributes) -> Settings {
        Settings {
            enabled: reconnect.enabled,
            timeout_secs: reconnect.timeout_secs,
            token_policy: reconnect.token_policy,
            rotate_grace_secs: reconnect.rotate_grace_secs,
            max_inactive: reconnect.max_inactive,
            per_user_max: reconnect.per_user_max,
            on_client_delete: reconnect.on_client_delete,
            on_token_replay: reconnect.on_token_replay,
            reclaim: reconnect.reclaim,
            allow_active_takeover: reconnect.allow_active_takeover,
            dpd_interval_secs: reconnect.dpd_interval_secs,
            attributes,
        }
    }
}

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It was given an id; its first IKE SA is not up yet.
    Negotiating,
    /// Its client is there. Whether it is being asked if it lives (SUSPECT) is the IKE SA's matter.
    Active,
    /// It waits for its client.
    Inactive {
        /// Since when.
        since: WallSecs,
        /// Until when.
        expires_at: WallSecs,
    },
    /// Somebody has claimed it; the new IKE SA is not up yet.
    Resuming,
}

/// Which token a client proved to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The one given last.
    Current,
    /// The one before, which still counts.
    Previous,
    /// The one before, which counts no longer.
    Burnt,
}

/// The tokens that a client may prove to hold.
pub struct Offer {
    /// The one given last.
    pub current: Token,
    /// The one before, and whether it still counts.
    pub previous: Option<(Token, bool)>,
}

/// Why an attempt to resume failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Refusal {
    /// Nobody has this id (any more).
    UnknownId,
    /// Too many failures of this id, or from this address.
    Frozen,
    /// It waited too long.
    Expired,
    /// Its client is still there, and the policy leaves it there.
    StillActive,
    /// The client does not know the token.
    WrongToken,
    /// The client used a burnt token.
    Replay,
    /// Others were faster, again and again.
    Raced,
    /// The client had begun a newer attempt by then: this one is what the network kept back.
    Overtaken,
    /// Its inner address is gone from the pools.
    AddressGone,
    /// The store did not answer.
    Store,
    /// The handshake ended otherwise.
    Handshake,
}

impl Refusal {
    /// All.
    pub const ALL: [Refusal; 11] = [
        Refusal::UnknownId,
        Refusal::Frozen,
        Refusal::Expired,
        Refusal::StillActive,
        Refusal::WrongToken,
        Refusal::Replay,
        Refusal::Raced,
        Refusal::Overtaken,
        Refusal::AddressGone,
        Refusal::Store,
        Refusal::Handshake,
    ];

    /// A stable name for logs and counters.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::UnknownId => "unknown-id",
            Refusal::Frozen => "frozen",
            Refusal::Expired => "expired",
            Refusal::StillActive => "still-active",
            Refusal::WrongToken => "wrong-token",
            Refusal::Replay => "token-replay",
            Refusal::Raced => "raced",
            Refusal::Overtaken => "overtaken",
            Refusal::AddressGone => "address-gone",
            Refusal::Store => "store",
            Refusal::Handshake => "handshake",
        }
    }
}

/// How an IKE SA ended, as far as its session is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The client is gone without a word, or the gateway is at fault: it may come back.
    Silent,
    /// The client deleted it.
    ClientDeleted,
    /// Operator or policy ended it: final.
    Final,
}

/// What must be done.
pub enum Effect {
    /// Tell the store.
    Write(Write),
    /// Nobody holds these addresses any more.
    ReleaseLease {
        /// Who held them.
        owner: u64,
    },
    /// End this IKE session without a word to its client.
    Drop(u64),
    /// End this IKE session by the operator's order, telling its client.
    Delete(u64),
    /// End this IKE session because policy wants so, telling its client.
    End(u64, PolicyEnd),
    /// Tell the operator.
    Event(Event),
}

/// What operators are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The client fell silent; the session waits.
    Inactive {
        /// Which.
        id: DurableId,
        /// Whose.
        user: String,
        /// How long it waits.
        waits_secs: u64,
    },
    /// It is back.
    Resumed {
        /// Which.
        id: DurableId,
        /// Whose.
        user: String,
        /// The IKE session that has it now.
        session: u64,
        /// Whether it was still active.
        taken_over: bool,
    },
    /// An attempt failed.
    Failed {
        /// What the client called itself.
        id: DurableId,
        /// Where it came from.
        source: IpAddr,
        /// Why.
        reason: Refusal,
    },
    /// It waited too long, or its lifetime is over.
    Expired {
        /// Which.
        id: DurableId,
        /// Whose.
        user: String,
    },
    /// It had to make room for another one.
    Evicted {
        /// Which.
        id: DurableId,
        /// Whose.
        user: String,
    },
    /// Somebody used a burnt token: it was stolen, or an old state of the client came back.
    Replay {
        /// Whose.
        id: DurableId,
        /// Whose.
        user: String,
        /// Where it came from.
        source: IpAddr,
        /// Whether that was the end of the session.
        killed: bool,
    },
}

/// What to do about an IDi that came with a shared-key AUTH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// It is no session id.
    NotAnId,
    /// Ask the store about it, then [`Table::fetched`].
    Fetch(DurableId),
}

/// A claim that was won.
pub struct Resumption {
    /// The session.
    pub record: SessionRecord,
    /// Its tokens.
    pub tokens: Option<Tokens>,
    /// Who holds its lease; `None` if its address is gone from the pools.
    pub owner: Option<u64>,
}

/// A fresh token.
///
/// # Errors
/// When the store takes no tokens of this length.
pub fn fresh_token(fill: &mut dyn FnMut(&mut [u8])) -> Result<Token, StoreError> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut octets = zeroize::Zeroizing::new([0; TOKEN_LETTERS]);
    fill(&mut octets[..]);
    // Six bits of each octet make a letter: none is more likely than another.
    Token::new(octets.iter().filter_map(|octet| LETTERS.get(usize::from(octet & 63))).copied().collect())
}

/// The moment on the driver's monotonic clock and in store time.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For rate limits.
    pub monotonic: Duration,
    /// For everything that outlives the process.
    pub wall: WallSecs,
}

#[cfg(test)]
mod tests;
