//! Which accounting records a session makes (RFC 2866), and which sessions a server's request means.
//!
//! Enters: logins, sessions that come up, wait for their clients, go on and end, what they have carried, the time. Leaves:
//! [`Record`]s. A session keeps its Acct-Session-Id from login to end, however often its client comes back; what it carried
//! before is in every record. Nothing here reads a clock or waits.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use causeway_radius::accounting::{Record, Subject, Usage};
use causeway_radius::attribute::{Authentic, StatusType, TerminateCause};
use causeway_radius::dynamic::Selector;
use causeway_radius::ipv6::{MAX_PREFIX_LENGTH, network};
use causeway_shared::config::{Accounting, OnSuspend, Pool};

use crate::aaa::Authorization;
use crate::store::{SessionRecord, Totals, WallSecs};

/// Interim records made in one go; more are made after the next messages.
pub const MAX_INTERIMS: usize = 256;

/// All sessions that servers may ask about.
pub struct Accountant {
    /// `None`: no records are made.
    policy: Option<Accounting>,
    /// How much IPv6 a client has of a pool: its prefix's length.
    prefix_lengths: HashMap<String, u8>,
    accounts: HashMap<String, Account>,
    by_session: HashMap<u64, String>,
    /// When interim records are due.
    interims: BTreeSet<(WallSecs, String)>,
}

struct Account {
    subject: Subject,
    authentic: Authentic,
    began_at: WallSecs,
    ends_at: Option<WallSecs>,
    /// Carried before the session that holds it now.
    before: Totals,
    interim_secs: u64,
    interim_at: Option<WallSecs>,
    place: Place,
    /// Why it ends, if that is known before it does.
    cause: Option<TerminateCause>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Logged in; not up yet.
    Pending(u64),
    /// Up.
    Up(u64),
    /// It waits for its client.
    Waiting,
}

/// Where a session came to and from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ends {
    /// The client.
    pub client: Option<IpAddr>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
}

/// A session that a server's request means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meant {
    /// Its Acct-Session-Id.
    pub accounting_id: String,
    /// The session that holds it, if it is up.
    pub session: Option<u64>,
}

impl Accountant {
    /// No sessions yet; without a policy no records.
    pub fn new(policy: Option<Accounting>) -> Accountant {
        Accountant {
            policy,
            prefix_lengths: HashMap::new(),
            accounts: HashMap::new(),
            by_session: HashMap::new(),
            interims: BTreeSet::new(),
        }
    }

    /// As these pools give out IPv6.
    #[must_use]
    pub fn with_pools(mut self, pools: &[Pool]) -> Accountant {
        let of_pool = |pool: &Pool| pool.range6.map(|range| (pool.name.clone(), range.client_length));
        self.prefix_lengths = pools.iter().filter_map(of_pool).collect();
        self
    }

    /// A user has logged in, or is there since an earlier run: the session that holds it, if it is up or about to be.
    pub fn open(&mut self, session: Option<u64>, record: &SessionRecord) {
        if record.accounting_id.is_empty() || self.accounts.contains_key(&record.accounting_id) {
            return;
        }
        let allowed = Authorization::from_stored(&record.attributes);
        let configured = self.policy.as_ref().map_or(0, |policy| policy.interim_secs);
        let account = Account {
            subject: Subject {
                user: record.user.clone(),
                session_id: record.accounting_id.clone(),
                port: 0,
                client: None,
                gateway: None,
                address: record.inner_v4,
                address6: record.inner_v6.map(|address| (address, self.prefix_length(&record.pool))),
                class: allowed.class,
            },
            authentic: if allowed.by_radius { Authentic::Radius } else { Authentic::Local },
            began_at: record.created_at,
            ends_at: record.ends_at,
            before: record.totals,
            interim_secs: allowed.interim_secs.unwrap_or(configured),
            interim_at: None,
            place: session.map_or(Place::Waiting, Place::Pending),
            cause: None,
        };
        if let Some(session) = session {
            self.by_session.insert(session, record.accounting_id.clone());
        }
        self.accounts.insert(record.accounting_id.clone(), account);
    }

    /// A session of an earlier run goes on: it has told its start already.
    pub fn goes_on(&mut self, session: u64, record: &SessionRecord, ends: Ends, now: WallSecs) {
        self.open(Some(session), record);
        if let Some(account) = self.accounts.get_mut(&record.accounting_id) {
            account.take(session, ends);
            self.schedule(&record.accounting_id, now);
        }
    }

    /// A session came up. `accounting_id`: that of the session that it goes on with, if it is known.
    pub fn up(
        &mut self,
        session: u64,
        accounting_id: Option<&str>,
        ends: Ends,
        now: WallSecs,
    ) -> Option<Record> {
        let id = accounting_id.map(str::to_owned).or_else(|| self.by_session.get(&session).cloned())?;
        let stops = self.policy.as_ref().is_some_and(|policy| policy.on_suspend == OnSuspend::Stop);
        let account = self.accounts.get_mut(&id)?;
        let is_new = matches!(account.place, Place::Pending(_));
        if let Place::Up(before) = account.place {
            self.by_session.remove(&before);
        }
        account.take(session, ends);
        let record = match is_new || stops {
            true => account.record(StatusType::Start, Totals::default(), now, None),
            false => account.record(StatusType::InterimUpdate, Totals::default(), now, Some("resumed")),
        };
        self.by_session.insert(session, id.clone());
        self.schedule(&id, now);
        self.wanted(record)
    }

