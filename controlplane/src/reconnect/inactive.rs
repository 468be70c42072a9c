//! Sessions that wait for their clients, as operators see them, page by page.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::store::{DurableId, SessionRecord, WallSecs};

/// An inactive session, for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inactive {
    /// The session.
    pub record: SessionRecord,
    /// Where its client was last.
    pub last_peer: Option<(IpAddr, u16)>,
    /// How the user proved itself; empty after a restart.
    pub method: String,
    /// Since when it waits.
    pub since: WallSecs,
    /// Until when.
    pub expires_at: WallSecs,
}

/// A place in the order of the inactive sessions: longest inactive first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InactivePlace {
    /// Since when the session there waits.
    pub since: WallSecs,
    /// Its id.
    pub id: DurableId,
}

impl fmt::Display for InactivePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.since.0, self.id)
    }
}

impl FromStr for InactivePlace {
    type Err = ();

    fn from_str(text: &str) -> Result<InactivePlace, ()> {
        let (since, id) = text.split_once('-').ok_or(())?;
        let since = WallSecs(since.parse().map_err(|_| ())?);
        Ok(InactivePlace { since, id: DurableId::parse(id.as_bytes()).ok_or(())? })
    }
}
