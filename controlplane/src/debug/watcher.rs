//! The driver's side of debugging: decides at every datagram, job and event whether somebody watches, and writes the lines.
//!
//! Enters: what the driver sees. Leaves: lines of target [`TARGET`](super::TARGET). While nothing is set each call is one
//! load of an atomic flag.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use causeway_ike::Endpoint;
use causeway_ike::api::{Datagram, EapOutcome, EapStep, Event, Inner, Job, JobKind, JobResult, SessionId};
use causeway_ike::counters::IkeCounter;
use causeway_ike::crypto::Role;
use causeway_ike::job::PublicKeyJob;
use causeway_shared::api::{DebugTopic, MAX_CONDITION_TEXT};

use super::board::{Board, Orders};
use super::describe;

/// Lines in one second; more are counted and left out.
pub const MAX_LINES_PER_SEC: u32 = 2_000;
/// Sessions that are watched at once; further ones are watched only by their peer's address.
pub const MAX_WATCHED: usize = 10_000;

/// Where a session's client is.
type End = (IpAddr, u16);

/// Watches for the operator.
pub struct Watcher {
    board: Arc<Board>,
    version: u64,
    orders: Orders,
    /// Sessions that match, half-open ones included, with the peer's end.
    sessions: BTreeMap<u64, End>,
    /// Their jobs under way.
    jobs: BTreeMap<u64, u64>,
    /// Whose datagram is being handled, if it is watched: what begins now belongs to it.
    current: Option<End>,
    second: u64,
    lines_of_second: u32,
}

/// A session that is up, as conditions see it.
pub struct Party<'a> {
    /// Which.
    pub session: u64,
    /// The authenticated user.
    pub user: &'a str,
    /// The peer's outer address.
    pub peer: IpAddr,
    /// The peer's outer port.
    pub peer_port: u16,
}

impl Watcher {
    /// Watches what is set on `board`.
    pub fn new(board: Arc<Board>) -> Watcher {
        Watcher {
            board,
            version: 0,
            orders: Orders::default(),
            sessions: BTreeMap::new(),
            jobs: BTreeMap::new(),
            current: None,
            second: 0,
            lines_of_second: 0,
        }
    }

