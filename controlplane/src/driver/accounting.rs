//! Accounting in the driver: what happens to sessions becomes records, which the bookkeeper brings to a RADIUS server.
//!
//! Enters: the same events that the session databases see. Leaves: records. Nothing here waits for a server.

use causeway_ike::api::{DownReason, SessionFacts, SessionId};
use causeway_radius::accounting::{Record, Subject, Usage};
use causeway_radius::attribute::{Authentic, StatusType, TerminateCause};
use std::collections::HashMap;

use super::core::Core;
use crate::aaa::radius::{Accountant, Bookkeeper, BookkeeperStatus, Ends};
use crate::link::Link;
use crate::reconnect::{Event, Write};
use crate::store::{DurableId, SessionRecord, Totals, WallSecs};

/// What the driver knows of sessions for RADIUS servers.
pub struct Accounts {
    pub(super) accountant: Accountant,
    /// `None`: no records are kept.
    pub(super) bookkeeper: Option<Bookkeeper>,
    /// Acct-Session-Ids of sessions that can be resumed.
    durable: HashMap<DurableId, String>,
}

impl Accounts {
    /// No sessions yet.
    pub fn new(accountant: Accountant, bookkeeper: Option<Bookkeeper>) -> Accounts {
        Accounts { accountant, bookkeeper, durable: HashMap::new() }
    }

    /// The session that can be resumed of an Acct-Session-Id.
    pub(super) fn durable_id(&self, accounting_id: &str) -> Option<DurableId> {
        self.durable.iter().find(|(_, id)| *id == accounting_id).map(|(durable, _)| *durable)
    }

    /// What still brings records to a server.
    pub fn into_bookkeeper(self) -> Option<Bookkeeper> {
        self.bookkeeper
    }

    fn tell(&mut self, record: Option<Record>) {
        if let (Some(bookkeeper), Some(record)) = (&mut self.bookkeeper, record) {
            bookkeeper.record(record);
        }
    }
}

impl<L: Link> Core<L> {
    /// Keeps accounts from now on.
    #[must_use]
    pub fn accounted_by(mut self, accounts: Option<Accounts>) -> Core<L> {
        self.accounts = accounts;
        self
    }

    /// A user has an address.
    pub(super) fn account_login(&mut self, session: SessionId, record: &SessionRecord, resumable: bool) {
        let Some(accounts) = &mut self.accounts else { return };
        accounts.accountant.open(Some(session.0), record);
        if resumable {
            accounts.durable.insert(record.id, record.accounting_id.clone());
        }
    }

    /// A session came up.
    pub(super) fn account_up(&mut self, facts: &SessionFacts) {
        // A session of an earlier run has told its start in that run.
        if self.is_restoring() {
            return;
        }
        let (now, ends) = (self.desk.wall(), self.ends(facts.session));
        let known = self.table.of_session(facts.session.0).map(|(record, _)| record.accounting_id.clone());
        let Some(accounts) = &mut self.accounts else { return };
        let record = accounts.accountant.up(facts.session.0, known.as_deref(), ends, now);
        accounts.tell(record);
    }

    /// A session went down; `durable`: the session that can be resumed, if it still is one.
    pub(super) fn account_down(
        &mut self,
        session: u64,
        reason: DownReason,
        totals: Totals,
        durable: Option<DurableId>,
    ) {
        let now = self.desk.wall();
        let waits =
            reason == DownReason::TakenOver || durable.is_some_and(|id| self.table.phase(&id).is_some());
        let Some(accounts) = &mut self.accounts else { return };
        let record = match waits {
            true => accounts.accountant.waits(session, totals, now),
            false => accounts.accountant.ended(session, totals, cause(reason), now),
        };
        accounts.tell(record);
    }

    /// Why a session is about to end, where its end does not say it.
    pub(super) fn blame(&mut self, session: u64, cause: TerminateCause) {
        if let Some(accounts) = &mut self.accounts
            && let Some(id) = accounts.accountant.id_of(session).map(str::to_owned)
        {
            accounts.accountant.blame(&id, cause);
        }
    }

    /// A login came to nothing.
    pub(super) fn account_never_up(&mut self, session: u64) {
        if let Some(accounts) = &mut self.accounts {
            accounts.accountant.never_up(session);
        }
    }

    /// A session that can be resumed is resumed here; accounts of it may be elsewhere.
    pub(super) fn account_resumed(&mut self, record: &SessionRecord) {
        if let Some(accounts) = &mut self.accounts {
            accounts.accountant.open(None, record);
            accounts.durable.insert(record.id, record.accounting_id.clone());
        }
    }

