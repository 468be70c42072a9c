//! A session's state machine: the states, and which exchange each of them takes (drawn in `docs/ike.md`).
//!
//! Enters: one stimulus (message, job result, timer, command). Leaves: the next state; a transition consumes the one
//! before. Each state owns only what is true in it.

use std::fmt;

use crate::api::{DownReason, Fragmentation, JobId, JobResult, SessionId, WakeReason};
use crate::error::IkeError;
use crate::established::Established;
use crate::exchange::{
    admission, closing::Closing, closing::Farewell, eap, ike_auth, ike_sa_init::KeyExchange, intermediate,
    session_resume, ticket,
};
use crate::sa::{IkeSa, Received};
use crate::time::Instant;
use crate::wire::{Delete, ExchangeType, Message, Payload, WireError};
use crate::world::Cx;

/// One session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) state: State,
}

/// What is true of a session.
pub(crate) enum State {
    /// IKE_SA_INIT was accepted; the key exchange runs.
    KeyExchange(Box<KeyExchange>),
    /// An additional key exchange is expected.
    AwaitIntermediate(Box<intermediate::AwaitIntermediate>),
    /// Its secret is being made.
    Encapsulating(Box<intermediate::Encapsulating>),
    /// IKE_SESSION_RESUME came; what its ticket was given for is looked up.
    TicketLookup(Box<session_resume::TicketLookup>),
    /// The keys are made; the first IKE_AUTH request is expected.
    AwaitAuth(Box<ike_auth::AwaitAuth>),
    /// The client authenticates by PSK; its key is looked up.
    PskLookup(Box<ike_auth::PskLookup>),
    /// The client authenticates by certificate, which is being verified.
    CertificateCheck(Box<ike_auth::CertificateCheck>),
    /// The client is authenticated; our signature is being made.
    CertificateSign(Box<ike_auth::CertificateSign>),
    /// The client wants EAP; our signature is being made.
    EapSign(Box<eap::EapSign>),
    /// AAA works on the next EAP packet.
    EapServer(Box<eap::EapServer>),
    /// The client works on its EAP response.
    EapClient(Box<eap::EapClient>),
    /// EAP has succeeded; the client's AUTH under the MSK is expected.
    EapFinalAuth(Box<eap::EapFinalAuth>),
    /// Authenticated; an inner address is being leased.
    Addressing(Box<admission::Addressing>),
    /// Authenticated; the first Child SA is being installed.
    Installing(Box<admission::Installing>),
    /// Authenticated; the ticket that the client asked for is being made.
    Ticketing(Box<ticket::Ticketing>),
    /// Up.
    Established(Box<Established>),
    /// We delete it and wait for the peer's answer; nothing but the IKE SA is left.
    Closing(Box<Closing>),
    /// Over; only retransmissions of the peer's last request are still answered.
    Farewell(Box<Farewell>),
    /// Over.
    Ended(DownReason),
}

/// The states' names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum StateName {
    KeyExchange,
    AwaitIntermediate,
    Encapsulating,
    TicketLookup,
    AwaitAuth,
    PskLookup,
    CertificateCheck,
    CertificateSign,
    EapSign,
    EapServer,
    EapClient,
    EapFinalAuth,
    Addressing,
    Installing,
    Ticketing,
    Established,
    Closing,
    Farewell,
    Ended,
}

