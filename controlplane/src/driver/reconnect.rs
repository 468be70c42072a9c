//! Auto Reconnect in the driver: attempts to resume, and what the session databases want done.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use causeway_ike::api::{
    AddressFailure, AddressRequest, GatewayAuth, Input, JobId, JobResult, Lease, Operator, PolicyEnd,
    PskAnswer, Secret, SessionId,
};
use causeway_ike::ident::Identity;

use super::convert;
use super::core::Core;
use super::env::fill_random;
use super::later::{Ended, Found};
use crate::aaa::Authorization;
use crate::clock;
use crate::counters::bump;
use crate::link::Link;
use crate::reconnect::attributes::Attribute;
use crate::reconnect::{Effect, Event, Incoming, NotWon, Now, Proof, Resumption, Write};
use crate::sessions::SessionPolicy;
use crate::store::{Changed, Claimed, StoreError, WallSecs};
use crate::tickets::is_of_ticket;

impl<L: Link> Core<L> {
    /// Something that was waited for has ended.
    pub(super) fn later(&mut self, ended: Ended) {
        match ended {
            Ended::Fetched { job, session, found, ticket: None } => {
                let answer = self.offer(session, *found);
                self.answer_job(job, JobResult::Psk(answer));
            }
            Ended::Fetched { job, session, found, ticket: Some(presented) } => {
                let answer = self.ticket_found(session, &presented, *found);
                self.answer_job(job, JobResult::TicketFound(answer));
            }
            Ended::TicketStored(stored) => self.ticket_stored(stored),
            Ended::FetchedAgain { job, session, requested, found } => {
                let now = self.desk.wall();
                match self.table.fetched_again(session.0, *found, &requested, now, &mut fill_random) {
                    Ok(claim) => self.desk.claim(job, session, requested, claim),
                    Err(_) => self.answer_job(job, JobResult::Address(Err(AddressFailure::Refused))),
                }
            }
            Ended::Claimed { job, session, requested, outcome } => {
                if let Some(lease) = self.claimed(job, session, requested, *outcome) {
                    self.answer_job(job, JobResult::Address(lease));
                }
            }
            Ended::Stored(stored) => self.login_stored(*stored),
            Ended::Password { job, session, verdict } => self.password_judged(job, session, verdict),
            Ended::Certificate { job, session, names } => self.certificate_judged(job, session, names),
            Ended::Eap { job, session, turn, turned, .. } => self.eap_turned(job, session, turn, turned),
            Ended::Written { write, ticket, outcome } => {
                self.write_ended(ticket, outcome.is_ok());
                match outcome {
                    Ok(Changed::Done) => {}
                    // Somebody has claimed or removed it since: the claim's own record counts.
                    Ok(Changed::Lost | Changed::Unknown) => tracing::debug!(?write, "overtaken"),
                    Err(error) => tracing::error!(%error, ?write, "the store did not take a change"),
                }
            }
            Ended::Saved(saved) => self.saved(saved),
        }
        self.pump();
    }

    /// The shared key of an identity; `None` if the answer comes later.
    pub(super) fn psk(&mut self, job: JobId, session: SessionId, identity: &Identity) -> Option<JobResult> {
        let mut octets = Vec::new();
        identity.emit(&mut octets);
        let source = self.current_peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let now = self.both_clocks();
        if let Incoming::Fetch(id) = self.table.incoming(session.0, source, &octets, now) {
            self.desk.fetch(job, session, id, None);
            return None;
        }
        if self.source_is_locked() {
            return Some(JobResult::Psk(None));
        }
        let key = self.services.directory.psk(&identity.to_string());
        Some(JobResult::Psk(key.map(|key| PskAnswer {
            key: Secret::new(key.0.clone()),
            previous_key: None,
            burnt_keys: Vec::new(),
            gateway_auth: GatewayAuth::Psk,
            user: None,
            resume: None,
        })))
    }

    fn offer(&mut self, session: SessionId, found: Found) -> Option<PskAnswer> {
        if let Err(error) = &found {
            tracing::error!(%error, "the store cannot be asked about a session");
        }
        let user = found.as_ref().ok().and_then(|found| Some(found.as_ref()?.0.user.clone()));
        let offer = self.table.fetched(session.0, found, self.desk.wall())?;
        Some(offer.answer(user, session.0))
    }

