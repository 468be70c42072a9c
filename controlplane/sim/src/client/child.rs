//! Rekeying a Child SA, by either side, and by both at once (RFC 7296 §1.3.3, §2.8, §2.8.1, §2.25.1).
//!
//! Enters: the user's wish, the gateway's CREATE_CHILD_SA. Leaves: Child SAs that both sides should now have. Our own rekey
//! deletes the old SA afterwards; the gateway's leaves that to the gateway.

use causeway_ike::api::Secret;
use causeway_ike::crypto::{KePrivate, SharedSecret};
use causeway_ike::suite::{
    ChildKe, EspPolicy, EspProposal, EspSuite, SelectError, accept_esp_answer, select_esp,
};
use causeway_ike::wire::{ExchangeType, Ke, Message, Nonce, Notify, NotifyType, Payload, Sa};

use super::established::{Established, Pending, Task};
use super::handshake::{new_nonce, new_private, public};
use super::{Child, ClientConfig, Shared, Wish};

/// Our rekey of a Child SA, under way.
pub(super) struct ChildRekey {
    old_inbound_spi: u32,
    new_inbound_spi: u32,
    nonce: Nonce,
    private: Option<KePrivate>,
    rival: Option<Rival>,
}

/// The gateway's rekey of the same Child SA at the same time.
struct Rival {
    lowest_nonce: Nonce,
}

/// What we offer for a Child SA: with groups only where a key exchange is possible.
pub(super) fn offer(config: &ClientConfig, with_groups: bool) -> Vec<EspProposal> {
    let without = |esp: &EspProposal| EspProposal { groups: vec![], ..esp.clone() };
    config.esp.iter().map(|esp| if with_groups { esp.clone() } else { without(esp) }).collect()
}

impl Established {
    pub(super) fn start_child_rekey(&mut self, now_ms: u64, config: &ClientConfig, shared: &mut Shared) {
        let Some(old) = self.children.last() else { return };
        let old_inbound_spi = old.inbound_spi;
        let new_inbound_spi = shared.new_spi();
        let nonce = new_nonce(shared);
        let group = config.esp.first().and_then(|esp| esp.groups.first().copied());
        let private = group.map(|group| new_private(group, shared));
        let proposals = offer(config, true);
        let proposals =
            proposals.iter().zip(1..).map(|(esp, number)| esp.to_wire(number, new_inbound_spi)).collect();
        let any = config.families.everything();
        let mut payloads = vec![
            Payload::Notify(Notify::esp(NotifyType::RekeySa, old_inbound_spi)),
            Payload::Sa(Sa { proposals }),
            Payload::Nonce(nonce.clone()),
        ];
        payloads.extend(private.as_ref().map(ke));
        payloads.extend([Payload::TsI(any.clone()), Payload::TsR(any)]);
        let link = &mut self.current.link;
        let datagrams = link.request(now_ms, ExchangeType::CreateChildSa, payloads, &mut shared.rng);
        shared.send_all(datagrams);
        let rekey = ChildRekey { old_inbound_spi, new_inbound_spi, nonce, private, rival: None };
        self.current.pending = Some(Pending::RekeyChild(Box::new(rekey)));
    }

    pub(super) fn child_rekeyed(
        &mut self,
        rekey: ChildRekey,
        answer: &Message,
        config: &ClientConfig,
        shared: &mut Shared,
    ) {
        if let Some(refusal) = answer.error_notify() {
            if refusal.kind == NotifyType::ChildSaNotFound {
                self.remove_child(rekey.old_inbound_spi);
            }
            return;
        }
        let (Some(sa), Some(gateway_nonce)) = (answer.sa(), answer.nonce()) else {
            shared.fault("CREATE_CHILD_SA without SA or nonce");
            return;
        };
        let Some(choice) = accept_esp_answer(&offer(config, true), sa) else {
            shared.fault("CREATE_CHILD_SA answers what was not offered");
            return;
        };
        let secret = match (&rekey.private, answer.ke()) {
            (Some(private), Some(ke)) => private.derive(&ke.data).ok(),
            _ => None,
        };
        if secret.is_some() != choice.group.is_some() {
            shared.fault("CREATE_CHILD_SA with a group but without key exchange, or the reverse");
            return;
        }
        let nonces = (&rekey.nonce, gateway_nonce);
        let keys = self.child_keys(choice.suite, secret.as_ref(), nonces, true);
        self.children.push(Child {
            inbound_spi: rekey.new_inbound_spi,
            outbound_spi: choice.peer_spi,
            inbound_key: keys.0,
            outbound_key: keys.1,
            esn: choice.esn,
            outbound: true,
        });
        // The SA made with the lowest of the four nonces is surplus, and its maker deletes it.
        let surplus = match rekey.rival {
            Some(rival) if rekey.nonce.clone().min(gateway_nonce.clone()) < rival.lowest_nonce => {
                rekey.new_inbound_spi
            }
            _ => rekey.old_inbound_spi,
        };
        self.tasks.push_front(Task::DeleteChild { inbound_spi: surplus });
    }

