//! CREATE_CHILD_SA from either side: new Child SAs and IKE SAs (RFC 7296 §1.3, §2.8, §2.17, §2.18).
//!
//! Enters: our wish or the gateway's request, with the IKE SA's keys. Leaves: payloads and the Child SA with its keys.

use causeway_ike::crypto::{ExchangeValues, IkeKeys, KePrivate, Role, SharedSecret};
use causeway_ike::suite::{
    ChildKe, EspChoice, EspProposal, Group, IkeProposal, IkeStage, accept_esp_answer, accept_ike_answer,
    select_esp, select_ike,
};
use causeway_ike::wire::{IkeSpi, Ke, Message, Nonce, Notify, NotifyType, Payload, Sa, TrafficSelector};

use super::ike_sa::IkeSa;
use super::{Child, Fault, Shared, offer};

/// What the IKE SA remembers of a Child SA; its keys are with whoever carries packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChildFacts {
    pub(super) inbound_spi: u32,
    pub(super) outbound_spi: u32,
}

/// An exchange that makes a Child SA, before its answer.
pub(super) struct Exchanged<'a> {
    pub(super) offer: &'a [EspProposal],
    pub(super) spi: u32,
    pub(super) shared: Option<&'a SharedSecret>,
    pub(super) ni: &'a Nonce,
    pub(super) nr: &'a Nonce,
}

/// A rekey of ours that has no answer yet.
pub(super) struct ChildRekey {
    pub(super) old: ChildFacts,
    spi: u32,
    ni: Nonce,
    private: Option<KePrivate>,
}

/// A rekey of the IKE SA by us that has no answer yet.
pub(super) struct IkeRekey {
    spi: IkeSpi,
    ni: Nonce,
    private: KePrivate,
    offer: IkeProposal,
}

/// A new IKE SA that the gateway asked for, and the lowest nonce of its exchange.
pub(super) type MadeIke = (IkeSa, Nonce);

/// What the gateway's request for a Child SA led to.
pub(super) struct Answered {
    pub(super) payloads: Vec<Payload>,
    pub(super) made: Option<Made>,
}

/// A Child SA that the gateway asked for.
pub(super) struct Made {
    pub(super) facts: ChildFacts,
    pub(super) child: Child,
    /// The Child SA that it replaces, by the SPI of packets to the gateway.
    pub(super) replaces: Option<u32>,
    pub(super) lowest_nonce: Nonce,
}

/// Begins a rekey of ours.
pub(super) fn ask(shared: &mut Shared, old: ChildFacts) -> Result<(Vec<Payload>, ChildRekey), Fault> {
    let (spi, ni) = (shared.esp_spi()?, shared.nonce()?);
    let group = offer::rekey_group(&shared.config.esp);
    let proposals = offer::with_group(&shared.config.esp, group);
    let mut payloads = vec![
        Payload::Notify(Notify::esp(NotifyType::RekeySa, old.inbound_spi)),
        Payload::Sa(offer::esp(&proposals, spi)),
        Payload::Nonce(ni.clone()),
    ];
    let private = match group {
        None => None,
        Some(group) => {
            let private = KePrivate::generate(group, &mut *shared.random).map_err(|_| Fault::Crypto)?;
            let data = private.public().map_err(|_| Fault::Crypto)?;
            payloads.push(Payload::Ke(Ke { group: group.number(), data }));
            Some(private)
        }
    };
    payloads.push(Payload::TsI(offer::everything(shared.config.ipv6)));
    payloads.push(Payload::TsR(offer::everything(shared.config.ipv6)));
    Ok((payloads, ChildRekey { old, spi, ni, private }))
}

impl ChildRekey {
    /// Takes the answer, which is no error; also says the exchange's lowest nonce.
    pub(super) fn take(
        &self,
        shared: &Shared,
        keys: &IkeKeys,
        message: &Message,
    ) -> Result<(ChildFacts, Child, Nonce), Fault> {
        let nr = message.nonce().ok_or(Fault::Answer("no nonce"))?;
        let secret = match (&self.private, message.ke()) {
            (Some(private), Some(ke)) => {
                Some(private.derive(&ke.data).map_err(|_| Fault::Answer("bad public value"))?)
            }
            (None, None) => None,
            _ => return Err(Fault::Answer("KE does not fit")),
        };
        let offer = offer::with_group(&shared.config.esp, self.private.as_ref().map(KePrivate::group));
        let exchange = Exchanged { offer: &offer, spi: self.spi, shared: secret.as_ref(), ni: &self.ni, nr };
        let (facts, child) = take_child(keys, &exchange, message)?;
        Ok((facts, child, (&self.ni).min(nr).clone()))
    }
}