    /// Takes over the session whose token was proven.
    pub(super) fn resume(
        &mut self,
        job: JobId,
        session: SessionId,
        request: AddressRequest,
    ) -> Option<Result<Lease, AddressFailure>> {
        let previous = request.resume.is_some_and(|resume| resume.previous_key);
        let proof = if previous { Proof::Previous } else { Proof::Current };
        let now = self.desk.wall();
        match self.table.proven(session.0, proof, &request.attributes, now, &mut fill_random) {
            Ok(claim) => {
                self.desk.claim(job, session, request.attributes, claim);
                None
            }
            Err(_) => Some(Err(AddressFailure::Refused)),
        }
    }

    /// `None` if the answer comes later: an older attempt of the same client was faster.
    fn claimed(
        &mut self,
        job: JobId,
        session: SessionId,
        requested: Vec<Attribute>,
        outcome: Result<Claimed, StoreError>,
    ) -> Option<Result<Lease, AddressFailure>> {
        if let Err(error) = &outcome {
            tracing::error!(%error, session = session.0, "the store did not take a claim");
        }
        let resumption = self.table.claimed(session.0, outcome);
        // A predecessor goes before its successor comes.
        self.pump();
        match resumption {
            Ok(resumption) => Some(self.resumed(session, &requested, resumption)),
            Err(NotWon::Refused(_)) => Some(Err(AddressFailure::Refused)),
            Err(NotWon::Again(id)) => {
                self.desk.fetch_again(job, session, requested, id);
                None
            }
        }
    }

    fn resumed(
        &mut self,
        session: SessionId,
        requested: &[Attribute],
        resumption: Resumption,
    ) -> Result<Lease, AddressFailure> {
        let grant = resumption.owner.and_then(|owner| self.services.pools.grant_of(owner));
        let Some(grant) = grant else {
            self.table.address_gone(session.0);
            return Err(AddressFailure::Exhausted);
        };
        self.account_resumed(&resumption.record);
        let authorization = Authorization::from_stored(&resumption.record.attributes);
        self.limits.idle_for(session.0, authorization.idle_secs);
        let mut lease = convert::lease(grant, &authorization, requested);
        let left = |ends: WallSecs| ends.0.saturating_sub(self.desk.wall().0).max(1);
        lease.lifetime_secs = convert::lifetime_secs(resumption.record.ends_at.map_or(0, left));
        if let Some(tokens) = resumption.tokens.as_ref().filter(|tokens| !is_of_ticket(&tokens.current)) {
            let id = resumption.record.id;
            lease.attributes.extend(self.table.settings().reply(id, &tokens.current, requested));
        }
        Ok(lease)
    }

    /// A session came up: whoever can come back is asked for life as the reconnect policy says, and has the number that
    /// is stored.
    pub(super) fn make_reconnectable(&mut self, session: u64) {
        let Some((record, _)) = self.table.of_session(session) else {
            if let Some(serial) = self.sessions.serial(session) {
                self.table.serial_is_taken(serial);
            }
            return;
        };
        let left = record.ends_at.map(|ends| ends.0.saturating_sub(self.desk.wall().0));
        let ends_ms = left.map(|secs| clock::millis(clock::now().saturating_add(Duration::from_secs(secs))));
        let group = Some(record.group.clone()).filter(|group| !group.is_empty());
        self.sessions.set_serial(session, record.serial);
        self.sessions.describe(session, SessionPolicy { group, reconnect_capable: true, ends_ms });
        if self.table.ticket_session(session).is_some() {
            // Its client does not expect Auto Reconnect's way of asking.
            return;
        }
        let (session, liveness) = (SessionId(session), self.services.liveness);
        self.inputs.push_back(Input::Operator(Operator::SetLiveness { session, liveness }));
    }

