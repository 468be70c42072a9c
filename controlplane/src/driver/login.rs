//! Logins: EAP conversations of both kinds, and the address that a user is given.

use std::net::IpAddr;

use causeway_eap::ServerRandom;
use causeway_eap::anyconnect::{
    self, Accepted, CertificateQuestion, CertificateVerdict, ConversationSetup, Login, PasswordQuestion,
    PasswordVerdict,
};
use causeway_ike::api::{
    AddressFailure, AddressRequest, ClientKind, EapOutcome, EapStep, JobId, JobResult, Lease, SessionId,
};

use super::certificate;
use super::convert;
use super::core::{Core, Services};
use super::env::{fill_random, random};
use super::later::Stored;
use crate::aaa::Account;
use crate::aaa::radius::{Caller, RemotePolicy};
use crate::aaa::{
    AnyConnectAnswer, Asked, Authorization, Conversation, EapAnswer, EapLogin, TurnId, Turned, authorize,
};
use crate::clock;
use crate::link::Link;
use crate::pool::{FamilyWish, Grant, LeaseError, Wish};
use crate::reconnect::Login as NewSession;
use crate::reconnect::attributes;
use crate::store::{DurableId, MAX_CLIENT_OCTETS, SessionRecord, StoreError, StoredState, Totals};

/// What a login leaves for the address that follows.
pub(super) struct LoginNotes {
    /// The group chosen in the form.
    group: Option<String>,
    /// What the client said of itself, as JSON.
    client: Vec<u8>,
    /// What a RADIUS server said.
    remote: Option<RemotePolicy>,
    /// Acct-Session-Id under which RADIUS servers know it already.
    accounting_id: Option<String>,
}

impl<L: Link> Core<L> {
    /// A step of an EAP conversation; `None` if its answer comes later.
    pub(super) fn eap(&mut self, job: JobId, session: SessionId, step: EapStep) -> Option<EapOutcome> {
        match step {
            EapStep::Start { client: ClientKind::AnyConnect, signed_octets, prf, .. } => {
                let setup = ConversationSetup {
                    identifier: 1,
                    handle: u32::from_be_bytes(random()),
                    session_number: u32::from_be_bytes(random()),
                    session_secret: random(),
                    initiator_signed_octets: signed_octets,
                };
                let answer = self.services.anyconnect.start(session.0, setup, prf);
                self.anyconnect(job, session, answer)
            }
            EapStep::Start { .. } => {
                let conversation = self.conversation(session, ServerRandom::draw(fill_random));
                let answer = self.services.conversations.start(session.0, conversation);
                Some(self.eap_outcome(session, answer))
            }
            EapStep::Response { packet } if self.services.anyconnect.has(session.0) => {
                let answer = self.services.anyconnect.respond(session.0, &packet);
                self.anyconnect(job, session, answer)
            }
            EapStep::Response { packet } => {
                if self.lock_of(session, &packet).is_some() {
                    self.services.conversations.abandon(session.0);
                    return Some(self.refuse_locked(&packet));
                }
                let answer = match self.services.conversations.respond(session.0, packet) {
                    Asked::Now(answer) => Some(answer),
                    Asked::Work(turn, work) => {
                        let room = self.desk.eap_work(self.jobs.patient_threads(), job, session, turn, work);
                        if room { None } else { self.services.conversations.turned(session.0, turn, None) }
                    }
                    Asked::Wait(turn, wait) => {
                        self.desk.eap_wait(job, session, turn, wait);
                        None
                    }
                };
                answer.map(|answer| self.eap_outcome(session, answer))
            }
        }
    }

    /// A standard EAP conversation: with a RADIUS server, if there is one for logins, or with the local users.
    fn conversation(&mut self, session: SessionId, random: ServerRandom) -> Box<dyn Conversation> {
        let identifier = random.identifier;
        let Some(radius) = &self.services.radius_eap else { return self.services.local_eap.open(random) };
        let local = self.services.local_eap_allowed.then(|| self.services.local_eap.open(random));
        let client = self.endpoint.peer_end(session).map(|(address, _)| address);
        let gateway = self.endpoint.ike_facts(session).map(|facts| facts.local);
        let caller = Caller { session: session.0, accounting_id: new_accounting_id(), client, gateway };
        radius.open(caller, identifier, local)
    }