    /// Whether anybody is watched. `parties` are the sessions that are up; they are looked at only when conditions have
    /// changed.
    pub fn is_armed<'a>(&mut self, now: Duration, parties: impl Iterator<Item = Party<'a>>) -> bool {
        if !self.board.is_armed() {
            return false;
        }
        let expired = self.orders.until.is_some_and(|until| until <= now);
        if expired || self.version != self.board.version() {
            (self.version, self.orders) = self.board.orders(now);
            let orders = &self.orders;
            let matches = |party: &Party<'_>| {
                orders.address(party.peer) || orders.name(party.session, Some(party.user))
            };
            let ends = parties.filter(matches).take(MAX_WATCHED);
            self.sessions = ends.map(|party| (party.session, (party.peer, party.peer_port))).collect();
        }
        self.board.is_armed()
    }

    /// A datagram arrived and is about to be handled. Returns whether it is watched.
    pub fn arrived(&mut self, now: Duration, endpoint: &mut Endpoint, datagram: &Datagram) -> bool {
        let end = (datagram.peer, datagram.peer_port);
        if !self.watches_end(end) {
            return false;
        }
        self.current = Some(end);
        self.datagram(now, endpoint, datagram, true);
        true
    }

    /// The datagram that arrived is handled; it was counted as these.
    pub fn handled(&mut self, now: Duration, counted: impl Iterator<Item = IkeCounter>) {
        let Some((peer, peer_port)) = self.current.take() else { return };
        if self.wants(DebugTopic::Error) {
            for counter in counted.filter(|counter| describe::is_error(*counter)) {
                let (counter, meaning) = (counter.name(), counter.meaning());
                self.line(now, || {
                    tracing::info!(
                        target: "causeway_debug", topic = "error", %peer, peer_port, counter, "{meaning}"
                    );
                });
            }
        }
    }

    /// A datagram leaves.
    pub fn leaves(&mut self, now: Duration, endpoint: &mut Endpoint, datagram: &Datagram) {
        if self.watches_end((datagram.peer, datagram.peer_port)) {
            self.datagram(now, endpoint, datagram, false);
        }
    }

    /// A job begins.
    pub fn job(&mut self, now: Duration, endpoint: &mut Endpoint, job: &Job) {
        let session = job.session.0;
        if let Some(end) = self.current
            && self.sessions.len() < MAX_WATCHED
        {
            self.sessions.entry(session).or_insert(end);
        }
        if let Some(name) = claimed(&job.kind) {
            self.named(now, endpoint, job.session, &name);
        }
        if self.wants(DebugTopic::Internal) && self.watches_session(session) {
            let (id, what) = (job.id.0, job_name(&job.kind));
            if self.jobs.len() < MAX_WATCHED {
                self.jobs.insert(id, session);
            }
            self.line(now, || {
                tracing::info!(
                    target: "causeway_debug", topic = "internal", session, job = id, "job begins: {what}"
                );
            });
        }
    }

    /// A client that is logging in says that it is this user, which nothing has proved yet: from here on it is watched like
    /// the user.
    pub fn named(&mut self, now: Duration, endpoint: &mut Endpoint, session: SessionId, name: &str) {
        let known = self.sessions.contains_key(&session.0) || self.sessions.len() >= MAX_WATCHED;
        if known || !self.orders.name(session.0, Some(name)) {
            return;
        }
        if let Some(end) = endpoint.peer_end(session) {
            let SessionId(session) = session;
            self.sessions.insert(session, end);
            if self.wants(DebugTopic::Internal) {
                let (peer, peer_port) = end;
                self.line(now, || {
                    tracing::info!(
                        target: "causeway_debug", topic = "internal", session, %peer, peer_port,
                        "a client says that it is {name:?}"
                    );
                });
            }
        }
    }

    /// A job ends.
    pub fn job_ended(&mut self, now: Duration, job: u64, result: &JobResult) {
        // Empty unless a job of a watched session is under way.
        if let Some(session) = self.jobs.remove(&job)
            && self.wants(DebugTopic::Internal)
        {
            let outcome = outcome_name(result);
            self.line(now, || {
                tracing::info!(target: "causeway_debug", topic = "internal", session, job, "job ends: {outcome}");
            });
        }
    }

    /// An event of the endpoint.
    pub fn event(&mut self, now: Duration, event: &Event) {
        let (session, topic, text) = describe::event(event);
        match event {
            Event::SessionUp(facts) => {
                let matches = self.orders.address(facts.peer) || self.orders.name(session, Some(&facts.user));
                if !matches {
                    // It was watched for a name that it is not.
                    self.sessions.remove(&session);
                } else if self.sessions.len() < MAX_WATCHED {
                    self.sessions.insert(session, (facts.peer, facts.peer_port));
                }
            }
            Event::PeerMoved { peer, peer_port, .. } => {
                if let Some(end) = self.sessions.get_mut(&session) {
                    *end = (*peer, *peer_port);
                }
            }
            _ => {}
        }
        let by_failure = match event {
            Event::HandshakeFailed { peer, identity, .. } => {
                self.orders.address(*peer) || self.orders.name(session, identity.as_deref())
            }
            _ => false,
        };
        if self.wants(topic) && (by_failure || self.watches_session(session)) {
            let topic = if topic == DebugTopic::Error { "error" } else { "internal" };
            self.line(now, || tracing::info!(target: "causeway_debug", topic, session, "{text}"));
        }
        if matches!(event, Event::SessionDown { .. } | Event::HandshakeFailed { .. }) {
            self.sessions.remove(&session);
        }
    }

    fn datagram(&mut self, now: Duration, endpoint: &mut Endpoint, datagram: &Datagram, inbound: bool) {
        if !self.wants(DebugTopic::Packet) {
            return;
        }
        let direction = if inbound { "in" } else { "out" };
        let Datagram { local, local_port, peer, peer_port, bytes } = datagram;
        let (text, payloads, session) = match describe::header(bytes) {
            Ok((header, text)) => {
                let sender = if header.from_initiator { Role::Initiator } else { Role::Responder };
                let local_spi = describe::local_spi(&header, inbound);
                let opened = endpoint
                    .look_at_keys(local_spi, |_, _, keys| describe::payloads(bytes, Some((sender, keys))));
                let payloads = opened.unwrap_or_else(|| describe::payloads(bytes, None));
                (text, payloads, endpoint.session_of(local_spi).map(|session| session.0))
            }
            Err(error) => (format!("{} octets", bytes.len()), format!("no IKE message: {error}"), None),
        };
        self.line(now, || {
            tracing::info!(
                target: "causeway_debug",
                topic = "packet", direction, session, %local, local_port, %peer, peer_port, "{text}: {payloads}"
            );
        });
    }

    fn wants(&self, topic: DebugTopic) -> bool {
        self.orders.topics.contains(&topic)
    }

    fn watches_end(&self, end: End) -> bool {
        self.orders.address(end.0) || self.sessions.values().any(|own| *own == end)
    }

    fn watches_session(&self, session: u64) -> bool {
        self.sessions.contains_key(&session) || self.orders.name(session, None)
    }

    fn line(&mut self, now: Duration, write: impl FnOnce()) {
        if now.as_secs() != self.second {
            self.second = now.as_secs();
            self.lines_of_second = 0;
        }
        if self.lines_of_second >= MAX_LINES_PER_SEC {
            self.board.suppressed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.lines_of_second = self.lines_of_second.saturating_add(1);
        self.board.lines.fetch_add(1, Ordering::Relaxed);
        write();
    }
}