    /// Performs what the session databases want done.
    pub(super) fn settle(&mut self) {
        while let Some(effect) = self.table.pop() {
            match effect {
                // What a peer is told of the end of its session must not be forgotten.
                Effect::Write(write @ (Write::Park { .. } | Write::Remove { .. })) => {
                    self.account_write(&write);
                    let ticket = self.needed_write();
                    self.desk.write(ticket, write);
                }
                Effect::Write(write) => {
                    let ticket = self.free_write();
                    self.desk.write(ticket, write);
                }
                Effect::ReleaseLease { owner } => {
                    if !self.services.pools.release(owner) {
                        bump(&mut self.counts.lease_errors);
                    }
                }
                order @ (Effect::Drop(_) | Effect::Delete(_) | Effect::End(..)) => {
                    if let Effect::Delete(session) | Effect::End(session, _) = order {
                        self.sessions.closing(session);
                    }
                    self.inputs.extend(order.order().map(Input::Operator));
                }
                Effect::Event(event) => {
                    self.account_event(&event);
                    tell(&event);
                }
            }
        }
    }

    /// Lets time pass for sessions that wait, and for those that may not last or carry nothing for ever.
    pub(super) fn expire(&mut self) {
        let now = self.desk.wall();
        self.table.timer(now);
        while let Some(session) = self.limits.outlived(now) {
            self.end(session, PolicyEnd::Lifetime);
        }
        let (sessions, link) = (&self.sessions, &self.link);
        // Whoever cannot send is not idle.
        let carried =
            |session| link.is_carrying().then(|| sessions.carried(session, |spi| link.traffic(spi)));
        for session in self.limits.idle(clock::millis(clock::now()), carried) {
            self.end(session, PolicyEnd::Idle);
        }
        self.account_interims(now);
        self.pump();
    }

    /// When [`Core::expire`] has something to do.
    pub(super) fn time_until_expiry(&self) -> Option<Duration> {
        let end = [self.table.next_deadline(), self.limits.next_end(), self.next_interim()]
            .into_iter()
            .flatten()
            .min();
        let end = end.map(|end| Duration::from_secs(end.0.saturating_sub(self.desk.wall().0)));
        let look = self.limits.next_look_ms().map(Duration::from_millis);
        let look = look.map(|look| look.saturating_sub(clock::now()));
        [end, look].into_iter().flatten().min()
    }

    /// Policy ends a session for good: a client that could come back cannot any more.
    fn end(&mut self, session: u64, why: PolicyEnd) {
        if self.table.end(session, why) || !self.sessions.closing(session) {
            return;
        }
        let session = SessionId(session);
        self.inputs.push_back(Input::Operator(Operator::End { session, why }));
    }

    /// A session that cannot be resumed still ends when its policy says.
    pub(super) fn limit_lifetime(&mut self, session: SessionId, secs: u64) {
        if secs > 0 {
            self.limits.end_at(session.0, self.desk.wall().after(secs));
        }
    }

    /// From now on the session may be idle; what it carried before does not count.
    pub(super) fn begin_idle_watch(&mut self, session: u64) {
        let link = &self.link;
        let carried = self.sessions.carried(session, |spi| link.traffic(spi));
        self.limits.up(session, carried, clock::millis(clock::now()));
    }

    pub(super) fn both_clocks(&self) -> Now {
        Now { monotonic: clock::now(), wall: self.desk.wall() }
    }
}

fn tell(event: &Event) {
    match event {
        Event::Inactive { id, user, waits_secs } => {
            tracing::info!(event = "SESSION_INACTIVE", %user, waits_secs, "session inactive");
            tracing::debug!(%id, "session inactive");
        }
        Event::Resumed { id, user, session, taken_over } => {
            tracing::info!(event = "SESSION_RESUMED", %user, session, taken_over, "session resumed");
            tracing::debug!(%id, session, "session resumed");
        }
        Event::Failed { id, source, reason } => {
            tracing::info!(event = "RECONNECT_FAILED", reason = reason.name(), "reconnect failed");
            tracing::debug!(%id, %source, "reconnect failed");
        }
        Event::Expired { id, user } => {
            tracing::info!(event = "SESSION_EXPIRED", %user, "session expired");
            tracing::debug!(%id, "session expired");
        }
        Event::Evicted { id, user } => {
            tracing::warn!(event = "SESSION_EXPIRED", %user, "an inactive session made room for another one");
            tracing::debug!(%id, "session evicted");
        }
        Event::Replay { id, user, source, killed } => {
            tracing::warn!(event = "TOKEN_REPLAY", %user, %source, killed, "a burnt session token was used");
            tracing::debug!(%id, "token replayed");
        }
    }
}
