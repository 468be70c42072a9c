//! Changes of the store that nobody waits for.
//!
//! Enters: a change that [`Table`](super::Table) has decided on, and the store when the change's turn comes. Leaves: what
//! became of it. Every store that stands behind a table is changed here, so that all of them mean the same by a change.

use crate::store::{
    Changed, DurableId, Presented, Rotation, SessionStore, StoreError, Token, Totals, WallSecs,
};

/// A change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// The claim is complete.
    Activate {
        /// Whose.
        id: DurableId,
        /// Held by.
        generation: u64,
    },
    /// It waits.
    Park {
        /// Which.
        id: DurableId,
        /// Held by.
        generation: u64,
        /// Since when.
        since: WallSecs,
        /// Until when.
        expires_at: WallSecs,
        /// What it has carried.
        totals: Totals,
    },
    /// It is over.
    Remove {
        /// Which.
        id: DurableId,
        /// Held by; `None` whoever holds it.
        generation: Option<u64>,
    },
    /// The ticket that it has may not be used any more.
    Revoke {
        /// Whose.
        id: DurableId,
        /// Held by.
        generation: u64,
    },
    /// The client holds the token.
    Confirm {
        /// Whose.
        id: DurableId,
        /// Held by.
        generation: u64,
        /// Its number.
        token_generation: u64,
    },
}

impl Write {
    /// Changes the store, within its transaction.
    ///
    /// # Errors
    /// As the store's methods.
    pub fn apply(self, store: &mut dyn SessionStore) -> Result<Changed, StoreError> {
        match self {
            Write::Activate { id, generation } => store.activate(&id, generation),
            Write::Park { id, generation, since, expires_at, totals } => {
                store.park(&id, generation, since, expires_at, totals)
            }
            Write::Remove { id, generation } => store.remove(&id, generation),
            Write::Revoke { id, generation } => {
                let previous_usable_until = WallSecs(0);
                let (token, presented) = (Token::none(), Presented::Current);
                store.rotate(&id, generation, &Rotation { token, presented, previous_usable_until })
            }
            Write::Confirm { id, generation, token_generation } => {
                store.confirm_token(&id, generation, token_generation)
            }
        }
    }
}
