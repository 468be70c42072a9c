//! Logged in: the client's IKE SAs, its Child SAs, and what it has under way (RFC 7296 §1.3, §1.4, §2.8, §2.25).
//!
//! Enters: datagrams, wishes. Leaves: datagrams, and the state that the world compares with the gateway's. `child.rs` and
//! `rekey.rs` hold the exchanges; here is who gets which message.

use std::collections::VecDeque;

use causeway_ike::api::Inner;
use causeway_ike::api::Secret;
use causeway_ike::suite::accept_esp_answer;
use causeway_ike::wire::{
    Delete, ExchangeType, Header, Message, Nonce, Notify, NotifyType, Payload, ProtocolId,
};

use super::child::ChildRekey;
use super::link::{Link, Received, Tick};
use super::rekey::IkeRekey;
use super::rogue;
use super::{Child, ClientConfig, End, Shared, State, Wish, header_of};

/// Replaced IKE SAs that are remembered, to answer repeated requests.
const MAX_BURIED: usize = 4;
/// Removed Child SAs whose late packets are still opened.
const MAX_LINGERING: usize = 8;

/// The state of a client that is up.
pub(super) struct Established {
    /// The IKE SA in use.
    pub(super) current: IkeSa,
    /// Others, which one of the sides is about to delete.
    pub(super) others: Vec<IkeSa>,
    /// Deleted ones.
    buried: Vec<Link>,
    pub(super) children: Vec<Child>,
    lingering: VecDeque<(u32, Secret)>,
    pub(super) tasks: VecDeque<Task>,
    pub(super) inner: Inner,
}

/// An IKE SA and the meaning of its outstanding request.
pub(super) struct IkeSa {
    pub(super) link: Link,
    pub(super) pending: Option<Pending>,
}

/// What an outstanding request is about.
pub(super) enum Pending {
    RekeyChild(Box<ChildRekey>),
    RekeyIke(Box<IkeRekey>),
    DeleteChild {
        inbound_spi: u32,
    },
    DeleteIke,
    Liveness,
    /// Nonsense; the answer may be anything.
    Mischief,
}

/// What is to be done when no request is outstanding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Wish(Wish),
    DeleteChild { inbound_spi: u32 },
}

impl IkeSa {
    pub(super) fn new(link: Link) -> IkeSa {
        IkeSa { link, pending: None }
    }
}

impl Established {
    /// Begins with the last answer of IKE_AUTH.
    #[expect(clippy::too_many_arguments, reason = "everything that IKE_AUTH has established")]
    pub(super) fn begin(
        now_ms: u64,
        link: Link,
        (our_nonce, gateway_nonce): (Nonce, Nonce),
        child_spi: u32,
        inner: Inner,
        answer: &Message,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        let mut children = vec![];
        if let Some(sa) = answer.sa() {
            let Some(choice) = accept_esp_answer(&super::child::offer(config, false), sa) else {
                return shared.fault("IKE_AUTH answers an ESP proposal that was not offered");
            };
            let Ok(keys) = link.keys.child_keymat(choice.suite, None, &our_nonce, &gateway_nonce) else {
                return shared.fault("KEYMAT failed");
            };
            children.push(Child {
                inbound_spi: child_spi,
                outbound_spi: choice.peer_spi,
                inbound_key: Secret::new(keys.responder_to_initiator.as_bytes().to_vec()),
                outbound_key: Secret::new(keys.initiator_to_responder.as_bytes().to_vec()),
                esn: choice.esn,
                outbound: true,
            });
        } else if answer.error_notify().is_none() {
            return shared.fault("IKE_AUTH without Child SA and without a reason");
        }
        let up = Established {
            current: IkeSa::new(link),
            others: vec![],
            buried: vec![],
            children,
            lingering: VecDeque::new(),
            tasks: VecDeque::new(),
            inner,
        };
        Box::new(up).go_on(now_ms, config, shared)
    }

    pub(super) fn wish(&mut self, now_ms: u64, wish: Wish, config: &ClientConfig, shared: &mut Shared) {
        self.tasks.push_back(Task::Wish(wish));
        self.start_tasks(now_ms, config, shared);
    }

    pub(super) fn receive(
        mut self: Box<Self>,
        now_ms: u64,
        datagram: &[u8],
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        let Some(header) = header_of(datagram) else { return State::Up(self) };
        if self.current.link.owns(&header) {
            return match self.current.link.receive(datagram) {
                Received::Request(request) => self.current_request(now_ms, &request, config, shared),
                Received::Response(answer) => self.current_answer(now_ms, &answer, config, shared),
                Received::Again(datagrams) => self.again(datagrams, shared),
                Received::Nothing => State::Up(self),
            };
        }
        if let Some(index) = self.others.iter().position(|other| other.link.owns(&header)) {
            return self.other(now_ms, index, datagram, config, shared);
        }
        let buried = self.buried.iter_mut().find(|link| link.owns(&header));
        match buried.map(|link| link.receive(datagram)) {
            Some(Received::Again(datagrams)) => self.again(datagrams, shared),
            _ => State::Up(self),
        }
    }