    /// A session went down that waits for its client now, or that another one goes on with; `carried` by this one.
    pub fn waits(&mut self, session: u64, carried: Totals, now: WallSecs) -> Option<Record> {
        let id = self.by_session.remove(&session)?;
        let stops = self.policy.as_ref().is_some_and(|policy| policy.on_suspend == OnSuspend::Stop);
        let account = self.accounts.get_mut(&id).filter(|account| account.place == Place::Up(session))?;
        account.before = sum(account.before, carried);
        account.place = Place::Waiting;
        let record = match stops {
            true => {
                account.cause = Some(TerminateCause::LostCarrier);
                account.record(StatusType::Stop, Totals::default(), now, None)
            }
            false => account.record(StatusType::InterimUpdate, Totals::default(), now, Some("inactive")),
        };
        account.cause = None;
        self.unschedule(&id);
        self.wanted(record)
    }

    /// Why a session will end, known before it does. The first cause counts.
    pub fn blame(&mut self, accounting_id: &str, cause: TerminateCause) {
        if let Some(account) = self.accounts.get_mut(accounting_id) {
            account.cause.get_or_insert(cause);
        }
    }

    /// A session is over for good; `carried` by the session that held it last.
    pub fn ended(
        &mut self,
        session: u64,
        carried: Totals,
        cause: TerminateCause,
        now: WallSecs,
    ) -> Option<Record> {
        let id = self.by_session.remove(&session)?;
        self.close(&id, carried, cause, now)
    }

    /// A session that waited for its client is over for good. One that is up ends with the session that holds it.
    pub fn given_up(&mut self, accounting_id: &str, cause: TerminateCause, now: WallSecs) -> Option<Record> {
        let account = self.accounts.get(accounting_id).filter(|account| account.place == Place::Waiting)?;
        let is_old = account.ends_at.is_some_and(|ends_at| ends_at <= now);
        // Its stop was told when it began to wait.
        if self.policy.as_ref().is_some_and(|policy| policy.on_suspend == OnSuspend::Stop) {
            self.accounts.remove(accounting_id);
            return None;
        }
        let cause = match cause {
            // RFC 2866 §5.10: it waited until its own end, not until patience with its client did.
            TerminateCause::LostCarrier if is_old => TerminateCause::SessionTimeout,
            cause => cause,
        };
        self.close(accounting_id, Totals::default(), cause, now)
    }

    /// A login came to nothing.
    pub fn never_up(&mut self, session: u64) {
        let pending = |account: &Account| account.place == Place::Pending(session);
        if let Some(id) = self.by_session.get(&session)
            && self.accounts.get(id).is_some_and(pending)
        {
            self.accounts.remove(id);
            self.by_session.remove(&session);
        }
    }

    /// The stop of a session of an earlier run that nobody can go on with.
    pub fn lost(&self, record: &SessionRecord, now: WallSecs) -> Option<Record> {
        let mut alone = Accountant::new(self.policy.clone());
        alone.prefix_lengths.clone_from(&self.prefix_lengths);
        alone.open(None, record);
        alone.close(&record.accounting_id, Totals::default(), TerminateCause::NasReboot, now)
    }

    /// Time between interim records of a session, from now on; 0 for none.
    pub fn set_interim(&mut self, accounting_id: &str, secs: u64, now: WallSecs) {
        self.unschedule(accounting_id);
        if let Some(account) = self.accounts.get_mut(accounting_id) {
            account.interim_secs = secs;
            self.schedule(accounting_id, now);
        }
    }

    /// When [`Accountant::due`] has something to say.
    pub fn next_interim(&self) -> Option<WallSecs> {
        self.interims.first().map(|(at, _)| *at)
    }

