//! Rekeying the IKE SA, by either side, and by both at once (RFC 7296 §1.3.2, §2.8.2, §2.18, §2.25.2).
//!
//! Enters: the user's wish, the gateway's CREATE_CHILD_SA. Leaves: the IKE SA in use, and others that somebody deletes.

use causeway_ike::crypto::{ExchangeValues, IkeKeys, KePrivate, Role, SharedSecret};
use causeway_ike::suite::{IkeStage, IkeSuite, SelectError, accept_ike_answer, select_ike};
use causeway_ike::wire::{ExchangeType, IkeSpi, Ke, Message, Nonce, Notify, NotifyType, Payload, Sa};

use super::established::{Established, IkeSa, Pending, Task};
use super::handshake::{new_nonce, new_private, public};
use super::link::Link;
use super::{ClientConfig, Shared, Wish};

/// Our rekey of the IKE SA, under way.
pub(super) struct IkeRekey {
    spi: IkeSpi,
    nonce: Nonce,
    private: KePrivate,
    /// The gateway's rekey at the same time: the IKE SA it made, and its lowest nonce.
    rival: Option<(Link, Nonce)>,
}

impl Established {
    pub(super) fn start_ike_rekey(&mut self, now_ms: u64, config: &ClientConfig, shared: &mut Shared) {
        let group = self.current.link.keys.suite.group;
        let spi = IkeSpi(shared.rng.bits() | 1);
        let nonce = new_nonce(shared);
        let private = new_private(group, shared);
        let proposals =
            config.ike.iter().zip(1..).map(|(ike, number)| ike.to_wire(number, &spi.to_bytes())).collect();
        let payloads = vec![
            Payload::Sa(Sa { proposals }),
            Payload::Nonce(nonce.clone()),
            Payload::Ke(Ke { group: group.number(), data: public(&private) }),
        ];
        let link = &mut self.current.link;
        let datagrams = link.request(now_ms, ExchangeType::CreateChildSa, payloads, &mut shared.rng);
        shared.send_all(datagrams);
        let rekey = IkeRekey { spi, nonce, private, rival: None };
        self.current.pending = Some(Pending::RekeyIke(Box::new(rekey)));
    }

    pub(super) fn ike_rekeyed(
        &mut self,
        now_ms: u64,
        rekey: IkeRekey,
        answer: &Message,
        config: &ClientConfig,
        shared: &mut Shared,
    ) {
        if answer.error_notify().is_some() {
            if let Some((theirs, _)) = rekey.rival {
                self.replace_current(theirs);
            }
            return;
        }
        let (Some(sa), Some(gateway_nonce), Some(ke)) = (answer.sa(), answer.nonce(), answer.ke()) else {
            shared.fault("CREATE_CHILD_SA for an IKE SA lacks a payload");
            return;
        };
        let choice = accept_ike_answer(&config.ike, sa, true);
        let Some((suite, responder_spi)) = choice.and_then(|choice| Some((choice.suite, choice.peer_spi?)))
        else {
            shared.fault("CREATE_CHILD_SA answers an IKE proposal that was not offered");
            return;
        };
        let Ok(secret) = rekey.private.derive(&ke.data) else {
            shared.fault("CREATE_CHILD_SA with a bad public value");
            return;
        };
        let values = ExchangeValues {
            initiator_nonce: &rekey.nonce,
            responder_nonce: gateway_nonce,
            initiator_spi: rekey.spi,
            responder_spi,
        };
        let Some(ours) = self.new_link(suite, &secret, &values, Role::Initiator) else {
            shared.fault("the key schedule failed");
            return;
        };
        let our_lowest = rekey.nonce.clone().min(gateway_nonce.clone());
        match rekey.rival {
            None => {
                let old = std::mem::replace(&mut self.current, IkeSa::new(ours));
                self.delete_other(now_ms, old, shared);
            }
            // The IKE SA made with the lowest nonce is surplus, and its maker deletes it; the other's maker deletes the old.
            Some((theirs, their_lowest)) if our_lowest < their_lowest => {
                self.replace_current(theirs);
                self.delete_other(now_ms, IkeSa::new(ours), shared);
            }
            Some((theirs, _)) => {
                let old = std::mem::replace(&mut self.current, IkeSa::new(ours));
                self.others.push(IkeSa::new(theirs));
                self.delete_other(now_ms, old, shared);
            }
        }
    }

