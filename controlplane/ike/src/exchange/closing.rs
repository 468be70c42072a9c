//! The end of a session: our Delete of the IKE SA, and the time after the last answer (RFC 7296 §1.4.1, §2.21.2).
//!
//! Enters: an IKE SA that nothing depends on any more. Leaves: one Delete until it is answered or given up; answers to
//! repeated requests.

use crate::api::{DownReason, SessionId, WakeReason};
use crate::sa::{IkeSa, Resent};
use crate::state::{Arrival, State};
use crate::time::Instant;
use crate::wire::{Delete, ExchangeType, Notify, NotifyType, Payload};
use crate::world::Cx;

/// Milliseconds for which a peer may repeat its last request and get the same answer.
pub(crate) const FAREWELL_MS: u64 = 10_000;

/// We have deleted the session and tell the peer.
pub(crate) struct Closing {
    pub(crate) sa: IkeSa,
    /// Whether our Delete is the outstanding request; before that, another one must be answered first.
    delete_sent: bool,
    reason: DownReason,
}

/// The session is over; its last answer may have been lost.
pub(crate) struct Farewell {
    pub(crate) sa: IkeSa,
    until: Instant,
    reason: DownReason,
}

impl Closing {
    /// Gives everything back but the IKE SA and sends the Delete as soon as the window allows.
    pub(crate) fn begin(cx: &mut Cx<'_>, id: SessionId, sa: IkeSa, reason: DownReason) -> State {
        cx.release_resources(id, reason);
        let closing = Box::new(Closing { sa, delete_sent: false, reason });
        closing.send_delete(cx)
    }

    fn send_delete(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        if self.delete_sent || self.sa.is_waiting() {
            return State::Closing(self);
        }
        match self.sa.request(cx, ExchangeType::Informational, vec![Payload::Delete(Delete::Ike)]) {
            Ok(()) => {
                self.delete_sent = true;
                State::Closing(self)
            }
            Err(error) => {
                cx.count(error.counter());
                State::Ended(self.reason)
            }
        }
    }

    pub(crate) fn on_arrival(mut self: Box<Self>, cx: &mut Cx<'_>, arrival: Arrival) -> State {
        match arrival {
            // A delete of both sides at once, or a last liveness check, is answered as usual; what would begin something is
            // refused (RFC 7296 §2.25.2).
            Arrival::Request(_) | Arrival::BadRequest(_) => {
                let begins = matches!(&arrival, Arrival::Request(message)
                    if message.header.exchange == ExchangeType::CreateChildSa);
                let refusal = Payload::Notify(Notify::new(NotifyType::TemporaryFailure));
                let answer = if begins { vec![refusal] } else { Vec::new() };
                if let Err(error) = self.sa.respond(cx, answer) {
                    cx.count(error.counter());
                    return State::Ended(self.reason);
                }
                if arrival.deletes_ike() {
                    self.sa.abandon_request();
                    return Farewell::last(cx, self.sa, self.reason);
                }
                State::Closing(self)
            }
            Arrival::Response(_) | Arrival::BadResponse(_) if self.delete_sent => State::Ended(self.reason),
            Arrival::Response(_) | Arrival::BadResponse(_) => self.send_delete(cx),
        }
    }

    pub(crate) fn on_timer(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        match self.sa.on_timer(cx) {
            Resent::NotDue | Resent::Sent => State::Closing(self),
            Resent::Exhausted => State::Ended(self.reason),
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<(Instant, WakeReason)> {
        self.sa.resend_at().map(|at| (at, WakeReason::Retransmit))
    }
}

impl Farewell {
    /// Gives everything back but the IKE SA.
    pub(crate) fn begin(cx: &mut Cx<'_>, id: SessionId, sa: IkeSa, reason: DownReason) -> State {
        cx.release_resources(id, reason);
        Farewell::last(cx, sa, reason)
    }

    /// When everything else is given back already.
    fn last(cx: &Cx<'_>, sa: IkeSa, reason: DownReason) -> State {
        State::Farewell(Box::new(Farewell { sa, until: cx.now.plus_millis(FAREWELL_MS), reason }))
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// The client gives up too, or deletes what is gone.
    pub(crate) fn on_request(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        if let Err(error) = self.sa.respond(cx, Vec::new()) {
            cx.count(error.counter());
            return State::Ended(self.reason);
        }
        State::Farewell(self)
    }

    pub(crate) fn on_timer(self: Box<Self>, cx: &mut Cx<'_>) -> State {
        if self.until <= cx.now { State::Ended(self.reason) } else { State::Farewell(self) }
    }
}
