//! IKE_SA_INIT as responder (RFC 7296 §1.2, §2.6, §2.23; RFC 7383 §2.3; RFC 7427 §4; RFC 9242 §3.1).
//!
//! Enters: a clear request from anybody. Leaves: nothing held and a stateless answer (COOKIE, INVALID_KE_PAYLOAD,
//! NO_PROPOSAL_CHOSEN), or a new session whose key exchange runs as a job, then the answer.

use std::net::IpAddr;

use crate::api::{Datagram, DownReason, Fragmentation, IkeSpis, JobId, JobKind, JobResult};
use crate::cert::SIGNATURE_HASHES;
use crate::cisco::{self, Announced};
use crate::counters::IkeCounter;
use crate::crypto::{IkeKeys, SharedSecret, nat_detection_hash};
use crate::error::IkeError;
use crate::exchange::ike_auth::{Handshake, report_failure};
use crate::exchange::opening::{Opening, admit, childless_supported, fresh_nonce, refuse};
use crate::exchange::{intermediate, redirect};
use crate::job::{PublicKeyJob, PublicKeyResult};
use crate::policy::Redirected;
use crate::ppk::PpkUse;
use crate::sa::{Nat, Path};
use crate::state::{Session, State};
use crate::suite::{IkeChoice, IkeStage, SelectError, select_ike};
use crate::time::Instant;
use crate::wire::{
    ExchangeType, Header, IkeSpi, Ke, Message, Nonce, Notify, NotifyType, Payload, Sa, SignatureHash, rules,
};
use crate::world::{Cx, FirstRequest};

/// IKE_SA_INIT was accepted; the key exchange runs.
pub(crate) struct KeyExchange {
    opening: Opening,
    job: JobId,
    choice: IkeChoice,
    extensions: Extensions,
}

/// What the initiator announced.
struct Extensions {
    /// `None` when it sent no NAT detection: then NAT traversal is not to be used.
    nat: Option<Nat>,
    fragmentation: Fragmentation,
    peer_hashes: Option<Vec<SignatureHash>>,
    announced: Announced,
    ppk: PpkUse,
    redirect: bool,
}

/// The payloads of a legal request.
struct Request<'a> {
    sa: &'a Sa,
    ke: &'a Ke,
    ni: &'a Nonce,
}

/// Handles a request that repeats none of a session. Returns the new session, if one begins.
pub(crate) fn begin(
    cx: &mut Cx<'_>,
    datagram: &Datagram,
    message: &Message,
    key: FirstRequest,
) -> Option<Session> {
    if let Err(error) = rules::check(message, false) {
        cx.count(IkeCounter::DropMalformed);
        refuse(cx, datagram, message, Notify::new(error.notify()));
        return None;
    }
    let (Some(sa), Some(ke), Some(ni)) = (message.sa(), message.ke(), message.nonce()) else {
        cx.count(IkeCounter::DropMalformed);
        return None;
    };
    let request = Request { sa, ke, ni };
    if !admit(cx, datagram, message, request.ni) {
        return None;
    }
    if let Some(notify) = redirect::of_newcomer(cx, message, request.ni, Redirected::All) {
        cx.count(IkeCounter::Redirects);
        refuse(cx, datagram, message, notify);
        return None;
    }
    let additional_kes = message.notify(NotifyType::IntermediateExchangeSupported).is_some();
    let stage = IkeStage::Initial { additional_kes };
    let choice = match select_ike(&cx.world.config.ike_proposals, request.sa, request.ke.group, stage) {
        Ok(choice) => choice,
        Err(SelectError::InvalidKe { wanted }) => {
            cx.count(IkeCounter::InvalidKe);
            refuse(cx, datagram, message, Notify::invalid_ke(wanted.number()));
            return None;
        }
        Err(SelectError::NoProposalChosen) => {
            cx.count(IkeCounter::IkeNoProposal);
            refuse(cx, datagram, message, Notify::new(NotifyType::NoProposalChosen));
            return None;
        }
    };
    if request.ke.data.len() != choice.suite.group.public_len() {
        cx.count(IkeCounter::DropMalformed);
        refuse(cx, datagram, message, Notify::new(NotifyType::InvalidSyntax));
        return None;
    }
    start(cx, datagram, message, request, choice, key)
}

fn start(
    cx: &mut Cx<'_>,
    datagram: &Datagram,
    message: &Message,
    request: Request<'_>,
    choice: IkeChoice,
    key: FirstRequest,
) -> Option<Session> {
    let opening = Opening::begin(cx, datagram, message, request.ni, key)?;
    let announced = Announced::read(message);
    let extensions = Extensions {
        nat: detect_nat(message, opening.path),
        fragmentation: if message.notify(NotifyType::FragmentationSupported).is_some() {
            Fragmentation::Ietf
        } else if announced.fragmentation && cx.world.config.cisco.fragmentation {
            Fragmentation::Cisco
        } else {
            Fragmentation::None
        },
        peer_hashes: message
            .notify(NotifyType::SignatureHashAlgorithms)
            .map(|notify| notify.hash_list().collect()),
        announced,
        ppk: cx.world.config.ppk.announced(message),
        redirect: redirect::is_supported(message),
    };
    let job = cx.job(
        opening.id,
        JobKind::PublicKey(Box::new(PublicKeyJob::Respond {
            group: choice.suite.group,
            peer_public: request.ke.data.clone(),
        })),
    );
    let id = opening.id;
    let state = KeyExchange { opening, job, choice, extensions };
    Some(Session { id, state: State::KeyExchange(Box::new(state)) })
}

