//! The responder: every session of one gateway, and the way from a datagram to the session it belongs to.
//!
//! Enters: one [`Input`] at a time. Leaves: [`Outputs`], in order. What comes before a session exists (RFC 7296 §2.6,
//! §2.21.4) is decided here and in `exchange/ike_sa_init.rs`; the rest by the session's state.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::api::{
    DataPlaneEvent, Datagram, DownReason, Event, Fragmentation, IkeFacts, IkeSpis, Input, JobId, JobResult,
    Operator, Output, Outputs, PolicyEnd, SessionId, WakeReason,
};
use crate::cisco::{Pushed, is_cisco_fragment};
use crate::counters::{IkeCounter, IkeCounters};
use crate::crypto::{IkeKeys, Role};
use crate::env::Env;
use crate::established::Task;
use crate::exchange::{ike_sa_init, session_resume};
use crate::policy::{EndpointConfig, Redirected};
use crate::sa::Path;
use crate::state::{Session, State, StateName};
use crate::time::Instant;
use crate::wire::{
    CertReq, ExchangeType, HEADER_LEN, Header, Incoming, MAJOR_VERSION, Message, Notify, NotifyType, Payload,
};
use crate::world::{Cx, FirstRequest, JobAnswer, World};

/// Most clear error answers to strangers in one second.
pub const MAX_STRAY_ANSWERS_PER_SEC: u32 = 100;

/// An IKEv2 responder.
pub struct Endpoint {
    world: World,
    sessions: HashMap<SessionId, Session>,
    /// The session at work, for [`Endpoint::recover`].
    current: Option<SessionId>,
    stray_second: u64,
    stray_answers: u32,
    shutdown: Option<Shutdown>,
}

#[derive(Clone, Copy)]
struct Shutdown {
    deadline: Instant,
}

impl Endpoint {
    /// A responder without sessions.
    pub fn new(config: EndpointConfig) -> Endpoint {
        Endpoint {
            world: World::new(config),
            sessions: HashMap::new(),
            current: None,
            stray_second: 0,
            stray_answers: 0,
            shutdown: None,
        }
    }

    /// From now on, clients are asked for certificates of these authorities.
    pub fn ask_for_certificates_of(&mut self, certificate_request: Option<CertReq>) {
        self.world.config.certificate_request = certificate_request;
    }

    /// Handles one input; everything that follows from it is in `out` when it returns.
    pub fn handle(&mut self, now: Instant, input: Input, env: &mut dyn Env, out: &mut Outputs) {
        let mut call = Call { now, env, out };
        match input {
            Input::Datagram(datagram) => self.on_datagram(&mut call, &datagram),
            Input::Timer => self.on_timer(&mut call),
            Input::JobDone { job, result } => self.on_job(&mut call, job, result),
            Input::Operator(operator) => self.on_operator(&mut call, operator),
            Input::Redirect { session, to } => {
                self.with_established(&mut call, session, |state, cx| state.begin_leaving(cx, to));
            }
            Input::RedirectNewcomers(to) => {
                let redirect = &mut self.world.config.extensions.redirect;
                redirect.whom = if to.is_some() { Redirected::All } else { Redirected::WhenFull };
                redirect.to = to;
            }
            Input::DataPlane(event) => self.on_data_plane(&mut call, event),
            Input::Alive { session } => {
                if let Some(Session { state: State::Established(state), .. }) =
                    self.sessions.get_mut(&session)
                {
                    state.note_alive(now);
                }
            }
            Input::Shutdown => self.begin_shutdown(&mut call),
        }
        while let Some((session, reason)) = self.world.to_end.pop_front() {
            self.with_session(&mut call, session, |session, _| Session {
                state: State::Ended(reason),
                ..session
            });
        }
        self.check_shutdown(&mut call);
    }

    /// When to call with [`Input::Timer`] next, and why.
    pub fn next_wakeup(&self) -> Option<(Instant, WakeReason)> {
        let session = self.world.wakes.first().map(|(at, _, reason)| (*at, *reason));
        let shutdown = self.shutdown.map(|shutdown| (shutdown.deadline, WakeReason::Shutdown));
        session.into_iter().chain(shutdown).min()
    }

