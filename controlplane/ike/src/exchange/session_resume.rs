//! IKE_SESSION_RESUME as responder, and the proof in the IKE_AUTH that follows (RFC 5723 §4.3).
//!
//! Enters: a clear request of anybody with a ticket. Leaves: a stateless answer (COOKIE, TICKET_NACK), or an IKE SA whose keys
//! come from the ticket's, and an [`Admission`] of a client that has proved to hold them.

use std::net::IpAddr;

use crate::api::{Datagram, DownReason, Fragmentation, JobId, JobKind, JobResult};
use crate::api::{TicketAnswer, TicketState};
use crate::cisco::Announced;
use crate::counters::IkeCounter;
use crate::crypto::{IkeKeys, Role, resumption_auth};
use crate::error::IkeError;
use crate::exchange::admission::Admission;
use crate::exchange::authenticated::Authenticated;
use crate::exchange::ike_auth::{Applicant, AwaitAuth, Handshake, report_failure};
use crate::exchange::ike_sa_init::{detect_nat, nat_detection};
use crate::exchange::opening::{Opening, admit, childless_supported, fresh_nonce, refuse};
use crate::exchange::redirect;
use crate::policy::{EndpointConfig, Methods};
use crate::ppk::PpkUse;
use crate::sa::Nat;
use crate::state::{Session, State};
use crate::suite::{IkeSuite, Kem};
use crate::ticket::MAX_TICKET_OCTETS;
use crate::time::Instant;
use crate::wire::{
    Auth, AuthMethod, ExchangeType, Header, IkeSpi, Message, Notify, NotifyType, Payload, PayloadType,
    WireError, rules,
};
use crate::world::{Cx, FirstRequest};

/// The driver looks for what the ticket was given for.
pub(crate) struct TicketLookup {
    opening: Opening,
    job: JobId,
    nat: Option<Nat>,
    fragmentation: Fragmentation,
    announced: Announced,
    redirect: bool,
}

/// Handles a request that repeats none of a session. Returns the new session, if one begins.
pub(crate) fn begin(
    cx: &mut Cx<'_>,
    datagram: &Datagram,
    message: &Message,
    key: FirstRequest,
) -> Option<Session> {
    let checked = rules::check(message, false);
    let ticket = message.notify(NotifyType::TicketOpaque);
    let (Ok(()), Some(ticket), Some(ni)) = (checked, ticket, message.nonce()) else {
        cx.count(IkeCounter::DropMalformed);
        let kind = checked.map_or_else(|error| error.notify(), |()| NotifyType::InvalidSyntax);
        refuse(cx, datagram, message, Notify::new(kind));
        return None;
    };
    if !admit(cx, datagram, message, ni) {
        return None;
    }
    if !cx.world.config.extensions.tickets || ticket.data.len() > MAX_TICKET_OCTETS {
        cx.count(IkeCounter::TicketsRefused);
        refuse(cx, datagram, message, Notify::new(NotifyType::TicketNack));
        return None;
    }
    let opening = Opening::begin(cx, datagram, message, ni, key)?;
    let ietf = message.notify(NotifyType::FragmentationSupported).is_some();
    let job = cx.job(opening.id, JobKind::FindTicket { ticket: ticket.data.clone() });
    let id = opening.id;
    let state = TicketLookup {
        job,
        nat: detect_nat(message, opening.path),
        fragmentation: if ietf { Fragmentation::Ietf } else { Fragmentation::None },
        announced: Announced::read(message),
        redirect: redirect::is_supported(message),
        opening,
    };
    Some(Session { id, state: State::TicketLookup(Box::new(state)) })
}

impl TicketLookup {
    pub(crate) fn deadline(&self) -> Instant {
        self.opening.deadline
    }