/// Compares the NAT detection hashes with what we see (RFC 7296 §2.23); several sources may be named, one must fit. `None`
/// when there are none.
pub(crate) fn detect_nat(message: &Message, path: Path) -> Option<Nat> {
    let Header { initiator_spi, responder_spi, .. } = message.header;
    let hash = |address: IpAddr, port| nat_detection_hash(initiator_spi, responder_spi, address, port);
    let all = |kind| message.notifies().filter(move |notify| notify.kind == kind);
    let destination = message.notify(NotifyType::NatDetectionDestinationIp)?;
    all(NotifyType::NatDetectionSourceIp).next()?;
    let source = hash(path.peer, path.peer_port);
    Some(Nat {
        traversal: true,
        peer_behind: !all(NotifyType::NatDetectionSourceIp).any(|notify| notify.data == source),
        local_behind: destination.data != hash(path.local, path.local_port),
    })
}

/// The NAT detection of an answer: where it comes from, and where it goes to.
pub(crate) fn nat_detection(spis: IkeSpis, path: Path) -> [Payload; 2] {
    let (initiator, responder) = (IkeSpi(spis.initiator), IkeSpi(spis.responder));
    let hash = |address, port| nat_detection_hash(initiator, responder, address, port);
    let notify = |kind, data| Payload::Notify(Notify::with_data(kind, data));
    [
        notify(NotifyType::NatDetectionSourceIp, hash(path.local, path.local_port)),
        notify(NotifyType::NatDetectionDestinationIp, hash(path.peer, path.peer_port)),
    ]
}

impl KeyExchange {
    pub(crate) fn deadline(&self) -> Instant {
        self.opening.deadline
    }

    pub(crate) fn peer(&self) -> IpAddr {
        self.opening.path.peer
    }

    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::KeyExchange(self);
        }
        let (id, peer) = (self.opening.id, self.opening.path.peer);
        let answered = match result {
            JobResult::PublicKey(PublicKeyResult::Responded(Ok((public, shared)))) => {
                self.answer(cx, public, &shared)
            }
            JobResult::PublicKey(PublicKeyResult::Responded(Err(_))) => Err(IkeError::BadKeyExchange),
            _ => Err(IkeError::Unavailable("key exchange")),
        };
        answered.unwrap_or_else(|error| {
            report_failure(cx, id, peer, None, error);
            State::Ended(DownReason::Internal)
        })
    }

    fn answer(
        self: Box<Self>,
        cx: &mut Cx<'_>,
        public: Vec<u8>,
        shared: &SharedSecret,
    ) -> Result<State, IkeError> {
        let KeyExchange { opening, choice, extensions, .. } = *self;
        let nr = fresh_nonce(cx)?;
        let keys = IkeKeys::initial(choice.suite, shared, &opening.values(&nr))
            .map_err(|_| IkeError::Bug("key derivation failed"))?;
        let mut payloads = vec![
            Payload::Sa(choice.answer(&[])),
            Payload::Ke(Ke { group: choice.suite.group.number(), data: public }),
            Payload::Nonce(nr.clone()),
        ];
        if extensions.nat.is_some() {
            payloads.extend(nat_detection(opening.spis, opening.path));
        }
        if cx.world.config.methods.certificate
            && let Some(request) = &cx.world.config.certificate_request
        {
            payloads.push(Payload::CertReq(request.clone()));
        }
        if extensions.fragmentation == Fragmentation::Ietf {
            payloads.push(Payload::Notify(Notify::new(NotifyType::FragmentationSupported)));
        }
        if extensions.peer_hashes.is_some() {
            payloads.push(Payload::Notify(Notify::signature_hashes(&SIGNATURE_HASHES)));
        }
        if extensions.ppk == PpkUse::Announced {
            payloads.push(Payload::Notify(Notify::new(NotifyType::UsePpk)));
        }
        payloads.extend(childless_supported(&cx.world.config));
        if !choice.suite.kems.is_empty() {
            payloads.push(Payload::Notify(Notify::new(NotifyType::IntermediateExchangeSupported)));
        }
        let cut = extensions.fragmentation == Fragmentation::Cisco;
        payloads.extend(cisco::announcement(&cx.world.config.cisco, &extensions.announced, cut));
        let response = opening.response(ExchangeType::IkeSaInit, payloads)?;
        let sa = opening.sa(keys, extensions.nat, extensions.fragmentation)?;
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
            peer_hashes: extensions.peer_hashes,
            announced: extensions.announced,
            ppk: extensions.ppk,
            rsa_pss: false,
            redirect: extensions.redirect,
            local_auth: "psk",
            ticket: None,
        };
        Ok(intermediate::next(hs, 0))
    }
}