    /// Drops the session that was at work when [`Endpoint::handle`] panicked, with everything it holds, and says which
    /// it was. All other sessions go on.
    pub fn recover(&mut self, now: Instant, env: &mut dyn Env, out: &mut Outputs) -> Option<SessionId> {
        let session = self.current.take()?;
        self.sessions.remove(&session);
        let mut cx = Cx { now, env, out, world: &mut self.world };
        cx.count(IkeCounter::InternalErrors);
        cx.close_session(session, DownReason::Internal);
        Some(session)
    }

    /// Totals since start.
    pub fn counters(&self) -> &IkeCounters {
        &self.world.counters
    }

    /// Handshakes under way.
    pub fn half_open(&self) -> usize {
        self.world.half_open.total()
    }

    /// Sessions that are up.
    pub fn established(&self) -> usize {
        self.sessions.values().filter(|session| session.state.name() == StateName::Established).count()
    }

    /// Everything that is held: sessions in any state, closing and ended-but-answering ones included.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The state of a session's IKE SA; `None` unless the session is up.
    pub fn ike_facts(&self, session: SessionId) -> Option<IkeFacts> {
        match &self.sessions.get(&session)?.state {
            State::Established(state) => Some(state.ike_facts()),
            _ => None,
        }
    }

    /// The name of a session's state, as in `docs/ike.md`.
    pub fn state_of(&self, session: SessionId) -> Option<String> {
        self.sessions.get(&session).map(|session| session.state.name().to_string())
    }

    /// Shows the keys of the IKE SA with this SPI of ours to `look`, for operators who debug. `None` if there is none.
    pub fn look_at_keys<R>(
        &mut self,
        local_spi: u64,
        look: impl FnOnce(IkeSpis, Role, &IkeKeys) -> R,
    ) -> Option<R> {
        let session = self.world.ike_spis.get(&local_spi)?;
        let sa = self.sessions.get_mut(session)?.state.sa_mut(local_spi)?;
        Some(look(sa.spis, sa.role, &sa.keys))
    }

    /// Where the client of a session is, half-open or up. Looks through all sessions: for operators only.
    pub fn peer_end(&mut self, session: SessionId) -> Option<(IpAddr, u16)> {
        let spis = self.local_spis(session);
        let state = &mut self.sessions.get_mut(&session)?.state;
        let path = spis.into_iter().find_map(|spi| state.sa_mut(spi).map(|sa| sa.path))?;
        Some((path.peer, path.peer_port))
    }

    /// The session of the IKE SA with this SPI of ours.
    pub fn session_of(&self, local_spi: u64) -> Option<SessionId> {
        self.world.ike_spis.get(&local_spi).copied()
    }

    /// Our SPIs of a session's IKE SAs, in use or not. Looks through all sessions: for operators only.
    pub fn local_spis(&self, session: SessionId) -> Vec<u64> {
        let own = |(spi, owner): (&u64, &SessionId)| (*owner == session).then_some(*spi);
        self.world.ike_spis.iter().filter_map(own).collect()
    }

    pub(crate) fn established_session(&self, session: SessionId) -> Option<&crate::established::Established> {
        match &self.sessions.get(&session)?.state {
            State::Established(state) => Some(state),
            _ => None,
        }
    }

    pub(crate) fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// Sessions that are up and were worked on since the last call: their snapshots may have changed.
    pub fn take_changed(&mut self) -> BTreeSet<SessionId> {
        std::mem::take(&mut self.world.changed)
    }

    pub(crate) fn put_in(&mut self, session: Session) {
        match session.state {
            State::Established(_) => self.world.changed.insert(session.id),
            _ => self.world.changed.remove(&session.id),
        };
        self.world.set_wake(session.id, session.state.next_wakeup());
        self.sessions.insert(session.id, session);
    }

