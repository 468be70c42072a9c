//! IKE_FOLLOWUP_KE: the additional key exchanges of a rekeyed IKE SA (RFC 9370 §2.2.4).
//!
//! Enters: a CREATE_CHILD_SA exchange of either side that agreed on key encapsulation mechanisms, and one exchange for each of
//! them, tied to it by a link that the responder chooses. Leaves: the secrets in their order, of which the new IKE SA is made only
//! when the last is there.

use crate::api::{JobId, JobKind, JobResult};
use crate::counters::IkeCounter;
use crate::crypto::SharedSecret;
use crate::error::IkeError;
use crate::established::{Established, JOB_DEADLINE_MS, PeerRequest, Working};
use crate::exchange::ike_rekey::PeerIkeRekey;
use crate::job::{PublicKeyJob, PublicKeyResult};
use crate::suite::{IkeChoice, Kem};
use crate::time::Instant;
use crate::wire::{Ke, Message, Notify, NotifyType, Payload, PayloadType, WireError};
use crate::world::Cx;

/// Octets of a link: nobody else than its receiver sees it, so it only has to differ from earlier ones.
const LINK_LEN: usize = 16;
/// Milliseconds that a rekey of the peer waits for its next additional key exchange.
const FOLLOW_UP_MS: u64 = 30_000;

/// The secrets of a rekey so far: that of the KE payload, then those of the additional key exchanges.
pub(crate) struct Secrets {
    first: SharedSecret,
    additional: Vec<SharedSecret>,
}

impl Secrets {
    pub(crate) fn new(first: SharedSecret) -> Secrets {
        Secrets { first, additional: Vec::new() }
    }

    pub(crate) fn push(&mut self, secret: SharedSecret) {
        self.additional.push(secret);
    }

    /// The mechanism that comes next; `None` when all secrets are there.
    pub(crate) fn next_kem(&self, choice: &IkeChoice) -> Option<Kem> {
        choice.suite.kems.get(self.additional.len())
    }

    pub(crate) fn parts(&self) -> (&SharedSecret, &[SharedSecret]) {
        (&self.first, &self.additional)
    }
}

/// A rekey of the peer that waits for its next additional key exchange, or for a job of it.
pub(crate) struct PeerFollowUp {
    pub(crate) rekey: PeerIkeRekey,
    pub(crate) secrets: Secrets,
    /// The IKE SA that is rekeyed.
    pub(crate) on_spi: u64,
    link: Vec<u8>,
    until: Instant,
}

/// One of its exchanges, waiting for the encapsulation.
pub(crate) struct PeerKe {
    follow_up: PeerFollowUp,
    kem: Kem,
    job: JobId,
}

impl PeerFollowUp {
    pub(crate) fn until(&self) -> Instant {
        self.until
    }
}

impl PeerKe {
    /// Our SPI of the new IKE SA.
    pub(crate) fn local_spi(&self) -> u64 {
        self.follow_up.rekey.local_spi()
    }

    pub(crate) fn job(&self) -> JobId {
        self.job
    }
}

/// The notify that ties exchanges together.
pub(crate) fn link_notify(link: &[u8]) -> Payload {
    Payload::Notify(Notify::with_data(NotifyType::AdditionalKeyExchange, link.to_vec()))
}

/// The link in a message.
pub(crate) fn link_of(message: &Message) -> Option<&[u8]> {
    message.notify(NotifyType::AdditionalKeyExchange).map(|notify| notify.data.as_slice())
}

impl Established {
    /// The peer's rekey goes on in IKE_FOLLOWUP_KE; returns the notify that says so.
    pub(crate) fn expect_follow_up(
        &mut self,
        cx: &mut Cx<'_>,
        on_spi: u64,
        rekey: PeerIkeRekey,
        secrets: Secrets,
    ) -> Payload {
        // A peer has one rekey of an IKE SA at a time: one before that was never finished.
        self.drop_follow_up(cx);
        let link = cx.random::<LINK_LEN>().to_vec();
        let notify = link_notify(&link);
        let until = cx.now.plus_millis(FOLLOW_UP_MS);
        self.follow_up = Some(Box::new(PeerFollowUp { rekey, secrets, on_spi, link, until }));
        notify
    }

    /// Forgets a rekey of the peer that was not finished.
    pub(crate) fn drop_follow_up(&mut self, cx: &mut Cx<'_>) {
        if let Some(old) = self.follow_up.take() {
            cx.count(IkeCounter::RekeyFailed);
            cx.release_ike_spi(self.id, old.rekey.local_spi());
        }
    }

    /// The peer's next additional key exchange.
    pub(crate) fn on_follow_up(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        message: &Message,
    ) -> Result<(), IkeError> {
        let known = |held: &mut Box<PeerFollowUp>| {
            held.on_spi == local_spi && link_of(message) == Some(held.link.as_slice())
        };
        let follow_up = *self.follow_up.take_if(known).ok_or(IkeError::StateNotFound)?;
        let ke = message.ke().ok_or(WireError::Missing(PayloadType::Ke));
        let kem = follow_up.secrets.next_kem(&follow_up.rekey.choice);
        let (ke, kem) = match (ke, kem) {
            (Ok(ke), Some(kem)) if ke.group == kem.number() => (ke, kem),
            (ke, _) => {
                cx.release_ike_spi(self.id, follow_up.rekey.local_spi());
                ke?;
                return Err(WireError::BadValue { what: "method of an additional key exchange" }.into());
            }
        };
        let work = PublicKeyJob::Encapsulate { kem, peer_key: ke.data.clone() };
        let job = cx.job(self.id, JobKind::PublicKey(Box::new(work)));
        self.working = Some(Working {
            local_spi,
            deadline: cx.now.plus_millis(JOB_DEADLINE_MS),
            what: PeerRequest::FollowUp(Box::new(PeerKe { follow_up, kem, job })),
        });
        Ok(())
    }

    /// Its encapsulation ended.
    pub(crate) fn on_follow_up_job(
        &mut self,
        cx: &mut Cx<'_>,
        on_spi: u64,
        exchange: PeerKe,
        result: JobResult,
    ) -> Result<(), IkeError> {
        let PeerKe { follow_up: PeerFollowUp { rekey, mut secrets, .. }, kem, .. } = exchange;
        let (ciphertext, secret) = match result {
            JobResult::PublicKey(PublicKeyResult::Responded(Ok(done))) => done,
            other => {
                cx.release_ike_spi(self.id, rekey.local_spi());
                let bad = matches!(other, JobResult::PublicKey(PublicKeyResult::Responded(Err(_))));
                return Err(if bad {
                    IkeError::BadKeyExchange
                } else {
                    IkeError::Unavailable("key exchange")
                });
            }
        };
        cx.count(IkeCounter::AdditionalKeyExchanges);
        secrets.push(secret);
        let ke = Payload::Ke(Ke { group: kem.number(), data: ciphertext });
        self.go_on_with_peer_rekey(cx, on_spi, rekey, secrets, vec![ke])
    }
}