    pub(super) fn tick(
        mut self: Box<Self>,
        now_ms: u64,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        match self.current.link.tick(now_ms) {
            Tick::GiveUp => return State::Gone(End::Timeout),
            Tick::Again(datagrams) => shared.send_all(datagrams),
            Tick::Wait => {}
        }
        let mut silent = vec![];
        for (index, other) in self.others.iter_mut().enumerate() {
            match other.link.tick(now_ms) {
                Tick::GiveUp => silent.push(index),
                Tick::Again(datagrams) => shared.send_all(datagrams),
                Tick::Wait => {}
            }
        }
        for index in silent.into_iter().rev() {
            self.others.remove(index);
        }
        self.go_on(now_ms, config, shared)
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        let others = self.others.iter().filter_map(|other| other.link.due_ms());
        others.chain(self.current.link.due_ms()).min()
    }

    pub(super) fn spis(&self) -> (u64, u64) {
        (self.current.link.initiator_spi.0, self.current.link.responder_spi.0)
    }

    pub(super) fn children(&self) -> &[Child] {
        &self.children
    }

    /// SPI and keys of everything it opens packets with.
    pub(super) fn inbound(&self) -> impl Iterator<Item = (u32, &Secret)> {
        let children = self.children.iter().map(|child| (child.inbound_spi, &child.inbound_key));
        children.chain(self.lingering.iter().map(|(spi, key)| (*spi, key)))
    }

    /// Removes a Child SA; packets in flight are still opened.
    pub(super) fn remove_child(&mut self, inbound_spi: u32) {
        let Some(index) = self.children.iter().position(|child| child.inbound_spi == inbound_spi) else {
            return;
        };
        let child = self.children.remove(index);
        self.lingering.push_back((child.inbound_spi, child.inbound_key));
        if self.lingering.len() > MAX_LINGERING {
            self.lingering.pop_front();
        }
        // Whatever is left carries traffic from now on.
        if let Some(newest) = self.children.last_mut() {
            newest.outbound = true;
        }
    }

    pub(super) fn bury(&mut self, link: Link) {
        self.buried.push(link);
        if self.buried.len() > MAX_BURIED {
            self.buried.remove(0);
        }
    }

    pub(super) fn go_on(
        mut self: Box<Self>,
        now_ms: u64,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        self.start_tasks(now_ms, config, shared);
        State::Up(self)
    }

    fn again(self: Box<Self>, datagrams: Vec<Vec<u8>>, shared: &mut Shared) -> State {
        shared.send_all(datagrams);
        State::Up(self)
    }

    fn start_tasks(&mut self, now_ms: u64, config: &ClientConfig, shared: &mut Shared) {
        while !self.current.link.is_waiting() {
            let Some(task) = self.tasks.pop_front() else { return };
            match task {
                Task::Wish(Wish::RekeyChild) => self.start_child_rekey(now_ms, config, shared),
                Task::Wish(Wish::RekeyIke) => self.start_ike_rekey(now_ms, config, shared),
                Task::Wish(Wish::Mischief) => {
                    let (exchange, first, plaintext) = rogue::mischief(config, shared);
                    let link = &mut self.current.link;
                    let datagrams =
                        link.rogue_request(now_ms, exchange, (first, &plaintext), &mut shared.rng);
                    shared.send_all(datagrams);
                    self.current.pending = Some(Pending::Mischief);
                }
                Task::Wish(Wish::Liveness) => self.inform(now_ms, vec![], Pending::Liveness, shared),
                Task::Wish(Wish::Delete) => {
                    self.inform(now_ms, vec![Payload::Delete(Delete::Ike)], Pending::DeleteIke, shared);
                }
                Task::DeleteChild { inbound_spi } => {
                    if self.children.iter().any(|child| child.inbound_spi == inbound_spi) {
                        let delete = vec![Payload::Delete(Delete::Esp(vec![inbound_spi]))];
                        self.inform(now_ms, delete, Pending::DeleteChild { inbound_spi }, shared);
                    }
                }
            }
        }
    }

    fn inform(&mut self, now_ms: u64, payloads: Vec<Payload>, pending: Pending, shared: &mut Shared) {
        let link = &mut self.current.link;
        let datagrams = link.request(now_ms, ExchangeType::Informational, payloads, &mut shared.rng);
        shared.send_all(datagrams);
        self.current.pending = Some(pending);
    }

    /// Deletes an IKE SA that is not in use.
    pub(super) fn delete_other(&mut self, now_ms: u64, mut surplus: IkeSa, shared: &mut Shared) {
        let delete = vec![Payload::Delete(Delete::Ike)];
        let link = &mut surplus.link;
        let datagrams = link.request(now_ms, ExchangeType::Informational, delete, &mut shared.rng);
        shared.send_all(datagrams);
        surplus.pending = Some(Pending::DeleteIke);
        self.others.push(surplus);
    }

