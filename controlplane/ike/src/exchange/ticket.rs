//! Tickets for clients that want to resume this session later (RFC 5723 §4.1, §4.2): with the last answer of IKE_AUTH, or on
//! request while the session is up.
//!
//! Enters: TICKET_REQUEST of an authenticated client. Leaves: TICKET_LT_OPAQUE, TICKET_NACK (this session gets none) or
//! TICKET_ACK (not now); the exchange that asked goes on as it would have without.

use crate::api::{JobId, JobKind, JobResult, Lease, SessionFacts, Ticket, TicketState};
use crate::child::Child;
use crate::counters::IkeCounter;
use crate::crypto::IkeKeys;
use crate::error::IkeError;
use crate::established::{Established, JOB_DEADLINE_MS, PeerRequest, Working};
use crate::exchange::admission::Admission;
use crate::state::State;
use crate::wire::{Message, Notify, NotifyType, Payload};
use crate::world::Cx;

/// The client is authenticated and has all it gets but its ticket.
pub(crate) struct Ticketing {
    pub(crate) admission: Admission,
    lease: Lease,
    child: Option<Child>,
    tail: Vec<Payload>,
    job: JobId,
}

/// A ticket that is being made for a client whose session is up, and what else its request is answered with.
pub(crate) struct PeerTicket {
    job: JobId,
    answer: Vec<Payload>,
}

/// Whether a client wants a ticket, and may have one.
pub(crate) fn is_requested(cx: &Cx<'_>, message: &Message) -> bool {
    cx.world.config.extensions.tickets && message.notify(NotifyType::TicketRequest).is_some()
}

/// The answer to a client that gets none: not now, or never.
pub(crate) fn withheld(cx: &mut Cx<'_>, kind: NotifyType) -> Payload {
    cx.count(IkeCounter::TicketsWithheld);
    Payload::Notify(Notify::new(kind))
}

fn made(cx: &mut Cx<'_>, result: JobResult) -> Payload {
    match result {
        JobResult::TicketMade(Some(ticket)) => given(cx, &ticket),
        _ => withheld(cx, NotifyType::TicketNack),
    }
}

fn given(cx: &mut Cx<'_>, ticket: &Ticket) -> Payload {
    cx.count(IkeCounter::TicketsMade);
    Payload::Notify(Notify::with_data(NotifyType::TicketLtOpaque, ticket.notify_data()))
}

/// What a session is resumed from later.
fn state_of(keys: &IkeKeys, facts: &SessionFacts) -> TicketState {
    TicketState {
        suite: keys.suite,
        sk_d: crate::api::Secret::new(keys.sk_d.as_bytes().to_vec()),
        identity: facts.identity.clone(),
        local_identity: facts.local_identity.clone(),
        user: facts.user.clone(),
        method: facts.auth_method.clone(),
        peer_key: facts.peer_key,
        ppk: facts.ppk,
    }
}

impl Ticketing {
    /// The client has asked for a ticket, and its address is the one to come back to.
    pub(crate) fn begin(
        cx: &mut Cx<'_>,
        admission: Admission,
        lease: Lease,
        child: Option<Child>,
        tail: Vec<Payload>,
    ) -> State {
        let state = state_of(&admission.hs.sa.keys, &admission.facts(cx, Some(&lease)));
        let job = cx.job(admission.hs.id, JobKind::MakeTicket(Box::new(state)));
        State::Ticketing(Box::new(Ticketing { admission, lease, child, tail, job }))
    }

    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::Ticketing(self);
        }
        let Ticketing { admission, lease, child, mut tail, .. } = *self;
        tail.push(made(cx, result));
        admission.come_up(cx, Some(lease), child, tail)
    }
}

impl PeerTicket {
    pub(crate) fn job(&self) -> JobId {
        self.job
    }
}

impl Established {
    /// Answers an INFORMATIONAL request with `answer`, and with a ticket if the client asks for one.
    pub(crate) fn respond_with_ticket(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        message: &Message,
        mut answer: Vec<Payload>,
    ) -> Result<(), IkeError> {
        if is_requested(cx, message) {
            // A ticket is of the IKE SA in use, and one request is worked on at a time.
            if self.working.is_none() && self.sa.local_spi() == local_spi {
                let state = state_of(&self.sa.keys, &self.facts);
                let job = cx.job(self.id, JobKind::MakeTicket(Box::new(state)));
                let what = PeerRequest::Ticket(Box::new(PeerTicket { job, answer }));
                let deadline = cx.now.plus_millis(JOB_DEADLINE_MS);
                self.working = Some(Working { local_spi, deadline, what });
                return Ok(());
            }
            answer.push(withheld(cx, NotifyType::TicketAck));
        }
        self.respond(cx, local_spi, answer)
    }

    /// The ticket is made, or will not be.
    pub(crate) fn on_ticket_job(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        ticket: PeerTicket,
        result: JobResult,
    ) -> Result<(), IkeError> {
        let mut answer = ticket.answer;
        answer.push(made(cx, result));
        self.respond(cx, local_spi, answer)
    }
}