/// EAP-Identity (RFC 3748 §5.1): code, identifier, length and type before the name.
const EAP_RESPONSE: u8 = 2;
const EAP_IDENTITY: u8 = 1;

/// The name that a job's client goes by: its IKE identity, or its EAP identity. Longer names than a condition may have are
/// nobody's.
fn claimed(kind: &JobKind) -> Option<String> {
    let name = match kind {
        JobKind::PskLookup { identity } | JobKind::Eap(EapStep::Start { identity, .. }) => {
            identity.to_string()
        }
        JobKind::PublicKey(job) => match &**job {
            PublicKeyJob::Verify(verify) => verify.identity.to_string(),
            _ => return None,
        },
        JobKind::Eap(EapStep::Response { packet }) => match packet.as_slice() {
            [EAP_RESPONSE, _, _, _, EAP_IDENTITY, name @ ..] => String::from_utf8(name.to_vec()).ok()?,
            _ => return None,
        },
        _ => return None,
    };
    (name.len() <= MAX_CONDITION_TEXT).then_some(name)
}

fn job_name(kind: &JobKind) -> &'static str {
    match kind {
        JobKind::PublicKey(_) => "public key",
        JobKind::PskLookup { .. } => "look up the pre-shared key",
        JobKind::FindTicket { .. } => "find what a ticket is for",
        JobKind::MakeTicket(_) => "make a ticket",
        JobKind::Eap(_) => "EAP step",
        JobKind::Address(_) => "lease an address",
        JobKind::InstallChild(_) => "install a Child SA",
    }
}

fn outcome_name(result: &JobResult) -> String {
    match result {
        JobResult::PublicKey(_) => "public key done".to_owned(),
        JobResult::Psk(None) => "no pre-shared key".to_owned(),
        JobResult::Psk(Some(_)) => "pre-shared key found".to_owned(),
        JobResult::TicketFound(None) => "the ticket may not be used".to_owned(),
        JobResult::TicketFound(Some(_)) => "the ticket is good".to_owned(),
        JobResult::TicketMade(None) => "no ticket".to_owned(),
        JobResult::TicketMade(Some(ticket)) => format!("a ticket of {} octets", ticket.octets.len()),
        JobResult::Eap(EapOutcome::Request { packet }) => format!("EAP request of {} octets", packet.len()),
        JobResult::Eap(EapOutcome::Success { user, method, .. }) => {
            format!("EAP success: {user} by {method}")
        }
        JobResult::Eap(EapOutcome::Failure { reason, .. }) => format!("EAP failure: {reason}"),
        JobResult::Address(Ok(lease)) => format!("address {} from {}", inner_text(lease.inner()), lease.pool),
        JobResult::Address(Err(failure)) => format!("no address: {failure:?}"),
        JobResult::Installed(Ok(())) => "installed".to_owned(),
        JobResult::Installed(Err(failure)) => format!("not installed: {failure:?}"),
        JobResult::Unavailable => "could not be done".to_owned(),
    }
}