    pub(crate) fn peer(&self) -> IpAddr {
        self.opening.path.peer
    }

    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::TicketLookup(self);
        }
        let Opening { id, path, spis, .. } = self.opening;
        let found = match result {
            JobResult::TicketFound(Some(answer)) => {
                check_policy(&cx.world.config, &answer.state).map(|()| answer)
            }
            JobResult::TicketFound(None) => Err(IkeError::Ticket("used, expired, revoked or not ours")),
            _ => Err(IkeError::Unavailable("ticket look-up")),
        };
        found.and_then(|answer| self.answer(cx, answer)).unwrap_or_else(|error| {
            report_failure(cx, id, path.peer, None, error);
            // Whatever the reason, the client is to log in anew (RFC 5723 §4.3.2).
            let header = Header::new(
                IkeSpi(spis.initiator),
                IkeSpi::ZERO,
                ExchangeType::IkeSessionResume,
                false,
                true,
                0,
            );
            let nack = Payload::Notify(Notify::new(NotifyType::TicketNack));
            if let Ok(bytes) = Message::new(header, vec![nack]).emit_clear() {
                cx.transmit(path.datagram(bytes));
            }
            State::Ended(DownReason::PeerMisbehaved)
        })
    }

    fn answer(self, cx: &mut Cx<'_>, ticket: Box<TicketAnswer>) -> Result<State, IkeError> {
        let TicketLookup { opening, nat, fragmentation, announced, redirect, .. } = self;
        let nr = fresh_nonce(cx)?;
        let keys = IkeKeys::resumed(ticket.state.suite, &ticket.state.sk_d(), &opening.values(&nr))
            .map_err(|_| IkeError::Bug("key derivation failed"))?;
        let mut payloads = vec![Payload::Nonce(nr.clone())];
        if nat.is_some() {
            payloads.extend(nat_detection(opening.spis, opening.path));
        }
        if fragmentation == Fragmentation::Ietf {
            payloads.push(Payload::Notify(Notify::new(NotifyType::FragmentationSupported)));
        }
        payloads.extend(childless_supported(&cx.world.config));
        let response = opening.response(ExchangeType::IkeSessionResume, payloads)?;
        let sa = opening.sa(keys, nat, fragmentation)?;
        cx.transmit(opening.path.datagram(response.clone()));
        let Opening { id, started_at, deadline, ni, request, .. } = opening;
        let hs = Handshake {
            id,
            sa,
            started_at,
            deadline,
            ni,
            nr,
            request,
            response,
            peer_hashes: None,
            announced,
            ppk: PpkUse::NotAnnounced,
            rsa_pss: false,
            redirect,
            local_auth: "ticket",
            ticket: Some(ticket),
        };
        Ok(State::AwaitAuth(Box::new(AwaitAuth { hs })))
    }
}

/// What was allowed when the ticket was given may be forbidden now.
fn check_policy(config: &EndpointConfig, state: &TicketState) -> Result<(), IkeError> {
    if state.local_identity != config.identity {
        return Err(IkeError::Ticket("the gateway has another identity now"));
    }
    let IkeSuite { cipher, integ, prf, group, kems } = state.suite;
    // An additional key exchange that the operator asks for by now, and that the old IKE SA did without.
    let lacks = |choices: &Vec<Option<Kem>>| {
        !choices.contains(&None) && !choices.iter().flatten().any(|kem| kems.iter().any(|held| held == *kem))
    };
    let allowed = config.ike_proposals.iter().any(|proposal| {
        proposal.ciphers.contains(&cipher)
            && integ.is_none_or(|integ| proposal.integs.contains(&integ))
            && proposal.prfs.contains(&prf)
            && proposal.groups.contains(&group)
            && !proposal.kems.iter().any(lacks)
    });
    if !allowed {
        return Err(IkeError::Ticket("its algorithms are in no proposal any more"));
    }
    let Methods { eap, anyconnect_eap, certificate, psk, .. } = config.methods;
    let allowed = match state.method.as_str() {
        "psk" => psk,
        "certificate" => certificate,
        method if method.starts_with("anyconnect") => anyconnect_eap,
        _ => eap,
    };
    if allowed { Ok(()) } else { Err(IkeError::Ticket("its method of authentication is switched off")) }
}

/// The client's proof that it holds the keys of its ticket.
pub(crate) fn on_auth(
    cx: &mut Cx<'_>,
    mut hs: Handshake,
    ticket: Box<TicketAnswer>,
    applicant: Applicant,
    message: &Message,
) -> State {
    match check_auth(&hs, &ticket, &applicant, message) {
        Ok(who) => {
            let head = own_auth(&mut hs, cx);
            hs.ticket = Some(ticket);
            Admission { hs, applicant, who, head }.begin(cx)
        }
        Err(error) => hs.refuse_applicant(cx, &applicant, error),
    }
}

fn check_auth(
    hs: &Handshake,
    ticket: &TicketAnswer,
    applicant: &Applicant,
    message: &Message,
) -> Result<Authenticated, IkeError> {
    if message.payloads.iter().any(|payload| matches!(payload, Payload::Cert(_))) {
        return Err(WireError::Unexpected(PayloadType::Cert).into());
    }
    if applicant.id_i.identity != ticket.state.identity {
        return Err(IkeError::Authentication("the ticket is of another identity"));
    }
    if message.id_r().is_some_and(|id_r| id_r.identity != ticket.state.local_identity) {
        return Err(IkeError::IdrMismatch);
    }
    let auth = message.auth().ok_or(WireError::Missing(PayloadType::Auth))?;
    Authenticated::by_ticket(ticket, &hs.sa.keys, &hs.peer_octets(&applicant.id_i), auth)
}

/// IDr and our AUTH.
fn own_auth(hs: &mut Handshake, cx: &Cx<'_>) -> Vec<Payload> {
    let (id_r, octets) = hs.own_octets(cx);
    let mac = resumption_auth(hs.sa.keys.suite.prf, hs.sa.keys.sk_p(Role::Responder), &octets);
    let auth = Auth { method: AuthMethod::SharedKey, data: mac.as_bytes().to_vec() };
    vec![Payload::IdR(id_r), Payload::Auth(auth)]
}