    pub(super) fn gateway_rekeys_ike(
        &mut self,
        request: &Message,
        config: &ClientConfig,
        shared: &mut Shared,
    ) {
        let header = &request.header;
        let busy = match &self.current.pending {
            Some(Pending::RekeyIke(rekey)) => rekey.rival.is_some(),
            Some(Pending::RekeyChild(_) | Pending::DeleteChild { .. } | Pending::DeleteIke) => true,
            Some(Pending::Liveness | Pending::Mischief) | None => false,
        };
        if busy {
            return self.refuse(header, NotifyType::TemporaryFailure, shared);
        }
        let (Some(sa), Some(gateway_nonce), Some(ke)) = (request.sa(), request.nonce(), request.ke()) else {
            shared.fault("the gateway's rekey of the IKE SA lacks a payload");
            return;
        };
        let choice = match select_ike(&config.ike, sa, ke.group, IkeStage::Rekey) {
            Ok(choice) => choice,
            Err(SelectError::InvalidKe { wanted }) => {
                let payload = Payload::Notify(Notify::invalid_ke(wanted.number()));
                return self.answer(header, vec![payload], shared);
            }
            Err(SelectError::NoProposalChosen) => {
                return self.refuse(header, NotifyType::NoProposalChosen, shared);
            }
        };
        let private = new_private(choice.suite.group, shared);
        let (Some(initiator_spi), Ok(secret)) = (choice.peer_spi, private.derive(&ke.data)) else {
            shared.fault("the gateway's rekey of the IKE SA has a bad SPI or public value");
            return;
        };
        let responder_spi = IkeSpi(shared.rng.bits() | 1);
        let nonce = new_nonce(shared);
        let values = ExchangeValues {
            initiator_nonce: gateway_nonce,
            responder_nonce: &nonce,
            initiator_spi,
            responder_spi,
        };
        let Some(link) = self.new_link(choice.suite, &secret, &values, Role::Responder) else {
            shared.fault("the key schedule failed");
            return;
        };
        let payloads = vec![
            Payload::Sa(choice.answer(&responder_spi.to_bytes())),
            Payload::Nonce(nonce.clone()),
            Payload::Ke(Ke { group: private.group().number(), data: public(&private) }),
        ];
        self.answer(header, payloads, shared);
        let lowest = nonce.min(gateway_nonce.clone());
        match &mut self.current.pending {
            Some(Pending::RekeyIke(ours)) => ours.rival = Some((link, lowest)),
            _ => self.replace_current(link),
        }
        // A wish for what has just been done.
        self.tasks.retain(|task| *task != Task::Wish(Wish::RekeyIke));
    }

    /// The IKE SA that the gateway made while we were making one.
    pub(super) fn take_rival(&mut self) -> Option<Link> {
        match &mut self.current.pending {
            Some(Pending::RekeyIke(rekey)) => rekey.rival.take().map(|(link, _)| link),
            _ => None,
        }
    }

    /// Uses an IKE SA that the gateway made; the gateway deletes the old one.
    fn replace_current(&mut self, link: Link) {
        let old = std::mem::replace(&mut self.current, IkeSa::new(link));
        self.others.push(old);
    }

    fn new_link(
        &self,
        suite: IkeSuite,
        secret: &SharedSecret,
        values: &ExchangeValues<'_>,
        role: Role,
    ) -> Option<Link> {
        let keys = IkeKeys::rekeyed(&self.current.link.keys, suite, secret, &[], values).ok()?;
        Link::new((values.initiator_spi, values.responder_spi), role, keys, 0)
    }
}