    fn eap_outcome(&mut self, session: SessionId, answer: EapAnswer) -> EapOutcome {
        match answer {
            EapAnswer::Request(packet) => EapOutcome::Request { packet },
            EapAnswer::Success { packet, login } => {
                let EapLogin { user, method, msk, remote } = login;
                self.login_succeeded(session, &user);
                if let Some(remote) = remote {
                    let group_attribute = self.services.group_attribute;
                    let notes = LoginNotes {
                        group: None,
                        client: Vec::new(),
                        remote: Some(RemotePolicy::of(remote.grant, group_attribute)),
                        accounting_id: Some(remote.accounting_id),
                    };
                    self.logins.insert(session.0, notes);
                }
                EapOutcome::Success { packet, user, method, msk }
            }
            EapAnswer::Failure { packet, reason } => {
                match reason.is_the_users() {
                    true => self.login_failed(session),
                    false => self.login_unjudged(session),
                }
                EapOutcome::Failure { packet, reason: reason.to_string() }
            }
        }
    }

    pub(super) fn eap_turned(
        &mut self,
        job: JobId,
        session: SessionId,
        turn: TurnId,
        turned: Option<Turned>,
    ) {
        // Who abandoned the conversation no longer waits for the job.
        if let Some(answer) = self.services.conversations.turned(session.0, turn, turned) {
            let outcome = self.eap_outcome(session, answer);
            self.answer_job(job, JobResult::Eap(outcome));
        }
    }

    pub(super) fn password_judged(&mut self, job: JobId, session: SessionId, verdict: PasswordVerdict) {
        match &verdict {
            PasswordVerdict::Refused => self.login_failed(session),
            PasswordVerdict::Accepted(accepted) => self.login_succeeded(session, &accepted.user),
            PasswordVerdict::Challenge { .. } | PasswordVerdict::Unavailable => {}
        }
        let answer = self.services.anyconnect.password(session.0, verdict);
        if let Some(outcome) = self.anyconnect(job, session, answer) {
            self.answer_job(job, JobResult::Eap(outcome));
        }
    }

    /// `names`: what the certificate names, if it is good.
    pub(super) fn certificate_judged(
        &mut self,
        job: JobId,
        session: SessionId,
        names: Result<Vec<String>, String>,
    ) {
        let Services { directory, aaa, .. } = &self.services;
        let verdict = match names {
            Err(reason) => CertificateVerdict::Refused { reason },
            Ok(names) => match names.into_iter().find(|name| directory.user(name).is_some()) {
                Some(user) => {
                    let banner = authorize(directory, aaa, &user, None, None).banner;
                    CertificateVerdict::Accepted(Accepted { user, banner })
                }
                None => CertificateVerdict::Refused { reason: "the certificate names no user".to_owned() },
            },
        };
        let answer = self.services.anyconnect.certificate(session.0, verdict);
        if let Some(outcome) = self.anyconnect(job, session, answer) {
            self.answer_job(job, JobResult::Eap(outcome));
        }
    }

    fn anyconnect(&mut self, job: JobId, session: SessionId, answer: AnyConnectAnswer) -> Option<EapOutcome> {
        for note in self.services.anyconnect.take_notes(session.0) {
            tracing::debug!(session = session.0, ?note, "odd thing in AnyConnect-EAP");
        }
        let mut answer = answer;
        loop {
            answer = match answer {
                AnyConnectAnswer::Request(packet) => return Some(EapOutcome::Request { packet }),
                AnyConnectAnswer::Success { packet, login } => {
                    let user = login.user().to_owned();
                    self.logins.insert(session.0, LoginNotes::of(&login));
                    let method = anyconnect::METHOD;
                    return Some(EapOutcome::Success { packet, user, method, msk: None });
                }
                AnyConnectAnswer::Failure { packet, reason } => {
                    return Some(EapOutcome::Failure { packet, reason: reason.to_string() });
                }
                AnyConnectAnswer::CheckPassword(question) => {
                    if self.check_password(job, session, question) {
                        return None;
                    }
                    self.services.anyconnect.password(session.0, PasswordVerdict::Unavailable)
                }
                AnyConnectAnswer::CheckCertificate(question) => {
                    if self.check_certificate(job, session, question) {
                        return None;
                    }
                    self.services.anyconnect.certificate(session.0, CertificateVerdict::Unavailable)
                }
            };
        }
    }

