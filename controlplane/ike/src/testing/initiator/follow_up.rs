//! The test initiator's rekeys of the IKE SA once the first key exchange is done: additional ones in IKE_FOLLOWUP_KE
//! (RFC 9370 §2.2.4), from either side, then the new IKE SA.

use super::*;
use crate::crypto::encapsulate;
use crate::suite::IkeChoice;

/// A rekey of the IKE SA, of either side, after its CREATE_CHILD_SA exchange.
pub(super) struct RekeyedIke {
    choice: IkeChoice,
    /// Initiator's and responder's.
    spis: (IkeSpi, IkeSpi),
    role: Role,
    ni: Nonce,
    nr: Nonce,
    shared: SharedSecret,
    additional: Vec<SharedSecret>,
    link: Vec<u8>,
}

impl RekeyedIke {
    pub(super) fn new(
        choice: IkeChoice,
        spis: (IkeSpi, IkeSpi),
        role: Role,
        (ni, nr): (Nonce, Nonce),
        shared: SharedSecret,
        message: &Message,
    ) -> RekeyedIke {
        RekeyedIke { choice, spis, role, ni, nr, shared, additional: Vec::new(), link: link(message) }
    }

    /// The mechanism of the next additional key exchange.
    fn next_kem(&self) -> Option<Kem> {
        self.choice.suite.kems.get(self.additional.len())
    }
}

impl Initiator {
    /// Goes on with the next additional key exchange of our rekey, or ends it.
    pub(super) fn follow_up(&mut self, at: usize, made: RekeyedIke) -> Result<Vec<Outgoing>, TestError> {
        let Some(kem) = made.next_kem() else { return self.finish_ike(at, made) };
        let (data, private) = KemPrivate::generate(kem).map_err(|_| TestError::Crypto)?;
        let payloads = vec![Payload::Ke(Ke { group: kem.number(), data }), link_notify(&made.link)];
        let payloads = (self.config.arrange)(ExchangeType::IkeFollowupKe, payloads);
        let about = About::FollowUp { private, made: Box::new(made) };
        self.request(at, ExchangeType::IkeFollowupKe, payloads, about)
    }

    pub(super) fn on_follow_up(
        &mut self,
        at: usize,
        private: &KemPrivate,
        mut made: RekeyedIke,
        message: &Message,
    ) -> Result<Vec<Outgoing>, TestError> {
        if let Some(error) = message.error_notify() {
            self.notable.push_back(Notable::Refused(error.kind));
            return Ok(Vec::new());
        }
        let ke = message.ke().ok_or(TestError::Answer("no KE"))?;
        made.additional.push(private.decapsulate(&ke.data).map_err(|_| TestError::Crypto)?);
        made.link = link(message);
        self.follow_up(at, made)
    }

    /// The gateway's next additional key exchange.
    pub(super) fn answer_follow_up(
        &mut self,
        at: usize,
        message: &Message,
    ) -> Result<Vec<Outgoing>, TestError> {
        let made = self.gateways_rekey.take().filter(|made| made.link == link(message));
        let Some(mut made) = made else {
            let notify = Payload::Notify(Notify::new(NotifyType::StateNotFound));
            return self.answer(at, message, vec![notify]);
        };
        let kem = made.next_kem().ok_or(TestError::Wire)?;
        let ke = message.ke().filter(|ke| ke.group == kem.number()).ok_or(TestError::Wire)?;
        let (data, shared) = encapsulate(kem, &ke.data).map_err(|_| TestError::Crypto)?;
        made.additional.push(shared);
        let payloads = vec![Payload::Ke(Ke { group: kem.number(), data })];
        self.go_on_with_gateways_rekey(at, message, *made, payloads)
    }

    /// Answers, and makes the new IKE SA if no additional key exchange is left.
    pub(super) fn go_on_with_gateways_rekey(
        &mut self,
        at: usize,
        message: &Message,
        mut made: RekeyedIke,
        mut payloads: Vec<Payload>,
    ) -> Result<Vec<Outgoing>, TestError> {
        if made.next_kem().is_some() {
            made.link = octets::<4>(&mut *self.random)?.to_vec();
            payloads.push(link_notify(&made.link));
            self.gateways_rekey = Some(Box::new(made));
            return self.answer(at, message, payloads);
        }
        let new = self.new_sa(at, &made)?;
        if matches!(&self.pending, Some(Pending { about: About::Ike { .. } | About::FollowUp { .. }, .. })) {
            self.rivals.push((Rekeyed::Ike, made.ni.min(made.nr)));
        }
        let answer = self.answer(at, message, payloads);
        self.sas.push(new);
        self.notable.push_back(Notable::IkeRekeyed);
        answer
    }

    fn new_sa(&self, at: usize, made: &RekeyedIke) -> Result<ClientSa, TestError> {
        let old = self.sas.get(at).ok_or(TestError::State("no IKE SA"))?;
        let (initiator_spi, responder_spi) = made.spis;
        let (initiator_nonce, responder_nonce) = (&made.ni, &made.nr);
        let values = ExchangeValues { initiator_nonce, responder_nonce, initiator_spi, responder_spi };
        let suite = made.choice.suite;
        let keys = IkeKeys::rekeyed(&old.keys, suite, &made.shared, &made.additional, &values);
        let keys = keys.map_err(|_| TestError::Crypto)?;
        ClientSa::new(initiator_spi, responder_spi, made.role, keys, 0, (old.fragment, old.cisco))
    }

    fn finish_ike(&mut self, at: usize, made: RekeyedIke) -> Result<Vec<Outgoing>, TestError> {
        let new = self.new_sa(at, &made)?;
        let lowest = made.ni.min(made.nr);
        self.notable.push_back(Notable::IkeRekeyed);
        let delete = vec![Payload::Delete(Delete::Ike)];
        if self.lost(Rekeyed::Ike, &lowest) {
            // The gateway's, made meanwhile, stays the newest.
            let at = self.current()?;
            self.sas.insert(at, new);
            return self.request(at, ExchangeType::Informational, delete, About::DeleteOld);
        }
        let delete = self.request(at, ExchangeType::Informational, delete, About::DeleteOld);
        self.sas.push(new);
        delete
    }
}

/// The link to the next additional key exchange; none in the last answer.
fn link(message: &Message) -> Vec<u8> {
    message.notify(NotifyType::AdditionalKeyExchange).map(|notify| notify.data.clone()).unwrap_or_default()
}

fn link_notify(link: &[u8]) -> Payload {
    Payload::Notify(Notify::with_data(NotifyType::AdditionalKeyExchange, link.to_vec()))
}