    /// How much is held in each table, for tests and simulations that look for leaks.
    pub fn held(&self) -> Held {
        Held {
            sessions: self.sessions.len(),
            ledger: self.world.pages(),
            ike_spis: self.world.ike_spis.len(),
            child_spis: self.world.child_spis.len(),
            half_open: self.world.half_open.total(),
            first_requests: self.world.first_requests.len(),
            holders: self.world.holders.len(),
            wakes: self.world.wakes.len(),
            jobs: self.world.pending_jobs(),
        }
    }

    fn on_datagram(&mut self, call: &mut Call<'_>, datagram: &Datagram) {
        self.world.counters.bump(IkeCounter::DatagramsIn);
        let Some(header) = parse_header(&datagram.bytes) else {
            self.world.counters.bump(IkeCounter::DropMalformed);
            return;
        };
        if header.major_version != MAJOR_VERSION {
            self.world.counters.bump(IkeCounter::DropMalformed);
            if !header.is_response && header.major_version > MAJOR_VERSION {
                self.answer_stranger(call, datagram, &header, NotifyType::InvalidMajorVersion);
            }
            return;
        }
        if matches!(header.exchange, ExchangeType::IkeSaInit | ExchangeType::IkeSessionResume) {
            return self.on_first_request(call, datagram, &header);
        }
        // The I flag says which of the two SPIs is ours.
        let local_spi = if header.from_initiator { header.responder_spi } else { header.initiator_spi };
        match self.world.ike_spis.get(&local_spi.0).copied() {
            Some(session) if is_cisco_fragment(&datagram.bytes) => {
                self.on_fragment(call, session, local_spi.0, datagram);
            }
            Some(session) => {
                self.with_session(call, session, |session, cx| session.on_datagram(cx, local_spi.0, datagram))
            }
            None => {
                self.world.counters.bump(IkeCounter::DropUnknownSpi);
                if !header.is_response {
                    self.answer_stranger(call, datagram, &header, NotifyType::InvalidIkeSpi);
                }
            }
        }
    }

    /// A piece of a message, if the session has agreed to such.
    fn on_fragment(&mut self, call: &mut Call<'_>, session: SessionId, local_spi: u64, datagram: &Datagram) {
        let agreed = |session: &mut Session| session.state.fragmentation(local_spi) == Fragmentation::Cisco;
        let pushed = match self.sessions.get_mut(&session).is_some_and(agreed) {
            true => self.world.fragments.push(call.now, local_spi, datagram),
            false => Pushed::Dropped,
        };
        match pushed {
            Pushed::Held => {}
            Pushed::Dropped => self.world.counters.bump(IkeCounter::DropFragment),
            Pushed::Whole(bytes) => {
                let whole = Datagram { bytes, ..*datagram };
                self.with_session(call, session, |session, cx| session.on_datagram(cx, local_spi, &whole));
            }
        }
    }

    fn on_first_request(&mut self, call: &mut Call<'_>, datagram: &Datagram, header: &Header) {
        let fits = !header.is_response
            && header.from_initiator
            && header.message_id == 0
            && header.responder_spi.is_zero()
            && !header.initiator_spi.is_zero();
        let message = match Incoming::parse(&datagram.bytes) {
            Ok(Incoming::Clear(message)) if fits => message,
            _ => {
                self.world.counters.bump(IkeCounter::DropMalformed);
                return;
            }
        };
        let Some(nonce) = message.nonce() else {
            self.world.counters.bump(IkeCounter::DropMalformed);
            return;
        };
        let key = FirstRequest {
            initiator_spi: header.initiator_spi.0,
            peer: datagram.peer,
            peer_port: datagram.peer_port,
            nonce: nonce.as_bytes().to_vec(),
        };
        let mut cx = call.cx(&mut self.world);
        if let Some(session) = cx.world.first_requests.get(&key) {
            match self.sessions.get(session).and_then(|session| session.state.init_response()) {
                Some(response) => {
                    let response = Path::of(datagram).datagram(response.to_vec());
                    cx.count(IkeCounter::RetransmitsAnswered);
                    cx.transmit(response);
                }
                None => cx.count(IkeCounter::DropBusy),
            }
            return;
        }
        if cx.world.shutting_down {
            cx.count(IkeCounter::DropShutdown);
            return;
        }
        let begun = match header.exchange {
            ExchangeType::IkeSessionResume => session_resume::begin(&mut cx, datagram, &message, key),
            _ => ike_sa_init::begin(&mut cx, datagram, &message, key),
        };
        if let Some(session) = begun {
            self.put_back(call, session);
        }
    }