impl StateName {
    /// The states that may follow; a session also stays where it is. Checked in debug builds at every step.
    pub(crate) const fn next(self) -> &'static [StateName] {
        use StateName::{
            Addressing, AwaitAuth, AwaitIntermediate, CertificateCheck, CertificateSign, Closing, EapClient,
            EapFinalAuth, EapServer, EapSign, Encapsulating, Ended, Established, Farewell, Installing,
            KeyExchange, PskLookup, TicketLookup, Ticketing,
        };
        match self {
            KeyExchange => &[AwaitIntermediate, AwaitAuth, Ended],
            AwaitIntermediate => &[Encapsulating, Farewell, Ended],
            Encapsulating => &[AwaitIntermediate, AwaitAuth, Farewell, Ended],
            TicketLookup => &[AwaitAuth, Ended],
            AwaitAuth => {
                &[PskLookup, CertificateCheck, EapSign, EapServer, Addressing, Established, Farewell, Ended]
            }
            PskLookup => &[CertificateSign, Addressing, Installing, Established, Farewell, Ended],
            CertificateSign | EapFinalAuth => &[Addressing, Installing, Established, Farewell, Ended],
            CertificateCheck => &[CertificateSign, Farewell, Ended],
            EapSign => &[EapServer, Farewell, Ended],
            EapServer => &[EapClient, EapFinalAuth, Farewell, Ended],
            EapClient => &[EapServer, Farewell, Ended],
            Addressing => &[Installing, Ticketing, Established, Farewell, Ended],
            Installing => &[Ticketing, Established, Farewell, Ended],
            Ticketing => &[Established, Farewell, Ended],
            Established => &[Closing, Farewell, Ended],
            Closing => &[Farewell, Ended],
            Farewell => &[Ended],
            Ended => &[],
        }
    }

    /// Whether a message of this exchange may reach a session in this state. Everything else is dropped and counted
    /// before it is opened: an exchange that needs an authenticated peer has no code path before authentication.
    pub(crate) fn allows(self, exchange: ExchangeType, is_response: bool) -> bool {
        use ExchangeType::{CreateChildSa, IkeAuth, IkeFollowupKe, IkeIntermediate, Informational};
        match self {
            StateName::AwaitIntermediate => (exchange, is_response) == (IkeIntermediate, false),
            StateName::AwaitAuth => (exchange, is_response) == (IkeAuth, false),
            // The client may give up (RFC 7296 §2.21.2), which ends only its own attempt.
            StateName::EapClient | StateName::EapFinalAuth => {
                matches!((exchange, is_response), (IkeAuth | Informational, false))
            }
            StateName::Established => matches!(exchange, CreateChildSa | Informational | IkeFollowupKe),
            // Also the answer to whatever we had asked before we began to close.
            StateName::Closing => {
                matches!(exchange, Informational | CreateChildSa)
                    || (exchange, is_response) == (IkeFollowupKe, true)
            }
            StateName::Farewell => (exchange, is_response) == (Informational, false),
            StateName::KeyExchange
            | StateName::TicketLookup
            | StateName::Ticketing
            | StateName::Encapsulating
            | StateName::PskLookup
            | StateName::CertificateCheck
            | StateName::CertificateSign
            | StateName::EapSign
            | StateName::EapServer
            | StateName::Addressing
            | StateName::Installing
            | StateName::Ended => false,
        }
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What arrived, opened.
pub(crate) enum Arrival {
    Request(Message),
    BadRequest(WireError),
    Response(Message),
    BadResponse(WireError),
}

impl Arrival {
    /// Whether it is a request that deletes its IKE SA.
    pub(crate) fn deletes_ike(&self) -> bool {
        let Arrival::Request(message) = self else { return false };
        message.payloads.iter().any(|payload| matches!(payload, Payload::Delete(Delete::Ike)))
    }
}

impl Session {
    /// A datagram with one of this session's SPIs arrived.
    pub(crate) fn on_datagram(
        mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        datagram: &crate::api::Datagram,
    ) -> Session {
        let name = self.state.name();
        let Some(sa) = self.state.sa_mut(local_spi) else {
            cx.count(crate::counters::IkeCounter::DropBusy);
            return self;
        };
        let received = sa.receive(cx, datagram, |exchange, is_response| name.allows(exchange, is_response));
        let arrival = match received {
            Received::Dropped(counter) => {
                cx.count(counter);
                return self;
            }
            Received::AnsweredAgain | Received::Collected => {
                self.state.note_alive(cx.now);
                return self;
            }
            Received::Request(message) => Arrival::Request(message),
            Received::BadRequest(error) => Arrival::BadRequest(error),
            Received::Response(message) => Arrival::Response(message),
            Received::BadResponse(error) => Arrival::BadResponse(error),
        };
        self.state.note_alive(cx.now);
        self.state = self.state.on_arrival(cx, local_spi, arrival, crate::sa::Path::of(datagram));
        self
    }

    /// A job of this session ended.
    pub(crate) fn on_job(mut self, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> Session {
        self.state = match self.state {
            State::KeyExchange(state) => state.on_job(cx, job, result),
            State::TicketLookup(state) => state.on_job(cx, job, result),
            State::Ticketing(state) => state.on_job(cx, job, result),
            State::Encapsulating(state) => state.on_job(cx, job, result),
            State::PskLookup(state) => state.on_job(cx, job, result),
            State::CertificateCheck(state) => state.on_job(cx, job, result),
            State::CertificateSign(state) => state.on_job(cx, job, result),
            State::EapSign(state) => state.on_job(cx, job, result),
            State::EapServer(state) => state.on_job(cx, job, result),
            State::Addressing(state) => state.on_job(cx, job, result),
            State::Installing(state) => state.on_job(cx, job, result),
            State::Established(state) => state.on_job(cx, job, result),
            state @ (State::AwaitIntermediate(_)
            | State::AwaitAuth(_)
            | State::EapClient(_)
            | State::EapFinalAuth(_)
            | State::Closing(_)
            | State::Farewell(_)
            | State::Ended(_)) => state,
        };
        self
    }

    /// The clock reached [`State::next_wakeup`].
    pub(crate) fn on_timer(mut self, cx: &mut Cx<'_>) -> Session {
        self.state = match self.state {
            State::Established(state) => state.on_timer(cx),
            State::Closing(state) => state.on_timer(cx),
            State::Farewell(state) => state.on_timer(cx),
            State::Ended(reason) => State::Ended(reason),
            state => match state.handshake_deadline() {
                Some(deadline) if deadline <= cx.now => {
                    ike_auth::report_failure(
                        cx,
                        self.id,
                        state.peer(),
                        state.identity(),
                        IkeError::HandshakeTimeout,
                    );
                    State::Ended(DownReason::PeerDead)
                }
                _ => state,
            },
        };
        self
    }

    /// Ends the session from our side, telling the peer if it is up.
    pub(crate) fn delete(mut self, cx: &mut Cx<'_>, reason: DownReason) -> Session {
        self.state = match self.state {
            State::Established(state) => state.delete(cx, reason),
            state @ (State::Closing(_) | State::Farewell(_) | State::Ended(_)) => state,
            _ => State::Ended(reason),
        };
        self
    }
}

impl State {
    pub(crate) fn name(&self) -> StateName {
        match self {
            State::KeyExchange(_) => StateName::KeyExchange,
            State::TicketLookup(_) => StateName::TicketLookup,
            State::Ticketing(_) => StateName::Ticketing,
            State::AwaitIntermediate(_) => StateName::AwaitIntermediate,
            State::Encapsulating(_) => StateName::Encapsulating,
            State::AwaitAuth(_) => StateName::AwaitAuth,
            State::PskLookup(_) => StateName::PskLookup,
            State::CertificateCheck(_) => StateName::CertificateCheck,
            State::CertificateSign(_) => StateName::CertificateSign,
            State::EapSign(_) => StateName::EapSign,
            State::EapServer(_) => StateName::EapServer,
            State::EapClient(_) => StateName::EapClient,
            State::EapFinalAuth(_) => StateName::EapFinalAuth,
            State::Addressing(_) => StateName::Addressing,
            State::Installing(_) => StateName::Installing,
            State::Established(_) => StateName::Established,
            State::Closing(_) => StateName::Closing,
            State::Farewell(_) => StateName::Farewell,
            State::Ended(_) => StateName::Ended,
        }
    }

    /// When [`Session::on_timer`] has something to do.
    pub(crate) fn next_wakeup(&self) -> Option<(Instant, WakeReason)> {
        match self {
            State::Established(state) => state.next_wakeup(),
            State::Closing(state) => state.next_wakeup(),
            State::Farewell(state) => Some((state.until(), WakeReason::Linger)),
            State::Ended(_) => None,
            state => state.handshake_deadline().map(|at| (at, WakeReason::HalfOpenTimeout)),
        }
    }

    fn on_arrival(self, cx: &mut Cx<'_>, local_spi: u64, arrival: Arrival, from: crate::sa::Path) -> State {
        match (self, arrival) {
            (State::AwaitIntermediate(state), Arrival::Request(message)) => {
                state.on_request(cx, &message, from)
            }
            (State::AwaitIntermediate(state), Arrival::BadRequest(error)) => {
                state.hs.refuse(cx, error.into())
            }
            (State::AwaitAuth(state), Arrival::Request(message)) => state.on_request(cx, message, from),
            (State::AwaitAuth(state), Arrival::BadRequest(error)) => state.hs.refuse(cx, error.into()),
            (State::EapClient(state), Arrival::Request(message)) => state.on_request(cx, message, from),
            (State::EapClient(state), Arrival::BadRequest(error)) => state.talk.hs.refuse(cx, error.into()),
            (State::EapFinalAuth(state), Arrival::Request(message)) => state.on_request(cx, message, from),
            (State::EapFinalAuth(state), Arrival::BadRequest(error)) => {
                state.talk.hs.refuse(cx, error.into())
            }
            (State::Established(state), arrival) => state.on_arrival(cx, local_spi, arrival, from),
            (State::Closing(state), arrival) => state.on_arrival(cx, arrival),
            (State::Farewell(state), Arrival::Request(_) | Arrival::BadRequest(_)) => state.on_request(cx),
            (state, _) => {
                // `StateName::allows` lets nothing else through.
                cx.count(IkeError::Bug("a message without a state").counter());
                state
            }
        }
    }

    /// How messages of the IKE SA with this SPI are cut.
    pub(crate) fn fragmentation(&mut self, local_spi: u64) -> Fragmentation {
        self.sa_mut(local_spi).map(|sa| sa.fragmentation).unwrap_or_default()
    }

    pub(crate) fn sa_mut(&mut self, local_spi: u64) -> Option<&mut IkeSa> {
        let sa = match self {
            State::KeyExchange(_) | State::TicketLookup(_) | State::Ended(_) => return None,
            State::AwaitIntermediate(state) => &mut state.hs.sa,
            State::Encapsulating(state) => &mut state.hs.sa,
            State::AwaitAuth(state) => &mut state.hs.sa,
            State::PskLookup(state) => &mut state.hs.sa,
            State::CertificateCheck(state) => &mut state.hs.sa,
            State::CertificateSign(state) => &mut state.hs.sa,
            State::EapSign(state) => &mut state.hs.sa,
            State::EapServer(state) => &mut state.talk.hs.sa,
            State::EapClient(state) => &mut state.talk.hs.sa,
            State::EapFinalAuth(state) => &mut state.talk.hs.sa,
            State::Addressing(state) => &mut state.admission.hs.sa,
            State::Installing(state) => &mut state.admission.hs.sa,
            State::Ticketing(state) => &mut state.admission.hs.sa,
            State::Established(state) => return state.sa_mut(local_spi),
            State::Closing(state) => &mut state.sa,
            State::Farewell(state) => &mut state.sa,
        };
        (sa.local_spi() == local_spi).then_some(sa)
    }

    fn note_alive(&mut self, now: Instant) {
        if let State::Established(state) = self {
            state.note_alive(now);
        }
    }

    /// Our answer to IKE_SA_INIT, for who repeats the request and has not gone on.
    pub(crate) fn init_response(&self) -> Option<&[u8]> {
        match self {
            State::AwaitIntermediate(state) => Some(&state.hs.response),
            State::AwaitAuth(state) => Some(&state.hs.response),
            _ => None,
        }
    }

    fn handshake(&self) -> Option<&ike_auth::Handshake> {
        match self {
            State::AwaitIntermediate(state) => Some(&state.hs),
            State::Encapsulating(state) => Some(&state.hs),
            State::AwaitAuth(state) => Some(&state.hs),
            State::PskLookup(state) => Some(&state.hs),
            State::CertificateCheck(state) => Some(&state.hs),
            State::CertificateSign(state) => Some(&state.hs),
            State::EapSign(state) => Some(&state.hs),
            State::EapServer(state) => Some(&state.talk.hs),
            State::EapClient(state) => Some(&state.talk.hs),
            State::EapFinalAuth(state) => Some(&state.talk.hs),
            State::Addressing(state) => Some(&state.admission.hs),
            State::Installing(state) => Some(&state.admission.hs),
            State::Ticketing(state) => Some(&state.admission.hs),
            State::KeyExchange(_)
            | State::TicketLookup(_)
            | State::Established(_)
            | State::Closing(_)
            | State::Farewell(_)
            | State::Ended(_) => None,
        }
    }

    fn handshake_deadline(&self) -> Option<Instant> {
        match self {
            State::KeyExchange(state) => Some(state.deadline()),
            State::TicketLookup(state) => Some(state.deadline()),
            state => state.handshake().map(|hs| hs.deadline),
        }
    }

    fn peer(&self) -> std::net::IpAddr {
        match self {
            State::KeyExchange(state) => state.peer(),
            State::TicketLookup(state) => state.peer(),
            state => state.handshake().map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |hs| hs.sa.path.peer),
        }
    }

    fn identity(&self) -> Option<String> {
        let applicant = match self {
            State::PskLookup(state) => &state.applicant,
            State::CertificateCheck(state) => &state.applicant,
            State::CertificateSign(state) => &state.applicant,
            State::EapSign(state) => &state.applicant,
            State::EapServer(state) => &state.talk.applicant,
            State::EapClient(state) => &state.talk.applicant,
            State::EapFinalAuth(state) => &state.talk.applicant,
            State::Addressing(state) => &state.admission.applicant,
            State::Installing(state) => &state.admission.applicant,
            State::Ticketing(state) => &state.admission.applicant,
            _ => return None,
        };
        Some(applicant.id_i.identity.to_string())
    }
}
