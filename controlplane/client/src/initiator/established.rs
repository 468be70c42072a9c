//! A connection that is up: liveness, deletes, rekeys from either side, one request at a time (RFC 7296 §1.4, §2.3, §2.8).
//!
//! Enters: authenticated messages, the time, our wishes. Leaves: requests and answers, Child SAs, the end.

use std::collections::VecDeque;

use causeway_ike::time::Instant;
use causeway_ike::wire::{
    Delete, ExchangeType, Header, IkeSpi, Message, Nonce, NotifyType, Payload, ProtocolId,
};

use super::ike_sa::{IkeSa, Opened};
use super::rekey::{self, ChildFacts, ChildRekey, IkeRekey};
use super::retry::{Retry, Turn};
use super::{DownReason, Fault, Output, Shared, State, to_natt};

/// Most IKE SAs at a time: the newest, and replaced ones that the gateway has not deleted yet.
const MAX_IKE_SAS: usize = 4;
/// Most Child SAs at a time.
const MAX_CHILDREN: usize = 16;
/// Most wishes that wait for the outstanding request.
const MAX_WISHES: usize = 32;
/// When a rekey that the gateway refused is tried again, seconds.
const REKEY_AGAIN_SECS: u64 = 30;

/// A connection that is up.
pub(super) struct Established {
    /// Newest last; never empty.
    sas: Vec<IkeSa>,
    /// Newest last.
    children: Vec<ChildFacts>,
    pending: Option<Pending>,
    wishes: VecDeque<Wish>,
    /// Rekeys of the gateway that crossed ours: the old inbound SPI, and the lowest nonce of its exchange.
    rivals: Vec<(u32, Nonce)>,
    /// The IKE SA of the gateway whose rekey crossed ours, and the lowest nonce of its exchange.
    ike_rival: Option<(IkeSpi, Nonce)>,
    next_dpd: Option<Instant>,
    rekey_at: Option<Instant>,
    ike_rekey_at: Option<Instant>,
}

/// The request that has no answer.
struct Pending {
    sa: IkeSpi,
    message_id: u32,
    about: About,
    retry: Retry,
}

enum About {
    Liveness,
    Rekey(Box<ChildRekey>),
    RekeyIke(Box<IkeRekey>),
    DeleteChild(u32),
    /// An IKE SA that another one has replaced, by our SPI.
    DeleteOldIke(IkeSpi),
    DeleteIke,
}

/// What will be asked when no request is outstanding.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Liveness,
    RekeyChild(u32),
    RekeyIke,
    DeleteChild(u32),
    DeleteOldIke(IkeSpi),
    DeleteIke,
}