    fn check_password(&mut self, job: JobId, session: SessionId, question: PasswordQuestion) -> bool {
        if self.watcher.is_armed(clock::now(), self.sessions.parties()) {
            self.watcher.named(clock::now(), &mut self.endpoint, session, &question.user);
        }
        if self.lock_of_user(session, &question.user).is_some() {
            // As slow and as silent as a wrong password.
            let check = || {
                Account::default().accepts("");
                None
            };
            return self.desk.check(self.jobs.threads(), job, session, check);
        }
        let account = self.services.directory.account(&question.user);
        // A certificate beside the password must be the same user's.
        let other = question.certificate_identity.as_ref().is_some_and(|name| *name != question.user);
        let (user, password) = (question.user, question.password);
        let banner =
            authorize(&self.services.directory, &self.services.aaa, &user, question.group.as_deref(), None)
                .banner;
        let check = move || {
            let good = account.accepts(password.as_str()) && !other;
            good.then_some(Accepted { user, banner })
        };
        self.desk.check(self.jobs.threads(), job, session, check)
    }

    fn check_certificate(&mut self, job: JobId, session: SessionId, question: CertificateQuestion) -> bool {
        let keyring = self.jobs.keyring();
        let Some(prf) = self.services.anyconnect.prf(session.0) else { return false };
        let verify = move || certificate::names(&keyring, question, prf, clock::unix_secs());
        self.desk.verify(self.jobs.patient_threads(), job, session, verify)
    }

    /// An address for who has proved itself; `None` if the answer comes later.
    pub(super) fn address(
        &mut self,
        job: JobId,
        session: SessionId,
        request: AddressRequest,
    ) -> Option<Result<Lease, AddressFailure>> {
        for (kind, octets, hex) in attributes::probe(&request.attributes) {
            tracing::debug!(session = session.0, kind, octets, %hex, "attribute probe");
        }
        if request.resume.is_some() {
            return self.resume(job, session, request);
        }
        let notes = self.logins.remove(&session.0);
        let chosen = notes.as_ref().and_then(|notes| notes.group.as_deref());
        let remote = notes.as_ref().and_then(|notes| notes.remote.as_ref());
        let authorization =
            authorize(&self.services.directory, &self.services.aaa, &request.user, chosen, remote);
        if !self.has_room_for_one_more(&request.user) {
            return Some(Err(AddressFailure::NotAllowed));
        }
        self.limits.idle_for(session.0, authorization.idle_secs);
        let grant = match self.grant(session, &request, &authorization) {
            Ok(grant) => grant,
            Err(LeaseError::Exhausted) => return Some(Err(AddressFailure::Exhausted)),
            Err(LeaseError::FixedTaken) => return Some(Err(AddressFailure::NotAllowed)),
        };
        let lease = convert::lease(grant, &authorization, &request.attributes);
        let settings = self.table.settings();
        let wants = attributes::wants_reconnect(&settings.attributes, &request.attributes);
        let by_token = settings.enabled && wants;
        let by_ticket = !by_token && request.ticket && self.tickets.is_some();
        let (client, accounting_id) =
            notes.map(|notes| (notes.client, notes.accounting_id)).unwrap_or_default();
        let known = (client, accounting_id.unwrap_or_else(new_accounting_id));
        if !by_token && !by_ticket {
            self.limit_lifetime(session, authorization.session_lifetime_secs);
            let record = self.record(&request.user, &authorization, &lease, known);
            self.account_login(session, &record, false);
            self.note_plain_login(session.0, SessionRecord { generation: 1, ..record });
            return Some(Ok(lease));
        }
        self.store_login(job, session, request, &authorization, (lease, known, by_ticket))
    }

    fn grant(
        &mut self,
        session: SessionId,
        request: &AddressRequest,
        authorization: &Authorization,
    ) -> Result<Grant, LeaseError> {
        let wish = Wish {
            v4: family(request.ip4, authorization.address),
            v6: family(request.ip6, authorization.address6),
            pool: authorization.pool.as_deref(),
        };
        let first = self.services.pools.lease_for(session.0, &request.user, wish);
        let freed = match first {
            Ok(grant) => return Ok(grant),
            Err(LeaseError::Exhausted) => self.table.reclaim(wish.pool),
            // Whose own address it is has left a session waiting with it, and is here again.
            Err(LeaseError::FixedTaken) => {
                let own = [authorization.address.map(IpAddr::V4), authorization.address6.map(IpAddr::V6)];
                let waiting = own.map(|own| own.is_some_and(|own| self.table.supersede(&request.user, own)));
                waiting.contains(&true)
            }
        };
        if !freed {
            return first;
        }
        self.settle();
        self.services.pools.lease_for(session.0, &request.user, wish)
    }