    fn on_timer(&mut self, call: &mut Call<'_>) {
        while let Some((at, session, _)) = self.world.wakes.first().copied() {
            if at > call.now {
                return;
            }
            self.with_session(call, session, |session, cx| session.on_timer(cx));
            if self.world.wakes.first().is_some_and(|(next, id, _)| (*next, *id) == (at, session)) {
                // It still wants the same moment: a fault, which must not become an endless loop.
                self.world.counters.bump(IkeCounter::InternalErrors);
                self.with_session(call, session, |session, _| Session {
                    state: State::Ended(DownReason::Internal),
                    ..session
                });
            }
        }
    }

    fn on_job(&mut self, call: &mut Call<'_>, job: JobId, result: JobResult) {
        match call.cx(&mut self.world).job_done(job, &result) {
            JobAnswer::Deliver(session) => {
                self.with_session(call, session, |session, cx| session.on_job(cx, job, result));
            }
            JobAnswer::Discarded => {}
        }
    }

    fn on_operator(&mut self, call: &mut Call<'_>, operator: Operator) {
        match operator {
            Operator::Delete(session) => self
                .with_session(call, session, |session, cx| session.delete(cx, DownReason::OperatorDeleted)),
            Operator::End { session, why } => {
                let reason = match why {
                    PolicyEnd::Idle => DownReason::IdleTimeout,
                    PolicyEnd::Lifetime => DownReason::SessionTimeout,
                    PolicyEnd::TokenReplay => DownReason::TokenReplay,
                };
                self.with_session(call, session, |session, cx| session.delete(cx, reason));
            }
            Operator::Drop(session) => {
                let reason = DownReason::TakenOver;
                self.with_session(call, session, |session, _| Session {
                    state: State::Ended(reason),
                    ..session
                });
            }
            Operator::SetLiveness { session, liveness } => {
                self.with_established(call, session, |state, _| state.set_liveness(liveness));
            }
            Operator::RekeyIke(session) => {
                self.with_established(call, session, |state, cx| state.rekey(cx, Task::RekeyIke));
            }
            Operator::RekeyChildren(session) => {
                self.with_established(call, session, |state, cx| state.rekey_children(cx));
            }
            Operator::RekeyChild { inbound_spi } => {
                if let Some(session) = self.world.child_spis.get(&inbound_spi).copied() {
                    let task = Task::RekeyChild(inbound_spi);
                    self.with_established(call, session, |state, cx| state.rekey(cx, task));
                }
            }
        }
    }

    fn on_data_plane(&mut self, call: &mut Call<'_>, event: DataPlaneEvent) {
        let (DataPlaneEvent::SoftExpired { inbound_spi }
        | DataPlaneEvent::HardExpired { inbound_spi }
        | DataPlaneEvent::PeerMoved { inbound_spi, .. }
        | DataPlaneEvent::FirstInbound { inbound_spi }) = event;
        if let Some(session) = self.world.child_spis.get(&inbound_spi).copied() {
            self.with_established(call, session, |state, cx| state.on_data_plane(cx, event));
        }
    }

