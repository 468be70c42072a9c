//! IKE_INTERMEDIATE as responder (RFC 9242), which here carries additional key exchanges (RFC 9370 §2.2.2).
//!
//! Enters: an answered IKE_SA_INIT that agreed on key encapsulation mechanisms, one request for each. Leaves: an IKE SA whose keys
//! come from all of them, waiting for IKE_AUTH. Nothing here is authenticated before IKE_AUTH, whose AUTH payloads cover it.

use crate::api::{DownReason, JobId, JobKind, JobResult};
use crate::counters::IkeCounter;
use crate::crypto::{ExchangeValues, SharedSecret};
use crate::error::IkeError;
use crate::exchange::ike_auth::{AwaitAuth, Handshake, report_failure};
use crate::job::{PublicKeyJob, PublicKeyResult};
use crate::sa::Path;
use crate::state::State;
use crate::wire::{IkeSpi, Ke, Message, Payload, PayloadType, WireError};
use crate::world::Cx;

/// The next additional key exchange is expected.
pub(crate) struct AwaitIntermediate {
    pub(crate) hs: Handshake,
    /// How many are done.
    done: usize,
}

/// Its secret is being made.
pub(crate) struct Encapsulating {
    pub(crate) hs: Handshake,
    done: usize,
    job: JobId,
}

/// What follows when `done` of the additional key exchanges are done.
pub(crate) fn next(hs: Handshake, done: usize) -> State {
    match hs.sa.keys.suite.kems.get(done) {
        Some(_) => State::AwaitIntermediate(Box::new(AwaitIntermediate { hs, done })),
        None => State::AwaitAuth(Box::new(AwaitAuth { hs })),
    }
}

impl AwaitIntermediate {
    pub(crate) fn on_request(self: Box<Self>, cx: &mut Cx<'_>, message: &Message, from: Path) -> State {
        let AwaitIntermediate { mut hs, done } = *self;
        // From here on the client is on port 4500 if there is a NAT (RFC 9242 §4).
        hs.sa.path = from;
        let Some(kem) = hs.sa.keys.suite.kems.get(done) else {
            return hs.refuse(cx, IkeError::Bug("no additional key exchange is left"));
        };
        let Some(ke) = message.ke() else {
            return hs.refuse(cx, WireError::Missing(PayloadType::Ke).into());
        };
        if ke.group != kem.number() {
            return hs
                .refuse(cx, WireError::BadValue { what: "method of an additional key exchange" }.into());
        }
        let work = PublicKeyJob::Encapsulate { kem, peer_key: ke.data.clone() };
        let job = cx.job(hs.id, JobKind::PublicKey(Box::new(work)));
        State::Encapsulating(Box::new(Encapsulating { hs, done, job }))
    }
}

impl Encapsulating {
    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::Encapsulating(self);
        }
        let Encapsulating { hs, done, .. } = *self;
        match result {
            JobResult::PublicKey(PublicKeyResult::Responded(Ok((ciphertext, shared)))) => {
                answer(cx, hs, done, ciphertext, &shared)
            }
            JobResult::PublicKey(PublicKeyResult::Responded(Err(_))) => {
                hs.refuse(cx, IkeError::BadKeyExchange)
            }
            _ => hs.refuse(cx, IkeError::Unavailable("key exchange")),
        }
    }
}

/// Answers under the keys of the request, then changes to the new ones.
fn answer(
    cx: &mut Cx<'_>,
    mut hs: Handshake,
    done: usize,
    ciphertext: Vec<u8>,
    shared: &SharedSecret,
) -> State {
    let changed = strengthen(cx, &mut hs, done, ciphertext, shared);
    match changed {
        Ok(()) => {
            cx.count(IkeCounter::AdditionalKeyExchanges);
            next(hs, done + 1)
        }
        Err(error) => {
            let (id, peer) = (hs.id, hs.sa.path.peer);
            report_failure(cx, id, peer, None, error);
            State::Ended(DownReason::Internal)
        }
    }
}

fn strengthen(
    cx: &mut Cx<'_>,
    hs: &mut Handshake,
    done: usize,
    ciphertext: Vec<u8>,
    shared: &SharedSecret,
) -> Result<(), IkeError> {
    let kem = hs.sa.keys.suite.kems.get(done).ok_or(IkeError::Bug("no additional key exchange is left"))?;
    hs.sa.respond(cx, vec![Payload::Ke(Ke { group: kem.number(), data: ciphertext })])?;
    let values = ExchangeValues {
        initiator_nonce: &hs.ni,
        responder_nonce: &hs.nr,
        initiator_spi: IkeSpi(hs.sa.spis.initiator),
        responder_spi: IkeSpi(hs.sa.spis.responder),
    };
    let keys = hs.sa.keys.strengthened(shared, &values);
    let keys = keys.map_err(|_| IkeError::Bug("key derivation failed"))?;
    hs.sa.change_keys(keys).map_err(|_| IkeError::Bug("keys do not fit their suite"))
}
