//! Tickets in the driver (RFC 5723): which session one is for, whether it may be used, and new ones.
//!
//! Enters: tickets of anybody, requests of clients that are authenticated. Leaves: what a ticket stands for, once the store has
//! said that it is the last one of its session; a ticket, once the store has its token. The session itself is taken over as
//! one of Auto Reconnect is (`reconnect.rs`), when its client has proved to hold the ticket's keys.

use std::net::{IpAddr, Ipv4Addr};

use causeway_ike::api::{JobId, JobResult, Resume, SessionId, Ticket, TicketAnswer, TicketState};

use super::core::Core;
use super::env::fill_random;
use super::later::{Found, TicketStored};
use crate::link::Link;
use crate::store::{Changed, Rotation};
use crate::tickets::{Draft, Presented};

impl<L: Link> Core<L> {
    /// What a ticket stands for; `None` if the answer comes later.
    pub(super) fn find_ticket(&mut self, job: JobId, session: SessionId, ticket: &[u8]) -> Option<JobResult> {
        let refused = Some(JobResult::TicketFound(None));
        let now = self.both_clocks();
        let Some(presented) = self.tickets.as_ref().and_then(|tickets| tickets.read(ticket, now.wall)) else {
            return refused;
        };
        if self.source_is_locked() {
            return refused;
        }
        let source = self.current_peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.table.incoming_ticket(session.0, source, presented.id, now);
        self.desk.fetch(job, session, presented.id, Some(presented));
        None
    }

    /// The store has said what it has of the ticket's session.
    pub(super) fn ticket_found(
        &mut self,
        session: SessionId,
        presented: &Presented,
        found: Found,
    ) -> Option<Box<TicketAnswer>> {
        if let Err(error) = &found {
            tracing::error!(%error, "the store cannot be asked about a ticket");
        }
        let offer = self.table.fetched(session.0, found, self.desk.wall())?;
        // One that has just ended may still be in the store.
        let lives = self.table.phase(&presented.id).is_some();
        let usable = offer.previous.as_ref().filter(|(_, usable)| *usable).map(|(token, _)| token);
        let tried = [(Some(&offer.current), false), (usable, true)];
        let state =
            tried.into_iter().find_map(|(token, previous)| Some((presented.state(token?)?, previous)));
        let Some((state, previous_key)) = state.filter(|_| lives) else {
            self.table.ticket_refused(session.0);
            return None;
        };
        if !self.is_still_known(&state) || self.is_locked(session, state.user()) {
            return None;
        }
        Some(Box::new(TicketAnswer { state, resume: Resume { tag: session.0, previous_key } }))
    }

    /// Whether who has proved itself once could still do so. Users of RADIUS servers and of certificates are not asked about.
    fn is_still_known(&self, state: &TicketState) -> bool {
        let directory = &self.services.directory;
        match state.method() {
            "certificate" => true,
            "psk" => directory.psk(&state.identity().to_string()).is_some(),
            _ => self.services.radius_eap.is_some() || directory.user(state.user()).is_some(),
        }
    }

    /// Makes a ticket; `None` if the answer comes later.
    pub(super) fn make_ticket(
        &mut self,
        job: JobId,
        session: SessionId,
        state: &TicketState,
    ) -> Option<JobResult> {
        let none = Some(JobResult::TicketMade(None));
        let Some((id, generation, ends_at, held)) = self.table.ticket_session(session.0) else { return none };
        let now = self.desk.wall();
        let draft = self
            .tickets
            .as_ref()
            .and_then(|tickets| tickets.make(&id, state, (now, ends_at), &mut fill_random));
        let Some(Draft { ticket, token }) = draft else { return none };
        let previous_usable_until = now.after(self.table.settings().rotate_grace_secs);
        let rotation = Rotation { token, presented: held, previous_usable_until };
        let stored = TicketStored { job, session, ticket, outcome: Ok(Changed::Lost) };
        self.desk.rotate(id, generation, rotation, stored);
        None
    }

    /// The store has the token of a ticket, or not: then the client gets none.
    pub(super) fn ticket_stored(&mut self, stored: TicketStored) {
        let TicketStored { job, session, ticket, outcome } = stored;
        let made: Option<Ticket> = match outcome {
            Ok(Changed::Done) => {
                self.table.ticket_made(session.0);
                Some(ticket)
            }
            Ok(Changed::Lost | Changed::Unknown) => None,
            Err(error) => {
                tracing::error!(%error, session = session.0, "a ticket cannot be stored, so its client gets none");
                None
            }
        };
        self.answer_job(job, JobResult::TicketMade(made));
    }
}