    pub(super) fn answer(&mut self, request: &Header, payloads: Vec<Payload>, shared: &mut Shared) {
        let datagrams = self.current.link.respond(request, payloads, &mut shared.rng);
        shared.send_all(datagrams);
    }

    pub(super) fn refuse(&mut self, request: &Header, kind: NotifyType, shared: &mut Shared) {
        self.answer(request, vec![Payload::Notify(Notify::new(kind))], shared);
    }

    fn current_request(
        mut self: Box<Self>,
        now_ms: u64,
        request: &Message,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        match request.header.exchange {
            ExchangeType::CreateChildSa => {
                let of_ike = |sa: &causeway_ike::wire::Sa| {
                    sa.proposals.iter().any(|proposal| proposal.protocol == ProtocolId::Ike)
                };
                if request.sa().is_some_and(of_ike) {
                    self.gateway_rekeys_ike(request, config, shared);
                } else {
                    self.gateway_rekeys_child(request, config, shared);
                }
            }
            ExchangeType::Informational => {
                let deletes = |payload: &Payload| match payload {
                    Payload::Delete(delete) => Some(delete.clone()),
                    _ => None,
                };
                let deletes: Vec<Delete> = request.payloads.iter().filter_map(deletes).collect();
                if deletes.contains(&Delete::Ike) {
                    self.answer(&request.header, vec![], shared);
                    return match self.take_rival() {
                        Some(rival) => self.adopt(now_ms, rival, config, shared),
                        None => State::Gone(End::DeletedByGateway),
                    };
                }
                let answer = self.deleted_children(&deletes);
                self.answer(&request.header, answer, shared);
            }
            other => return shared.fault(format!("{other:?} from the gateway after IKE_AUTH")),
        }
        self.go_on(now_ms, config, shared)
    }

    /// Moves to the IKE SA that the gateway made, when it deletes the old one before it answers our own rekey.
    fn adopt(
        mut self: Box<Self>,
        now_ms: u64,
        rival: Link,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        let old = std::mem::replace(&mut self.current, IkeSa::new(rival));
        self.bury(old.link);
        self.go_on(now_ms, config, shared)
    }

    /// Removes what the gateway deletes; our halves go into the answer, unless we have deleted them ourselves
    /// (RFC 7296 §1.4.1).
    fn deleted_children(&mut self, deletes: &[Delete]) -> Vec<Payload> {
        let being_deleted = match &self.current.pending {
            Some(Pending::DeleteChild { inbound_spi }) => Some(*inbound_spi),
            _ => None,
        };
        let mut halves = vec![];
        for delete in deletes {
            let Delete::Esp(spis) = delete else { continue };
            for spi in spis {
                let child = self.children.iter().find(|child| child.outbound_spi == *spi);
                let Some(inbound_spi) = child.map(|child| child.inbound_spi) else { continue };
                self.remove_child(inbound_spi);
                if being_deleted != Some(inbound_spi) {
                    halves.push(inbound_spi);
                }
            }
        }
        if halves.is_empty() { vec![] } else { vec![Payload::Delete(Delete::Esp(halves))] }
    }

    fn current_answer(
        mut self: Box<Self>,
        now_ms: u64,
        answer: &Message,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        match self.current.pending.take() {
            Some(Pending::RekeyChild(rekey)) => self.child_rekeyed(*rekey, answer, config, shared),
            Some(Pending::RekeyIke(rekey)) => self.ike_rekeyed(now_ms, *rekey, answer, config, shared),
            Some(Pending::DeleteChild { inbound_spi }) => self.remove_child(inbound_spi),
            Some(Pending::DeleteIke) => return State::Gone(End::Deleted),
            Some(Pending::Liveness | Pending::Mischief) | None => {}
        }
        if shared.faults.is_empty() { self.go_on(now_ms, config, shared) } else { State::Gone(End::Fault) }
    }

    /// A message under an IKE SA that is no longer, or not yet, in use.
    fn other(
        mut self: Box<Self>,
        now_ms: u64,
        index: usize,
        datagram: &[u8],
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        let Some(other) = self.others.get_mut(index) else { return State::Up(self) };
        match other.link.receive(datagram) {
            Received::Again(datagrams) => shared.send_all(datagrams),
            Received::Response(_) => {
                if matches!(other.pending.take(), Some(Pending::DeleteIke)) {
                    let other = self.others.remove(index);
                    self.bury(other.link);
                }
            }
            Received::Request(request) => {
                let deleted = request.payloads.contains(&Payload::Delete(Delete::Ike));
                let answer = match request.header.exchange {
                    ExchangeType::Informational => vec![],
                    _ => vec![Payload::Notify(Notify::new(NotifyType::TemporaryFailure))],
                };
                let datagrams = other.link.respond(&request.header, answer, &mut shared.rng);
                shared.send_all(datagrams);
                if deleted {
                    let other = self.others.remove(index);
                    self.bury(other.link);
                }
            }
            Received::Nothing => {}
        }
        self.go_on(now_ms, config, shared)
    }
}