impl Established {
    pub(super) fn new(shared: &Shared, sa: IkeSa, child: ChildFacts, now: Instant) -> Established {
        let mut established = Established {
            sas: vec![sa],
            children: vec![child],
            pending: None,
            wishes: VecDeque::new(),
            rivals: Vec::new(),
            ike_rival: None,
            next_dpd: None,
            rekey_at: None,
            ike_rekey_at: None,
        };
        established.arm_dpd(shared, now);
        established.arm_rekey(shared, now);
        established.arm_ike_rekey(shared, now);
        established
    }

    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        let retry = self.pending.as_ref().map(|pending| pending.retry.due());
        [retry, self.next_dpd, self.rekey_at, self.ike_rekey_at].into_iter().flatten().min()
    }

    pub(super) fn ike_spis(&self) -> Option<(u64, u64)> {
        self.sas.last().map(IkeSa::spis)
    }

    pub(super) fn on_timer(mut self: Box<Self>, shared: &mut Shared, now: Instant) -> Result<State, Fault> {
        if let Some(pending) = &mut self.pending {
            match pending.retry.turn(now) {
                Turn::NotYet => {}
                Turn::Again(sent) => shared.send(&sent),
                Turn::GiveUp => {
                    let ours = matches!(pending.about, About::DeleteIke);
                    let reason = if ours { DownReason::ByUs } else { DownReason::PeerDead };
                    shared.push(Output::Down(reason));
                    return Ok(State::Closed);
                }
            }
        }
        if self.next_dpd.is_some_and(|due| now >= due) {
            self.arm_dpd(shared, now);
            self.wish(Wish::Liveness);
        }
        if self.rekey_at.is_some_and(|due| now >= due) {
            self.wish_rekeys();
            self.rekey_at = Some(now.plus_secs(REKEY_AGAIN_SECS));
        }
        if self.ike_rekey_at.is_some_and(|due| now >= due) {
            self.wish(Wish::RekeyIke);
            self.ike_rekey_at = Some(now.plus_secs(REKEY_AGAIN_SECS));
        }
        self.ask_next(shared, now)?;
        Ok(State::Established(self))
    }

    pub(super) fn disconnect(mut self: Box<Self>, shared: &mut Shared, now: Instant) -> Result<State, Fault> {
        self.wishes.clear();
        self.wish(Wish::DeleteIke);
        self.ask_next(shared, now)?;
        Ok(State::Established(self))
    }

    pub(super) fn rekey_children(
        mut self: Box<Self>,
        shared: &mut Shared,
        now: Instant,
    ) -> Result<State, Fault> {
        self.wish_rekeys();
        self.ask_next(shared, now)?;
        Ok(State::Established(self))
    }

    pub(super) fn rekey_ike(mut self: Box<Self>, shared: &mut Shared, now: Instant) -> Result<State, Fault> {
        self.wish(Wish::RekeyIke);
        self.ask_next(shared, now)?;
        Ok(State::Established(self))
    }

    pub(super) fn receive(
        mut self: Box<Self>,
        shared: &mut Shared,
        now: Instant,
        datagram: &[u8],
    ) -> Result<State, Fault> {
        let Ok(header) = Header::parse(datagram) else { return Ok(State::Established(self)) };
        let local = if header.from_initiator { header.responder_spi } else { header.initiator_spi };
        let Some(at) = self.sas.iter().position(|sa| sa.local_spi() == local) else {
            return Ok(State::Established(self));
        };
        let opened = self.sas.get_mut(at).map_or(Opened::Nothing, |sa| sa.open(now, datagram));
        let open = match opened {
            Opened::Nothing => true,
            Opened::Again(datagrams) => {
                shared.send(&to_natt(datagrams));
                true
            }
            Opened::Answer(message) => {
                let id = message.header.message_id;
                match self.pending.take_if(|pending| pending.sa == local && pending.message_id == id) {
                    Some(pending) => self.on_answer(shared, now, at, pending.about, &message)?,
                    None => true,
                }
            }
            Opened::Request(message) => self.on_request(shared, now, at, &message)?,
        };
        if !open {
            return Ok(State::Closed);
        }
        self.ask_next(shared, now)?;
        Ok(State::Established(self))
    }

    /// Says whether the connection goes on.
    fn on_answer(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        at: usize,
        about: About,
        message: &Message,
    ) -> Result<bool, Fault> {
        match about {
            About::Liveness => shared.push(Output::DpdAnswered),
            About::DeleteChild(spi) => self.drop_child(shared, spi),
            About::DeleteIke => {
                shared.push(Output::Down(DownReason::ByUs));
                return Ok(false);
            }
            About::DeleteOldIke(spi) => self.sas.retain(|sa| sa.local_spi() != spi),
            About::Rekey(rekey) => self.on_rekeyed(shared, now, at, &rekey, message)?,
            About::RekeyIke(rekey) => self.on_ike_rekeyed(shared, now, at, &rekey, message)?,
        }
        Ok(true)
    }

    fn on_rekeyed(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        at: usize,
        rekey: &ChildRekey,
        message: &Message,
    ) -> Result<(), Fault> {
        let rival = self.rivals.iter().position(|(old, _)| *old == rekey.old.inbound_spi);
        let rival = rival.map(|at| self.rivals.swap_remove(at).1);
        if let Some(error) = message.error_notify() {
            if error.kind == NotifyType::ChildSaNotFound {
                self.drop_child(shared, rekey.old.inbound_spi);
            }
            self.rekey_at = Some(now.plus_secs(REKEY_AGAIN_SECS));
            return Ok(());
        }
        let Some(sa) = self.sas.get(at) else { return Ok(()) };
        let (facts, child, lowest) = rekey.take(shared, &sa.keys, message)?;
        self.children.push(facts);
        shared.push(Output::ChildUp(Box::new(child)));
        self.arm_rekey(shared, now);
        // The exchange with the lowest of all nonces made the superfluous SA (RFC 7296 §2.8.1).
        let lost = rival.is_some_and(|rival| lowest < rival);
        let superfluous = if lost { facts } else { rekey.old };
        self.wish(Wish::DeleteChild(superfluous.inbound_spi));
        Ok(())
    }

    fn on_ike_rekeyed(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        at: usize,
        rekey: &IkeRekey,
        message: &Message,
    ) -> Result<(), Fault> {
        let rival = self.ike_rival.take();
        if message.error_notify().is_some() {
            // A gateway that is busy rekeying by itself says so; its own IKE SA is the newest then.
            if rival.is_none() {
                self.ike_rekey_at = Some(now.plus_secs(REKEY_AGAIN_SECS));
            }
            return Ok(());
        }
        let Some(old) = self.sas.get(at) else { return Ok(()) };
        let (new, lowest) = rekey.take(old, message)?;
        let (old, made) = (old.local_spi(), new.local_spi());
        // The exchange with the lowest of all nonces made the superfluous SA, which who made it deletes (RFC 7296 §2.8.1).
        let lost = rival.is_some_and(|(_, theirs)| lowest < theirs);
        let place = if lost { self.sas.len().saturating_sub(1) } else { self.sas.len() };
        self.sas.insert(place, new);
        self.wish(Wish::DeleteOldIke(if lost { made } else { old }));
        if !lost {
            shared.push(Output::IkeRekeyed);
            self.arm_ike_rekey(shared, now);
        }
        self.forget_oldest();
        Ok(())
    }

    /// The oldest that the gateway forgot to delete.
    fn forget_oldest(&mut self) {
        if self.sas.len() > MAX_IKE_SAS {
            self.sas.remove(0);
        }
    }

    /// Says whether the connection goes on.
    fn on_request(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        at: usize,
        message: &Message,
    ) -> Result<bool, Fault> {
        let header = message.header;
        let mut payloads = Vec::new();
        let mut goes_on = true;
        let local = self.sas.get(at).map(IkeSa::local_spi);
        match header.exchange {
            ExchangeType::CreateChildSa => payloads = self.create(shared, now, at, message)?,
            ExchangeType::Informational => (payloads, goes_on) = self.deletes(shared, at, message),
            _ => {}
        }
        let asked = self.sas.iter_mut().find(|sa| Some(sa.local_spi()) == local);
        let Some(sa) = asked else { return Ok(goes_on) };
        let datagrams = sa.answer(&header, payloads, &mut *shared.random)?;
        shared.send(&to_natt(datagrams));
        if !goes_on {
            shared.push(Output::Down(DownReason::ByGateway));
        }
        Ok(goes_on)
    }

    fn create(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        at: usize,
        message: &Message,
    ) -> Result<Vec<Payload>, Fault> {
        let Some(sa) = self.sas.get(at) else { return Ok(Vec::new()) };
        let for_ike =
            message.sa().is_some_and(|sa| sa.proposals.iter().any(|p| p.protocol == ProtocolId::Ike));
        if for_ike && at + 1 < self.sas.len() {
            // It has a successor already, of which the gateway will hear (RFC 7296 §2.25.2).
            let busy = causeway_ike::wire::Notify::new(NotifyType::TemporaryFailure);
            return Ok(vec![Payload::Notify(busy)]);
        }
        if for_ike {
            let (payloads, new) = rekey::answer_ike(shared, sa, message)?;
            if let Some((new, lowest)) = new {
                if let Some(Pending { about: About::RekeyIke(_), .. }) = &self.pending {
                    self.ike_rival = Some((new.local_spi(), lowest));
                }
                self.sas.push(new);
                shared.push(Output::IkeRekeyed);
                self.arm_ike_rekey(shared, now);
                self.forget_oldest();
            }
            return Ok(payloads);
        }
        if self.children.len() >= MAX_CHILDREN {
            return Ok(vec![Payload::Notify(causeway_ike::wire::Notify::new(NotifyType::NoAdditionalSas))]);
        }
        let answered = rekey::answer_child(shared, &sa.keys, message)?;
        if let Some(made) = answered.made {
            let old = self.children.iter().find(|child| Some(child.outbound_spi) == made.replaces);
            if let (Some(old), Some(Pending { about: About::Rekey(ours), .. })) = (old, &self.pending)
                && ours.old == *old
            {
                self.rivals.push((old.inbound_spi, made.lowest_nonce));
            }
            self.children.push(made.facts);
            shared.push(Output::ChildUp(Box::new(made.child)));
            self.arm_rekey(shared, now);
        }
        Ok(answered.payloads)
    }

    /// The answer's payloads, and whether the connection goes on.
    fn deletes(&mut self, shared: &mut Shared, at: usize, message: &Message) -> (Vec<Payload>, bool) {
        let mut gone = Vec::new();
        for payload in &message.payloads {
            match payload {
                // A replaced IKE SA stays to repeat its last answer until newer ones push it out.
                Payload::Delete(Delete::Ike) if at + 1 < self.sas.len() || self.is_rival(at) => {
                    self.ask_again_elsewhere(at);
                }
                Payload::Delete(Delete::Ike) => return (Vec::new(), false),
                Payload::Delete(Delete::Esp(spis)) => gone.extend(spis.iter().copied()),
                _ => {}
            }
        }
        let theirs = self.children.iter().filter(|child| gone.contains(&child.outbound_spi));
        let ours: Vec<u32> = theirs.map(|child| child.inbound_spi).collect();
        for spi in &ours {
            self.drop_child(shared, *spi);
        }
        let answer = if ours.is_empty() { Vec::new() } else { vec![Payload::Delete(Delete::Esp(ours))] };
        (answer, true)
    }

    /// A request on an IKE SA that the gateway has replaced and deleted gets no answer any more: its successor is asked.
    fn ask_again_elsewhere(&mut self, at: usize) {
        let spi = self.sas.get(at).map(IkeSa::local_spi);
        let Some(pending) = self.pending.take_if(|pending| Some(pending.sa) == spi) else { return };
        match pending.about {
            // The gateway lives, and has given the IKE SA new keys.
            About::Liveness | About::RekeyIke(_) | About::DeleteOldIke(_) => self.ike_rival = None,
            About::Rekey(rekey) => {
                self.rivals.retain(|(old, _)| *old != rekey.old.inbound_spi);
                self.wish(Wish::RekeyChild(rekey.old.inbound_spi));
            }
            About::DeleteChild(spi) => self.wish(Wish::DeleteChild(spi)),
            About::DeleteIke => self.wish(Wish::DeleteIke),
        }
    }

    /// Whether this IKE SA of the gateway crossed one of ours that has no answer yet, and may give way to it.
    fn is_rival(&self, at: usize) -> bool {
        let spi = self.sas.get(at).map(IkeSa::local_spi);
        self.ike_rival.as_ref().is_some_and(|(rival, _)| Some(*rival) == spi)
    }

    fn drop_child(&mut self, shared: &mut Shared, inbound_spi: u32) {
        let before = self.children.len();
        self.children.retain(|child| child.inbound_spi != inbound_spi);
        if self.children.len() < before {
            shared.push(Output::ChildDown(inbound_spi));
        }
    }

    fn wish(&mut self, wish: Wish) {
        if !self.wishes.contains(&wish) && self.wishes.len() < MAX_WISHES {
            self.wishes.push_back(wish);
        }
    }

    fn wish_rekeys(&mut self) {
        for child in self.children.clone() {
            self.wish(Wish::RekeyChild(child.inbound_spi));
        }
    }

    /// Sends the next request if none is outstanding.
    fn ask_next(&mut self, shared: &mut Shared, now: Instant) -> Result<(), Fault> {
        while self.pending.is_none() {
            let Some(wish) = self.wishes.pop_front() else { return Ok(()) };
            let (exchange, payloads, about) = match wish {
                Wish::Liveness => (ExchangeType::Informational, Vec::new(), About::Liveness),
                Wish::RekeyChild(spi) => {
                    let Some(old) = self.child(spi) else { continue };
                    let (payloads, rekey) = rekey::ask(shared, old)?;
                    (ExchangeType::CreateChildSa, payloads, About::Rekey(Box::new(rekey)))
                }
                Wish::RekeyIke => {
                    let Some(old) = self.sas.last() else { return Ok(()) };
                    let (payloads, rekey) = rekey::ask_ike(shared, old)?;
                    (ExchangeType::CreateChildSa, payloads, About::RekeyIke(Box::new(rekey)))
                }
                Wish::DeleteOldIke(spi) => {
                    let delete = vec![Payload::Delete(Delete::Ike)];
                    (ExchangeType::Informational, delete, About::DeleteOldIke(spi))
                }
                Wish::DeleteChild(spi) => {
                    if self.child(spi).is_none() {
                        continue;
                    }
                    let delete = vec![Payload::Delete(Delete::Esp(vec![spi]))];
                    (ExchangeType::Informational, delete, About::DeleteChild(spi))
                }
                Wish::DeleteIke => {
                    let delete = vec![Payload::Delete(Delete::Ike)];
                    (ExchangeType::Informational, delete, About::DeleteIke)
                }
            };
            let sa = match wish {
                Wish::DeleteOldIke(spi) => self.sas.iter_mut().find(|sa| sa.local_spi() == spi),
                _ => self.sas.last_mut(),
            };
            // One that is gone needs no farewell.
            let Some(sa) = sa else { continue };
            let (message_id, datagrams) = sa.request(exchange, payloads, &mut *shared.random)?;
            let sa = sa.local_spi();
            let sent = to_natt(datagrams);
            shared.send(&sent);
            self.pending = Some(Pending { sa, message_id, about, retry: Retry::new(sent, now) });
        }
        Ok(())
    }

    fn child(&self, inbound_spi: u32) -> Option<ChildFacts> {
        self.children.iter().copied().find(|child| child.inbound_spi == inbound_spi)
    }

    fn arm_dpd(&mut self, shared: &Shared, now: Instant) {
        let secs = shared.config.dpd_interval_secs;
        self.next_dpd = (secs > 0).then(|| now.plus_secs(secs));
    }

    fn arm_ike_rekey(&mut self, shared: &Shared, now: Instant) {
        let secs = shared.config.ike_lifetime_secs;
        self.ike_rekey_at = (secs > 0).then(|| now.plus_secs(secs));
    }

    fn arm_rekey(&mut self, shared: &Shared, now: Instant) {
        let secs = shared.config.child_lifetime_secs;
        self.rekey_at = (secs > 0).then(|| now.plus_secs(secs));
    }
}