/// Both families, as far as there are any.
fn inner_text(inner: Inner) -> String {
    let v4 = inner.v4.map(|address| address.to_string());
    let v6 = inner.v6.map(|inner| format!("{}/{}", inner.address, inner.prefix_len));
    v4.into_iter().chain(v6).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use causeway_ike::api::{DownReason, SessionId};
    use causeway_shared::api::{DebugMatch, NewCondition};

    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const PEER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const PEER: IpAddr = IpAddr::V4(PEER4);

    fn watcher(whose: DebugMatch) -> (Arc<Board>, Watcher) {
        let board = Arc::new(Board::default());
        board.add(NOW, NewCondition { whose, secs: Some(60), until_reset: false }).unwrap();
        (Arc::clone(&board), Watcher::new(board))
    }

    fn down(session: u64) -> Event {
        Event::SessionDown { session: SessionId(session), reason: DownReason::PeerDead }
    }

    fn parties() -> impl Iterator<Item = Party<'static>> {
        let party = |session, user, peer| Party { session, user, peer, peer_port: 4500 };
        [party(1, "alice", PEER), party(2, "bob", PEER), party(3, "alice", Ipv4Addr::LOCALHOST.into())]
            .into_iter()
    }

    fn lines(board: &Board) -> u64 {
        board.state(NOW).lines
    }

    #[test]
    fn only_sessions_that_match_are_logged() {
        for (whose, logged) in [
            (DebugMatch::Username("alice".into()), [true, false, true]),
            (DebugMatch::PeerIpv4(PEER4), [true, true, false]),
            (DebugMatch::Session("2".into()), [false, true, false]),
            (DebugMatch::Session("not a number".into()), [false; 3]),
        ] {
            let (board, mut watcher) = watcher(whose.clone());
            assert!(watcher.is_armed(NOW, parties()));
            for (session, logged) in (1..).zip(logged) {
                let before = lines(&board);
                watcher.event(NOW, &down(session));
                assert_eq!(lines(&board) > before, logged, "{whose:?} {session}");
            }
        }
    }

    #[test]
    fn a_condition_that_is_over_costs_nothing_and_shows_nothing() {
        let (board, mut watcher) = watcher(DebugMatch::PeerIpv4(PEER4));
        assert!(watcher.is_armed(NOW, parties()));
        assert!(!watcher.is_armed(NOW + Duration::from_secs(60), parties()));
        assert!(!watcher.is_armed(NOW, std::iter::from_fn(|| panic!("nobody is asked for"))));
        board.reset();
        assert!(!watcher.is_armed(NOW, parties()));
    }

    #[test]
    fn topics_choose_what_is_logged() {
        let (board, mut watcher) = watcher(DebugMatch::PeerIpv4(PEER4));
        board.set_topics(&[DebugTopic::Error]);
        assert!(watcher.is_armed(NOW, parties()));
        watcher.event(NOW, &down(1));
        assert_eq!(lines(&board), 0, "an end is no error");
        watcher.event(NOW, &Event::ChildRefused { session: SessionId(2), notify: "TS_UNACCEPTABLE".into() });
        assert_eq!(lines(&board), 1);
    }

    #[test]
    fn lines_are_bounded_in_each_second() {
        let (board, mut watcher) = watcher(DebugMatch::Session("9".into()));
        assert!(watcher.is_armed(NOW, parties()));
        let event = Event::ChildRefused { session: SessionId(9), notify: String::new() };
        for _ in 0..MAX_LINES_PER_SEC + 5 {
            watcher.event(NOW, &event);
        }
        let state = board.state(NOW);
        assert_eq!((state.lines, state.suppressed), (u64::from(MAX_LINES_PER_SEC), 5));
        watcher.event(NOW + Duration::from_secs(1), &event);
        assert_eq!(lines(&board), u64::from(MAX_LINES_PER_SEC) + 1);
    }
}