/// Takes the gateway's choice from an answer to an offer of ours.
pub(super) fn take_child(
    keys: &IkeKeys,
    exchange: &Exchanged<'_>,
    message: &Message,
) -> Result<(ChildFacts, Child), Fault> {
    let (Some(sa), Some(_), Some(ts_r)) = (message.sa(), message.ts_i(), message.ts_r()) else {
        return Err(Fault::Answer("no Child SA"));
    };
    let choice =
        accept_esp_answer(exchange.offer, sa).ok_or(Fault::Answer("it chose ESP that was not offered"))?;
    make_child(keys, &choice, exchange, Role::Initiator, ts_r.clone())
}

/// Answers the gateway's request for a Child SA.
pub(super) fn answer_child(
    shared: &mut Shared,
    keys: &IkeKeys,
    message: &Message,
) -> Result<Answered, Fault> {
    let refuse = |kind| Ok(Answered { payloads: vec![Payload::Notify(Notify::new(kind))], made: None });
    let (Some(sa), Some(ni), Some(ts_i), Some(ts_r)) =
        (message.sa(), message.nonce(), message.ts_i(), message.ts_r())
    else {
        return refuse(NotifyType::InvalidSyntax);
    };
    let ke = message.ke().map_or(ChildKe::Absent, |ke| ChildKe::Present(ke.group));
    let choice = match select_esp(&offer::policy(&shared.config.esp), sa, ke) {
        Ok(choice) if offer::may_be_esn(&shared.config.esp, choice.esn) => choice,
        _ => return refuse(NotifyType::NoProposalChosen),
    };
    let (public, secret) = match (choice.group, message.ke()) {
        (Some(group), Some(ke)) => match fresh(shared, group, &ke.data)? {
            Some((public, secret)) => (Some(Ke { group: group.number(), data: public }), Some(secret)),
            None => return refuse(NotifyType::InvalidSyntax),
        },
        _ => (None, None),
    };
    let (spi, nr) = (shared.esp_spi()?, shared.nonce()?);
    let exchange = Exchanged { offer: &[], spi, shared: secret.as_ref(), ni, nr: &nr };
    let (facts, child) = make_child(keys, &choice, &exchange, Role::Responder, ts_i.clone())?;
    let mut payloads = vec![Payload::Sa(choice.answer(spi)), Payload::Nonce(nr.clone())];
    payloads.extend(public.map(Payload::Ke));
    payloads.push(Payload::TsI(ts_i.clone()));
    payloads.push(Payload::TsR(ts_r.clone()));
    let replaces = message.notify(NotifyType::RekeySa).and_then(Notify::esp_spi);
    let lowest_nonce = ni.min(&nr).clone();
    Ok(Answered { payloads, made: Some(Made { facts, child, replaces, lowest_nonce }) })
}

/// Begins a rekey of the IKE SA, with the suite that it has.
pub(super) fn ask_ike(shared: &mut Shared, old: &IkeSa) -> Result<(Vec<Payload>, IkeRekey), Fault> {
    let spi = IkeSpi(u64::from_be_bytes(shared.octets()?) | 1);
    let ni = shared.nonce()?;
    let suite = old.keys.suite;
    let private = KePrivate::generate(suite.group, &mut *shared.random).map_err(|_| Fault::Crypto)?;
    let data = private.public().map_err(|_| Fault::Crypto)?;
    let offer = IkeProposal::only(suite);
    let payloads = vec![
        Payload::Sa(Sa { proposals: vec![offer.to_wire(1, &spi.to_bytes())] }),
        Payload::Nonce(ni.clone()),
        Payload::Ke(Ke { group: suite.group.number(), data }),
    ];
    Ok((payloads, IkeRekey { spi, ni, private, offer }))
}