    /// The session databases tell why a session ends, before they end it.
    pub(super) fn account_event(&mut self, event: &Event) {
        let (id, cause) = match event {
            Event::Expired { id, .. } => (id, TerminateCause::LostCarrier),
            Event::Evicted { id, .. } => (id, TerminateCause::PortPreempted),
            _ => return,
        };
        self.account_given_up(id, cause);
    }

    /// The session databases end a session.
    pub(super) fn account_write(&mut self, write: &Write) {
        if let Write::Remove { id, .. } = write {
            self.account_given_up(id, TerminateCause::AdminReset);
            if let Some(accounts) = &mut self.accounts {
                accounts.durable.remove(id);
            }
        }
    }

    fn account_given_up(&mut self, id: &DurableId, cause: TerminateCause) {
        let now = self.desk.wall();
        let Some(accounts) = &mut self.accounts else { return };
        let Some(accounting_id) = accounts.durable.get(id) else { return };
        let record = accounts.accountant.given_up(accounting_id, cause, now);
        accounts.tell(record);
    }

    /// A session of an earlier run goes on.
    pub(super) fn account_goes_on(&mut self, session: u64, record: &SessionRecord, resumable: bool) {
        let (now, ends) = (self.desk.wall(), self.ends(SessionId(session)));
        let Some(accounts) = &mut self.accounts else { return };
        accounts.accountant.goes_on(session, record, ends, now);
        if resumable {
            accounts.durable.insert(record.id, record.accounting_id.clone());
        }
    }

    /// A session of an earlier run is gone that nobody could have come back to.
    pub(super) fn account_lost(&mut self, record: &SessionRecord) {
        let now = self.desk.wall();
        if let Some(accounts) = &mut self.accounts {
            let record = accounts.accountant.lost(record, now);
            accounts.tell(record);
        }
    }

    /// The gateway begins without any session of an earlier run: servers may forget those that they remember.
    pub(super) fn account_begin(&mut self) {
        let now = self.desk.wall();
        if let Some(accounts) = &mut self.accounts {
            accounts.tell(Some(Record {
                status: StatusType::AccountingOn,
                subject: Subject { session_id: "0".to_owned(), ..Subject::default() },
                authentic: Authentic::Local,
                usage: Usage::default(),
                cause: None,
                reconnect_state: None,
                at_unix_secs: now.0,
            }));
        }
    }

    /// Makes the interim records that are due.
    pub(super) fn account_interims(&mut self, now: WallSecs) {
        let Some(accounts) = &mut self.accounts else { return };
        let (sessions, link) = (&self.sessions, &self.link);
        let carried = |session| sessions.traffic(session, |spi| link.traffic(spi));
        for record in accounts.accountant.due(now, carried) {
            accounts.tell(Some(record));
        }
    }

    /// How accounting stands, if there is any.
    pub(super) fn bookkeeper_status(&self) -> Option<BookkeeperStatus> {
        Some(self.accounts.as_ref()?.bookkeeper.as_ref()?.status())
    }

    /// When [`Core::account_interims`] has something to do.
    pub(super) fn next_interim(&self) -> Option<WallSecs> {
        self.accounts.as_ref()?.accountant.next_interim()
    }

    fn ends(&mut self, session: SessionId) -> Ends {
        let client = self.endpoint.peer_end(session).map(|(address, _)| address);
        Ends { client, gateway: self.endpoint.ike_facts(session).map(|facts| facts.local) }
    }
}

/// Acct-Terminate-Cause of the end of an IKE session (RFC 2866 §5.10).
fn cause(reason: DownReason) -> TerminateCause {
    match reason {
        DownReason::PeerDeleted => TerminateCause::UserRequest,
        DownReason::OperatorDeleted | DownReason::TokenReplay | DownReason::Redirected => {
            TerminateCause::AdminReset
        }
        DownReason::IdleTimeout => TerminateCause::IdleTimeout,
        DownReason::SessionTimeout => TerminateCause::SessionTimeout,
        DownReason::PeerDead => TerminateCause::LostCarrier,
        DownReason::ReplacedByInitialContact | DownReason::TakenOver => TerminateCause::PortPreempted,
        DownReason::NoChildSa | DownReason::PeerMisbehaved => TerminateCause::NasRequest,
        DownReason::Shutdown => TerminateCause::AdminReboot,
        DownReason::Expired | DownReason::Internal => TerminateCause::NasError,
    }
}
