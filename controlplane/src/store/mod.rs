//! The session store: what a client was told, durable before it is told, so that a session outlives its IKE SAs, the
//! daemon and the machine's power.
//!
//! Enters: session records, tokens and IKE state from the driver. Leaves: the same after a restart, and exactly one
//! winner for every attempt to take a session over. [`SessionStore`] is the contract; [`memory::MemoryStore`] keeps it
//! in memory, [`sqlite::SqliteStore`] on disk. The driver does not call them: it asks [`handle::StoreHandle`], behind
//! which one thread makes one transaction of many requests. RFC 5723 tickets and MOBIKE use the same records:
//! nothing here knows how a session is resumed, only that it was claimed. docs/store.md draws it.

pub mod clock;
mod configured;
mod error;
pub mod handle;
mod integrity;
pub mod memory;
mod node_key;
mod record;
mod secrets;
pub mod sqlite;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use zeroize::Zeroizing;

pub use configured::open;
pub use error::StoreError;
pub use integrity::{Integrity, Verdict};
pub use record::{
    Cursor, DurableId, MAX_ATTRIBUTES_OCTETS, MAX_CLIENT_OCTETS, MAX_NAME_OCTETS, Page, SessionRecord,
    StoredState, Totals, WallSecs,
};
pub use secrets::{
    IkeState, MAX_IKE_STATE_OCTETS, MAX_TOKEN_OCTETS, Presented, PreviousToken, Rotation, Token, Tokens,
};

/// A wish to take a session over: to resume it, whoever held it before.
#[derive(Clone)]
pub struct Claim {
    /// Whose session.
    pub id: DurableId,
    /// The generation that was read when the token was checked; another one now means that somebody was faster.
    pub generation: u64,
    /// When.
    pub now: WallSecs,
    /// The number operators see from now on.
    pub serial: u64,
    /// A new token, if the policy gives one with every resumption.
    pub rotation: Option<Rotation>,
}

/// What became of a [`Claim`].
pub enum Claimed {
    /// It is the caller's: the record as it is now (next generation, [`StoredState::Resuming`]), its tokens and the state
    /// it was taken from.
    Won {
        /// The record after the claim.
        record: Box<SessionRecord>,
        /// Its tokens after the claim.
        tokens: Option<Tokens>,
        /// Its state before.
        from: StoredState,
    },
    /// Somebody else claimed it since it was read.
    Lost,
    /// It is inactive and its time is over.
    Expired,
    /// There is no such session.
    Unknown,
}

/// What became of a change that only the holder of a generation may make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Changed {
    /// It is done.
    Done,
    /// The session has another generation: it is no longer the caller's.
    Lost,
    /// There is no such session.
    Unknown,
}

/// Sessions by state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// With IKE SAs of their own.
    pub active: u64,
    /// Claimed, but not active yet.
    pub resuming: u64,
    /// Waiting for their client.
    pub inactive: u64,
}

impl Counts {
    fn of(&mut self, state: StoredState) -> &mut u64 {
        match state {
            StoredState::Active => &mut self.active,
            StoredState::Resuming => &mut self.resuming,
            StoredState::Inactive { .. } => &mut self.inactive,
        }
    }
}

/// What [`SessionStore::park_all`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ParkedAll {
    /// Sessions that wait for their client now.
    pub parked: u64,
    /// Sessions that no token could bring back.
    pub removed: u64,
}

/// The store. Every change stands between [`begin`](SessionStore::begin) and [`commit`](SessionStore::commit) and is
/// durable when `commit` has returned, not before. A change that fails changes nothing.
///
/// # Errors
/// [`StoreError::is_about_request`] tells a request that cannot be met (id taken, too large …) from a store that cannot
/// work (full, corrupt …); after the latter the transaction must be rolled back.
pub trait SessionStore: Send {
    /// Opens a transaction. Calls do not nest.
    ///
    /// # Errors
    /// When the store cannot work.
    fn begin(&mut self) -> Result<(), StoreError>;

    /// Makes everything since `begin` durable, and `now` the latest time the store knows ([`SessionStore::mark`]).
    ///
    /// # Errors
    /// When the store cannot work; nothing since `begin` has happened then.
    fn commit(&mut self, now: WallSecs) -> Result<(), StoreError>;

    /// Forgets everything since `begin`.
    fn rollback(&mut self);

    /// The latest time that was committed: store time does not go back behind it.
    fn mark(&self) -> WallSecs;

    /// Adds a session, with generation as in the record.
    ///
    /// # Errors
    /// When the id or an inner address is taken, a field is too large, or the store cannot work.
    fn put_new(&mut self, record: &SessionRecord, tokens: Option<&Tokens>) -> Result<(), StoreError>;

    /// A session with its tokens.
    ///
    /// # Errors
    /// When the tokens cannot be unsealed, or the store cannot work.
    fn get(&self, id: &DurableId) -> Result<Option<(SessionRecord, Option<Tokens>)>, StoreError>;

    /// Takes a session over: exactly one of all claimants of one generation wins. Its IKE state is forgotten, since it
    /// belongs to whoever held the session before. Works in every state; whether an active session may be taken is the
    /// caller's policy.
    ///
    /// # Errors
    /// When the tokens cannot be unsealed, or the store cannot work.
    fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError>;

    /// The resumption is complete: [`StoredState::Active`].
    ///
    /// # Errors
    /// When the store cannot work.
    fn activate(&mut self, id: &DurableId, generation: u64) -> Result<Changed, StoreError>;

