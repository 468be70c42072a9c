//! Where sessions stand with their tickets (RFC 5723).
//!
//! Enters: tickets that were made, IKE SAs that were rekeyed. Leaves: which session may have one, and the end of one that is no
//! more. What is in a ticket is in `tickets.rs`; how one is used, in `resume.rs`.

use super::table::Table;
use super::{Effect, Write};
use crate::store::{DurableId, Presented, SessionRecord, WallSecs};

/// Where a session that is resumed by tickets stands with its ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TicketStand {
    /// Whether the client has one that may be used.
    pub(super) valid: bool,
    /// Which it came back with.
    pub(super) presented: Presented,
}

impl Table {
    /// The session of this IKE session, if it is resumed by tickets and so may have one: its id, generation, end, and which ticket
    /// its client holds now.
    pub fn ticket_session(&self, session: u64) -> Option<(DurableId, u64, Option<WallSecs>, Presented)> {
        let entry = self.entries.get(self.by_session.get(&session)?)?;
        let SessionRecord { id, generation, ends_at, .. } = entry.record;
        Some((id, generation, ends_at, entry.ticket?.presented))
    }

    /// The store has the token of a new ticket.
    pub fn ticket_made(&mut self, session: u64) {
        let entry = self.by_session.get(&session).and_then(|id| self.entries.get_mut(id));
        if let Some(entry) = entry {
            entry.ticket = Some(TicketStand { valid: true, presented: Presented::Current });
            entry.token_generation = entry.token_generation.saturating_add(1);
            entry.confirmed = false;
        }
    }

    /// The IKE SA of this session was replaced, and with it the ticket that was for it (RFC 5723 §6.2).
    pub fn ike_rekeyed(&mut self, session: u64) {
        let entry = self.by_session.get(&session).and_then(|id| self.entries.get_mut(id));
        let Some(entry) = entry else { return };
        let Some(ticket) = entry.ticket.as_mut().filter(|ticket| ticket.valid) else { return };
        ticket.valid = false;
        entry.token_generation = entry.token_generation.saturating_add(1);
        let SessionRecord { id, generation, .. } = entry.record;
        self.effects.push_back(Effect::Write(Write::Revoke { id, generation }));
    }
}