impl IkeRekey {
    /// Takes the answer, which is no error; also says the exchange's lowest nonce.
    pub(super) fn take(&self, old: &IkeSa, message: &Message) -> Result<(IkeSa, Nonce), Fault> {
        let (Some(sa), Some(nr), Some(ke)) = (message.sa(), message.nonce(), message.ke()) else {
            return Err(Fault::Answer("no new IKE SA"));
        };
        let choice = accept_ike_answer(std::slice::from_ref(&self.offer), sa, true)
            .ok_or(Fault::Answer("it chose what was not offered"))?;
        let responder_spi = choice.peer_spi.ok_or(Fault::Answer("no SPI of the new IKE SA"))?;
        let secret = self.private.derive(&ke.data).map_err(|_| Fault::Answer("bad public value"))?;
        let values = ExchangeValues {
            initiator_nonce: &self.ni,
            responder_nonce: nr,
            initiator_spi: self.spi,
            responder_spi,
        };
        let keys =
            IkeKeys::rekeyed(&old.keys, choice.suite, &secret, &[], &values).map_err(|_| Fault::Crypto)?;
        let new = IkeSa::new((self.spi, responder_spi), Role::Initiator, keys, 0, old.cutting())?;
        Ok((new, (&self.ni).min(nr).clone()))
    }
}

/// Answers the gateway's request for a new IKE SA; no SA when it is refused.
pub(super) fn answer_ike(
    shared: &mut Shared,
    old: &IkeSa,
    message: &Message,
) -> Result<(Vec<Payload>, Option<MadeIke>), Fault> {
    let refuse = |kind| Ok((vec![Payload::Notify(Notify::new(kind))], None));
    let (Some(sa), Some(ni), Some(ke)) = (message.sa(), message.nonce(), message.ke()) else {
        return refuse(NotifyType::InvalidSyntax);
    };
    let Ok(choice) = select_ike(&shared.config.ike, sa, ke.group, IkeStage::Rekey) else {
        return refuse(NotifyType::NoProposalChosen);
    };
    let Some(initiator_spi) = choice.peer_spi else { return refuse(NotifyType::InvalidSyntax) };
    let Some((public, secret)) = fresh(shared, choice.suite.group, &ke.data)? else {
        return refuse(NotifyType::InvalidSyntax);
    };
    let responder_spi = IkeSpi(u64::from_be_bytes(shared.octets()?) | 1);
    let nr = shared.nonce()?;
    let values = ExchangeValues { initiator_nonce: ni, responder_nonce: &nr, initiator_spi, responder_spi };
    let keys = IkeKeys::rekeyed(&old.keys, choice.suite, &secret, &[], &values).map_err(|_| Fault::Crypto)?;
    let new = IkeSa::new((initiator_spi, responder_spi), Role::Responder, keys, 0, old.cutting())?;
    let lowest = ni.min(&nr).clone();
    let payloads = vec![
        Payload::Sa(choice.answer(&responder_spi.to_bytes())),
        Payload::Nonce(nr),
        Payload::Ke(Ke { group: choice.suite.group.number(), data: public }),
    ];
    Ok((payloads, Some((new, lowest))))
}

/// Our public value and the secret; `None` when the gateway's value is bad.
fn fresh(
    shared: &mut Shared,
    group: Group,
    peer_public: &[u8],
) -> Result<Option<(Vec<u8>, SharedSecret)>, Fault> {
    let private = KePrivate::generate(group, &mut *shared.random).map_err(|_| Fault::Crypto)?;
    let public = private.public().map_err(|_| Fault::Crypto)?;
    Ok(private.derive(peer_public).ok().map(|secret| (public, secret)))
}

fn make_child(
    keys: &IkeKeys,
    choice: &EspChoice,
    exchange: &Exchanged<'_>,
    role: Role,
    remote: Vec<TrafficSelector>,
) -> Result<(ChildFacts, Child), Fault> {
    let keymat = keys
        .child_keymat(choice.suite, exchange.shared, exchange.ni, exchange.nr)
        .map_err(|_| Fault::Crypto)?;
    let (outbound, inbound) = match role {
        Role::Initiator => (keymat.initiator_to_responder, keymat.responder_to_initiator),
        Role::Responder => (keymat.responder_to_initiator, keymat.initiator_to_responder),
    };
    let facts = ChildFacts { inbound_spi: exchange.spi, outbound_spi: choice.peer_spi };
    let child = Child {
        inbound_spi: facts.inbound_spi,
        outbound_spi: facts.outbound_spi,
        suite: choice.suite,
        esn: choice.esn,
        inbound,
        outbound,
        by_gateway: role == Role::Responder,
        remote,
    };
    Ok((facts, child))
}