    pub(super) fn gateway_rekeys_child(
        &mut self,
        request: &Message,
        config: &ClientConfig,
        shared: &mut Shared,
    ) {
        let header = &request.header;
        let Some(old) = request.notify(NotifyType::RekeySa) else {
            return self.refuse(header, NotifyType::NoAdditionalSas, shared);
        };
        let child = self.children.iter().find(|child| Some(child.outbound_spi) == old.esp_spi());
        let Some(old_inbound_spi) = child.map(|child| child.inbound_spi) else {
            let spi = old.esp_spi().unwrap_or_default();
            let unknown = Payload::Notify(Notify::esp(NotifyType::ChildSaNotFound, spi));
            return self.answer(header, vec![unknown], shared);
        };
        let busy = match &self.current.pending {
            Some(Pending::RekeyIke(_) | Pending::DeleteIke) => true,
            Some(Pending::DeleteChild { inbound_spi }) => *inbound_spi == old_inbound_spi,
            _ => false,
        };
        if busy {
            return self.refuse(header, NotifyType::TemporaryFailure, shared);
        }
        self.accept_child(request, old_inbound_spi, config, shared);
    }

    fn accept_child(
        &mut self,
        request: &Message,
        old_inbound_spi: u32,
        config: &ClientConfig,
        shared: &mut Shared,
    ) {
        let header = &request.header;
        let (Some(sa), Some(gateway_nonce), Some(ts_i), Some(ts_r)) =
            (request.sa(), request.nonce(), request.ts_i(), request.ts_r())
        else {
            shared.fault("the gateway's CREATE_CHILD_SA lacks a payload");
            return;
        };
        let ke_offered = request.ke().map_or(ChildKe::Absent, |ke| ChildKe::Present(ke.group));
        let choice = match select_esp(&policy(config), sa, ke_offered) {
            Ok(choice) => choice,
            Err(SelectError::InvalidKe { wanted }) => {
                let payload = Payload::Notify(Notify::invalid_ke(wanted.number()));
                return self.answer(header, vec![payload], shared);
            }
            Err(SelectError::NoProposalChosen) => {
                return self.refuse(header, NotifyType::NoProposalChosen, shared);
            }
        };
        let private = choice.group.map(|group| new_private(group, shared));
        let secret = match (&private, request.ke()) {
            (Some(private), Some(ke)) => private.derive(&ke.data).ok(),
            _ => None,
        };
        let inbound_spi = shared.new_spi();
        let nonce = new_nonce(shared);
        let mut payloads = vec![Payload::Sa(choice.answer(inbound_spi)), Payload::Nonce(nonce.clone())];
        payloads.extend(private.as_ref().map(ke));
        payloads.extend([Payload::TsI(ts_i.clone()), Payload::TsR(ts_r.clone())]);
        let keys = self.child_keys(choice.suite, secret.as_ref(), (gateway_nonce, &nonce), false);
        self.answer(header, payloads, shared);
        // The old one carries our packets until the gateway deletes it.
        self.children.push(Child {
            inbound_spi,
            outbound_spi: choice.peer_spi,
            inbound_key: keys.0,
            outbound_key: keys.1,
            esn: choice.esn,
            outbound: false,
        });
        if let Some(Pending::RekeyChild(ours)) = &mut self.current.pending
            && ours.old_inbound_spi == old_inbound_spi
        {
            ours.rival = Some(Rival { lowest_nonce: nonce.min(gateway_nonce.clone()) });
        }
        // A wish for what has just been done.
        self.tasks.retain(|task| *task != Task::Wish(Wish::RekeyChild));
    }

    /// Keys of packets to us, and of packets to the gateway.
    fn child_keys(
        &self,
        suite: EspSuite,
        secret: Option<&SharedSecret>,
        (initiator, responder): (&Nonce, &Nonce),
        we_initiated: bool,
    ) -> (Secret, Secret) {
        let keys = match self.current.link.keys.child_keymat(suite, secret, initiator, responder) {
            Ok(keys) => keys,
            Err(error) => unreachable!("KEYMAT failed: {error}"),
        };
        let to_responder = Secret::new(keys.initiator_to_responder.as_bytes().to_vec());
        let to_initiator = Secret::new(keys.responder_to_initiator.as_bytes().to_vec());
        if we_initiated { (to_initiator, to_responder) } else { (to_responder, to_initiator) }
    }
}

fn ke(private: &KePrivate) -> Payload {
    Payload::Ke(Ke { group: private.group().number(), data: public(private) })
}

fn policy(config: &ClientConfig) -> EspPolicy {
    let suites = config.esp.iter().flat_map(|esp| {
        esp.ciphers.iter().map(|cipher| EspSuite { cipher: *cipher, integ: esp.integs.first().copied() })
    });
    EspPolicy {
        suites: suites.collect(),
        prefer_esn: config.esp.iter().any(|esp| esp.esn.first() == Some(&true)),
        groups: config.esp.iter().flat_map(|esp| esp.groups.clone()).collect(),
        require_pfs: false,
    }
}