    fn store_login(
        &mut self,
        job: JobId,
        session: SessionId,
        request: AddressRequest,
        authorization: &Authorization,
        (lease, known, by_ticket): (Lease, (Vec<u8>, String), bool),
    ) -> Option<Result<Lease, AddressFailure>> {
        let lifetime = authorization.session_lifetime_secs;
        let record = self.record(&request.user, authorization, &lease, known);
        let login = NewSession { session: session.0, record, method: request.method, by_ticket };
        match self.table.login(login, &mut fill_random) {
            Ok((record, tokens)) => {
                self.account_login(session, &record, true);
                let stored = Stored {
                    job,
                    session,
                    lease,
                    id: record.id,
                    token: tokens.current.clone(),
                    requested: request.attributes,
                    outcome: Err(StoreError::Closed),
                };
                self.desk.put(record, tokens, Box::new(stored));
                None
            }
            Err(error) => {
                tracing::error!(%error, session = session.0, "no token for a session");
                self.limit_lifetime(session, lifetime);
                Some(Ok(lease))
            }
        }
    }

    /// What is stored of a login, with what the client said of itself and the session's id for accounting. Generation and
    /// serial are still to be set.
    fn record(
        &self,
        user: &str,
        authorization: &Authorization,
        lease: &Lease,
        (client, accounting_id): (Vec<u8>, String),
    ) -> SessionRecord {
        let now = self.desk.wall();
        let lifetime = authorization.session_lifetime_secs;
        SessionRecord {
            id: DurableId::random(fill_random),
            generation: 0,
            serial: 0,
            state: StoredState::Active,
            user: user.to_owned(),
            group: authorization.group.clone().unwrap_or_default(),
            profile: self.services.profile.clone(),
            pool: lease.pool.clone(),
            inner_v4: lease.address,
            inner_v6: lease.address6.map(|inner| inner.address),
            attributes: authorization.to_stored(),
            client,
            accounting_id,
            created_at: now,
            ends_at: (lifetime > 0).then(|| now.after(lifetime)),
            resumptions: 0,
            totals: Totals::default(),
        }
    }

    /// What the client is told is stored now, or cannot be: then it is not told.
    pub(super) fn login_stored(&mut self, stored: Stored) {
        let Stored { job, session, mut lease, id, token, requested, outcome } = stored;
        match outcome {
            // What a client is told that comes back with a ticket, it is told with the ticket.
            Ok(()) if self.table.ticket_session(session.0).is_some() => {}
            Ok(()) => lease.attributes.extend(self.table.settings().reply(id, &token, &requested)),
            Err(error) => {
                tracing::error!(%error, session = session.0, "a session cannot be stored, so it cannot be resumed");
                // Its policy still counts.
                if let Some(ends_at) = self.table.of_session(session.0).and_then(|(record, _)| record.ends_at)
                {
                    self.limits.end_at(session.0, ends_at);
                }
                self.table.not_stored(session.0);
            }
        }
        self.answer_job(job, JobResult::Address(Ok(lease)));
    }
}

/// What a client wants of one family, within what is the user's own.
fn family<A>(wish: causeway_ike::api::Wish<A>, fixed: Option<A>) -> FamilyWish<A> {
    let wanted = !matches!(wish, causeway_ike::api::Wish::None);
    FamilyWish { wanted, requested: wish.named(), fixed }
}

/// Names a session for accounting: unique, and the same as long as it lasts.
fn new_accounting_id() -> String {
    random::<8>().iter().map(|octet| format!("{octet:02x}")).collect()
}

impl LoginNotes {
    fn of(login: &Login) -> LoginNotes {
        let client = login.client();
        let facts = serde_json::json!({
            "version": client.version,
            "platform": client.device.platform,
            "computer": client.device.computer_name,
            "device_id": client.device.unique_id,
            "device_id_global": client.device.unique_id_global,
        });
        let mut client = serde_json::to_vec(&facts).unwrap_or_default();
        if client.len() > MAX_CLIENT_OCTETS {
            client = Vec::new();
        }
        LoginNotes { group: login.group().map(str::to_owned), client, remote: None, accounting_id: None }
    }
}