    fn with_established(
        &mut self,
        call: &mut Call<'_>,
        session: SessionId,
        act: impl FnOnce(Box<crate::established::Established>, &mut Cx<'_>) -> State,
    ) {
        self.with_session(call, session, |mut session, cx| {
            session.state = match session.state {
                State::Established(state) => act(state, cx),
                state => state,
            };
            session
        });
    }

    /// Hands the session out, takes it back, and ends it if it has ended.
    fn with_session(
        &mut self,
        call: &mut Call<'_>,
        id: SessionId,
        act: impl FnOnce(Session, &mut Cx<'_>) -> Session,
    ) {
        let Some(session) = self.sessions.remove(&id) else { return };
        let before = session.state.name();
        self.current = Some(id);
        let session = act(session, &mut call.cx(&mut self.world));
        self.current = None;
        let after = session.state.name();
        debug_assert!(before == after || before.next().contains(&after), "from {before} to {after}");
        self.put_back(call, session);
    }

    fn put_back(&mut self, call: &mut Call<'_>, session: Session) {
        if let State::Ended(reason) = session.state {
            call.cx(&mut self.world).close_session(session.id, reason);
            return;
        }
        self.put_in(session);
    }

    /// A clear error for somebody without an IKE SA here: rate-limited, and never an answer to an answer.
    fn answer_stranger(
        &mut self,
        call: &mut Call<'_>,
        datagram: &Datagram,
        header: &Header,
        kind: NotifyType,
    ) {
        let second = call.now.as_millis() / 1000;
        if second != self.stray_second {
            self.stray_second = second;
            self.stray_answers = 0;
        }
        if self.stray_answers >= MAX_STRAY_ANSWERS_PER_SEC {
            return;
        }
        self.stray_answers = self.stray_answers.saturating_add(1);
        let answer = Header::new(
            header.initiator_spi,
            header.responder_spi,
            header.exchange,
            !header.from_initiator,
            true,
            header.message_id,
        );
        let message = Message::new(answer, vec![Payload::Notify(Notify::new(kind))]);
        if let Ok(bytes) = message.emit_clear() {
            call.cx(&mut self.world).transmit(Path::of(datagram).datagram(bytes));
        }
    }

    fn begin_shutdown(&mut self, call: &mut Call<'_>) {
        if self.shutdown.is_some() {
            return;
        }
        self.world.shutting_down = true;
        let deadline = call.now.plus_millis(self.world.config.timing.shutdown_ms);
        self.shutdown = Some(Shutdown { deadline });
        let mut all: Vec<SessionId> = self.sessions.keys().copied().collect();
        all.sort_unstable();
        for session in all {
            self.with_session(call, session, |session, cx| session.delete(cx, DownReason::Shutdown));
        }
    }

    fn check_shutdown(&mut self, call: &mut Call<'_>) {
        let Some(shutdown) = self.shutdown else { return };
        let closing = |session: &&Session| session.state.name() == StateName::Closing;
        let unanswered = self.sessions.values().filter(closing).count();
        if unanswered > 0 && call.now < shutdown.deadline {
            return;
        }
        let mut rest: Vec<SessionId> = self.sessions.keys().copied().collect();
        rest.sort_unstable();
        for session in rest {
            self.with_session(call, session, |session, _| Session {
                state: State::Ended(DownReason::Shutdown),
                ..session
            });
        }
        self.shutdown = None;
        call.out.push(Output::Event(Event::ShutdownComplete { unanswered }));
    }
}

/// How many entries each table of an endpoint has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Sessions in any state.
    pub sessions: usize,
    /// Pages of the ledger; always as many as sessions.
    pub ledger: usize,
    /// SPIs of IKE SAs.
    pub ike_spis: usize,
    /// Inbound SPIs of Child SAs.
    pub child_spis: usize,
    /// Half-open IKE SAs.
    pub half_open: usize,
    /// IKE_SA_INIT requests remembered.
    pub first_requests: usize,
    /// Holders of sessions that are up.
    pub holders: usize,
    /// Sessions with a timer.
    pub wakes: usize,
    /// Jobs without an answer.
    pub jobs: usize,
}

/// What one call of [`Endpoint::handle`] works with.
struct Call<'a> {
    now: Instant,
    env: &'a mut dyn Env,
    out: &'a mut Outputs,
}

impl Call<'_> {
    fn cx<'b>(&'b mut self, world: &'b mut World) -> Cx<'b> {
        Cx { now: self.now, env: self.env, out: self.out, world }
    }
}

fn parse_header(bytes: &[u8]) -> Option<Header> {
    if bytes.len() < HEADER_LEN {
        return None;
    }
    Header::parse(bytes).ok()
}