    /// The client fell silent: [`StoredState::Inactive`] from `since` until `expires_at`. The IKE state is forgotten.
    ///
    /// # Errors
    /// When the store cannot work.
    fn park(
        &mut self,
        id: &DurableId,
        generation: u64,
        since: WallSecs,
        expires_at: WallSecs,
        totals: Totals,
    ) -> Result<Changed, StoreError>;

    /// After a start: every session that is not inactive becomes so from `now` for `timeout_secs`, or until it ends
    /// ([`SessionRecord::ends_at`]) if that is sooner; sessions without tokens are removed. Those that go on (`except`)
    /// are left alone.
    ///
    /// # Errors
    /// When the store cannot work.
    fn park_others(
        &mut self,
        now: WallSecs,
        timeout_secs: u64,
        except: &HashSet<DurableId>,
    ) -> Result<ParkedAll, StoreError>;

    /// As [`SessionStore::park_others`], after a loss of power: none goes on.
    ///
    /// # Errors
    /// When the store cannot work.
    fn park_all(&mut self, now: WallSecs, timeout_secs: u64) -> Result<ParkedAll, StoreError> {
        self.park_others(now, timeout_secs, &HashSet::new())
    }

    /// Gives the session a new token without a claim. What the client holds stays usable as [`Rotation`] says.
    ///
    /// # Errors
    /// When the tokens cannot be unsealed, or the store cannot work.
    fn rotate(&mut self, id: &DurableId, generation: u64, rotation: &Rotation)
    -> Result<Changed, StoreError>;

    /// The client has shown that it holds token number `token_generation`: the one before is usable no longer. It is kept,
    /// so that its use can be told from any wrong token. A confirmation of another number changes nothing.
    ///
    /// # Errors
    /// When the store cannot work.
    fn confirm_token(
        &mut self,
        id: &DurableId,
        generation: u64,
        token_generation: u64,
    ) -> Result<Changed, StoreError>;

    /// Replaces the totals. For a flush every few minutes, not for every packet.
    ///
    /// # Errors
    /// When the store cannot work.
    fn set_totals(&mut self, id: &DurableId, generation: u64, totals: Totals) -> Result<Changed, StoreError>;

    /// Replaces the merged attributes (RADIUS change of authorization).
    ///
    /// # Errors
    /// When they are too large, or the store cannot work.
    fn set_attributes(
        &mut self,
        id: &DurableId,
        generation: u64,
        attributes: &[u8],
    ) -> Result<Changed, StoreError>;

    /// Removes a session with all that belongs to it: `generation`'s, so that a late end of an old IKE SA does not take the
    /// resumed session along, or with `None` (an operator's order) whichever it is.
    ///
    /// # Errors
    /// When the store cannot work.
    fn remove(&mut self, id: &DurableId, generation: Option<u64>) -> Result<Changed, StoreError>;

    /// Removes at most `limit` inactive sessions that expired at `now` or before, soonest first, and returns them, so that
    /// addresses can be given back and accounting ended.
    ///
    /// # Errors
    /// When the store cannot work.
    fn purge_expired(&mut self, now: WallSecs, limit: usize) -> Result<Vec<SessionRecord>, StoreError>;

    /// At most `limit` inactive sessions, longest inactive first, of one user or of all: whom to evict.
    ///
    /// # Errors
    /// When the store cannot work.
    fn oldest_inactive(&self, user: Option<&str>, limit: usize) -> Result<Vec<SessionRecord>, StoreError>;

    /// How many inactive sessions a user has.
    ///
    /// # Errors
    /// When the store cannot work.
    fn inactive_of(&self, user: &str) -> Result<u64, StoreError>;

    /// Sessions by state.
    fn counts(&self) -> Counts;

    /// What keys of tickets are derived from: the same for as long as the store is, if it has a key. Otherwise tickets end with
    /// this process.
    fn ticket_secret(&self) -> Zeroizing<[u8; 32]> {
        let mut secret = Zeroizing::new([0; 32]);
        // Without randomness there is no session to give a ticket to.
        let _ = aws_lc_rs::rand::fill(secret.as_mut());
        secret
    }

    /// Where the store says how sound it is.
    fn integrity(&self) -> Integrity {
        Integrity::default()
    }

    /// All sessions that can be read, `limit` at a time, oldest first: begin with [`Cursor::START`] and go on with [`Page::next`].
    /// Sessions that come while it is walked are seen, if the walk has not ended.
    ///
    /// # Errors
    /// When the store cannot work.
    fn page(&self, after: Cursor, limit: usize) -> Result<Page, StoreError>;

    /// Keeps the state of a session's IKE SA, in place of what was kept before. An inactive session has none:
    /// [`Changed::Lost`].
    ///
    /// # Errors
    /// When it is too large, or the store cannot work.
    fn put_ike_state(
        &mut self,
        id: &DurableId,
        generation: u64,
        state: &IkeState,
    ) -> Result<Changed, StoreError>;

    /// The state of a session's IKE SA, if one is kept.
    ///
    /// # Errors
    /// When it cannot be unsealed, or the store cannot work.
    fn ike_state(&self, id: &DurableId) -> Result<Option<IkeState>, StoreError>;

    /// Forgets the state of a session's IKE SA.
    ///
    /// # Errors
    /// When the store cannot work.
    fn delete_ike_state(&mut self, id: &DurableId, generation: u64) -> Result<Changed, StoreError>;
}