    /// The interim records that are due, at most [`MAX_INTERIMS`]. `carried`: by the session that holds it.
    pub fn due(&mut self, now: WallSecs, carried: impl Fn(u64) -> Totals) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < MAX_INTERIMS {
            let Some((_, id)) = self.interims.first().filter(|(at, _)| *at <= now).cloned() else { break };
            self.unschedule(&id);
            let Some(account) = self.accounts.get(&id) else { continue };
            let Place::Up(session) = account.place else { continue };
            records.extend(self.wanted(account.record(
                StatusType::InterimUpdate,
                carried(session),
                now,
                None,
            )));
            self.schedule(&id, now);
        }
        records
    }

    /// The sessions that a request means: those that every value fits.
    pub fn meant(&self, selector: &Selector) -> Vec<Meant> {
        let fits = |account: &&Account| account.place.session().is_some() || account.place == Place::Waiting;
        let found = match &selector.session_id {
            Some(id) => self.accounts.get(id).into_iter().collect::<Vec<_>>(),
            None => self.accounts.values().collect(),
        };
        let found = found.into_iter().filter(fits).filter(|account| account.is_meant(selector));
        let meant = |account: &Account| Meant {
            accounting_id: account.subject.session_id.clone(),
            session: account.place.session(),
        };
        found.map(meant).collect()
    }

    /// The Acct-Session-Id of a session that is up or about to be.
    pub fn id_of(&self, session: u64) -> Option<&str> {
        self.by_session.get(&session).map(String::as_str)
    }

    /// Sessions that are known.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    fn close(&mut self, id: &str, carried: Totals, cause: TerminateCause, now: WallSecs) -> Option<Record> {
        self.unschedule(id);
        let mut account = self.accounts.remove(id)?;
        account.cause.get_or_insert(cause);
        // Without a start there is no stop.
        if let Place::Pending(_) = account.place {
            return None;
        }
        self.wanted(account.record(StatusType::Stop, carried, now, None))
    }

    /// One address, where the pool is gone that could say more.
    fn prefix_length(&self, pool: &str) -> u8 {
        self.prefix_lengths.get(pool).copied().unwrap_or(MAX_PREFIX_LENGTH)
    }

    fn wanted(&self, record: Record) -> Option<Record> {
        self.policy.is_some().then_some(record)
    }

    fn schedule(&mut self, id: &str, now: WallSecs) {
        if self.policy.is_none() {
            return;
        }
        let Some(account) = self.accounts.get_mut(id).filter(|account| account.interim_secs > 0) else {
            return;
        };
        let at = now.after(account.interim_secs);
        if let Some(before) = account.interim_at.replace(at) {
            self.interims.remove(&(before, id.to_owned()));
        }
        self.interims.insert((at, id.to_owned()));
    }

    fn unschedule(&mut self, id: &str) {
        if let Some(at) = self.accounts.get_mut(id).and_then(|account| account.interim_at.take()) {
            self.interims.remove(&(at, id.to_owned()));
        }
    }
}

impl Place {
    fn session(self) -> Option<u64> {
        match self {
            Place::Up(session) => Some(session),
            Place::Pending(_) | Place::Waiting => None,
        }
    }
}

impl Account {
    fn take(&mut self, session: u64, ends: Ends) {
        self.place = Place::Up(session);
        self.subject.port = u32::try_from(session & u64::from(u32::MAX)).unwrap_or(0);
        self.subject.client = ends.client.or(self.subject.client);
        self.subject.gateway = ends.gateway.or(self.subject.gateway);
    }

    fn record(
        &self,
        status: StatusType,
        carried: Totals,
        now: WallSecs,
        reconnect_state: Option<&'static str>,
    ) -> Record {
        let Totals { in_packets, in_bytes, out_packets, out_bytes } = sum(self.before, carried);
        Record {
            status,
            subject: self.subject.clone(),
            authentic: self.authentic,
            usage: Usage {
                in_octets: in_bytes,
                out_octets: out_bytes,
                in_packets,
                out_packets,
                session_secs: now.0.saturating_sub(self.began_at.0),
            },
            cause: self.cause,
            reconnect_state,
            at_unix_secs: now.0,
        }
    }

    fn is_meant(&self, selector: &Selector) -> bool {
        let Selector { session_id, user, address, address6, prefix6, client, port, class } = selector;
        let subject = &self.subject;
        session_id.as_ref().is_none_or(|id| *id == subject.session_id)
            && user.as_ref().is_none_or(|user| *user == subject.user)
            && address.is_none_or(|address| Some(address) == subject.address)
            && address6.is_none_or(|address| subject.address6.is_some_and(|own| holds(own, address)))
            && prefix6.is_none_or(|prefix| subject.address6.is_some_and(|own| is_prefix(own, prefix)))
            && client.as_ref().is_none_or(|client| subject.client.is_some_and(|at| at.to_string() == *client))
            && port.is_none_or(|port| port == subject.port && self.place.session().is_some())
            && class.iter().all(|class| subject.class.contains(class))
    }
}

/// Whether an address is of a client's prefix.
fn holds((own, length): (Ipv6Addr, u8), address: Ipv6Addr) -> bool {
    network(own, length) == network(address, length)
}

/// Whether a client's prefix is this one.
fn is_prefix((own, length): (Ipv6Addr, u8), prefix: (Ipv6Addr, u8)) -> bool {
    (network(own, length), length) == prefix
}

fn sum(one: Totals, other: Totals) -> Totals {
    Totals {
        in_packets: one.in_packets.saturating_add(other.in_packets),
        in_bytes: one.in_bytes.saturating_add(other.in_bytes),
        out_packets: one.out_packets.saturating_add(other.out_packets),
        out_bytes: one.out_bytes.saturating_add(other.out_bytes),
    }
}

#[cfg(test)]
#[path = "accountant_tests.rs"]
mod tests;
