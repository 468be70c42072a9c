//! Answers to the API's questions, made between two IKE messages.

use std::net::SocketAddr;

use causeway_ike::api::{Input, SessionId};
use causeway_ike::policy::GatewayName;
use causeway_shared::api::{
    Counter, Counters, ExportedKeys, Health, InactiveSession, InactiveSessionList, PoolUse, PortList,
    ReconnectStats, Traffic,
};
use causeway_shared::counters::{Drop, Flow};

use super::core::Core;
use super::request::{InactiveQuery, Redirection, Request, TrafficAnswer};
use crate::aaa::radius;
use crate::clock;
use crate::counters;
use crate::debug::keys;
use crate::link::Link;
use crate::reconnect::{Inactive, InactivePlace, Phase};
use crate::store::{DurableId, Totals, WallSecs};

/// A pool this full is reported, in percent.
const POOL_NEARLY_FULL_PERCENT: u64 = 95;

impl<L: Link> Core<L> {
    /// Answers one question. A client that has gone away is no error.
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Snapshot(sender) => drop(sender.send(self.sessions.snapshot())),
            Request::Traffic(sessions, spis, sender) => {
                let facts = |session| self.endpoint.ike_facts(SessionId(session));
                let ike = sessions.into_iter().map(facts).collect();
                let figures = spis.into_iter().map(|spi| self.link.traffic(spi)).collect();
                let answer = TrafficAnswer { now_ms: clock::millis(clock::now()), ike, figures };
                drop(sender.send(answer));
            }
            Request::Counters(sender) => drop(sender.send(self.counters())),
            Request::Health(sender) => drop(sender.send(self.health())),
            Request::Ports(sender) => drop(sender.send(self.ports())),
            Request::Delete(session, sender) => drop(sender.send(self.delete(session))),
            Request::DeleteMany(sessions, sender) => {
                let begun = sessions.into_iter().filter(|session| self.delete(*session)).count();
                let _ = sender.send(begun as u64);
            }
            Request::Keys(session, sender) => drop(sender.send(self.keys(session))),
            Request::Inactive(query, sender) => drop(sender.send(self.inactive(&query))),
            Request::DeleteInactive(id, sender) => drop(sender.send(self.forget_inactive(id.as_deref()))),
            Request::Reconnect(sender) => drop(sender.send(self.reconnect_stats())),
            Request::ResetReconnect(sender) => {
                self.table.reset_counts();
                let _ = sender.send(());
            }
            Request::Order(order, sender) => drop(sender.send(self.order(&order))),
            Request::Redirect(session, to, sender) => drop(sender.send(self.redirect(session, to))),
            Request::RedirectNewcomers(to, sender) => {
                self.handle(Input::RedirectNewcomers(to));
                let _ = sender.send(());
            }
            Request::NewKeys(read, sender) => {
                self.new_keys(read);
                let _ = sender.send(());
            }
            Request::Rekey(session, what, sender) => drop(sender.send(self.rekey(session, what))),
        }
    }

    fn redirect(&mut self, session: u64, to: GatewayName) -> Redirection {
        let session = SessionId(session);
        match self.endpoint.ike_facts(session) {
            None => Redirection::Missing,
            Some(facts) if !facts.redirect => Redirection::CannotFollow,
            Some(_) => {
                self.handle(Input::Redirect { session, to });
                Redirection::Begun
            }
        }
    }

    fn keys(&mut self, session: u64) -> Option<ExportedKeys> {
        let record = self.sessions.snapshot().get(session)?;
        let endpoint = &mut self.endpoint;
        let spis = endpoint.local_spis(SessionId(session)).into_iter();
        let ike = spis.filter_map(|spi| {
            endpoint.look_at_keys(spi, |spis, _, keys| keys::ike_row(spis, keys)).flatten()
        });
        let ikev2_decryption_table = ike.collect();
        let pairs = record.inbound_spis().filter_map(|spi| self.link.pair(spi));
        Some(ExportedKeys { ikev2_decryption_table, esp_sa: pairs.flat_map(keys::esp_rows).collect() })
    }

    fn inactive(&self, query: &InactiveQuery) -> InactiveSessionList {
        let (now, user) = (self.desk.wall(), query.user.as_deref());
        let total =
            user.map_or_else(|| self.table.inactive_count(), |user| self.table.inactive_count_of(user));
        let (page, more) = self.table.inactive_page(query.after, user, query.limit);
        let last = page.last().map(|last| InactivePlace { since: last.since, id: last.record.id });
        InactiveSessionList {
            sessions: page.into_iter().map(|waiting| inactive_session(waiting, now)).collect(),
            total: total as u64,
            next_page_token: last.filter(|_| more).map(|place| place.to_string()),
        }
    }

    fn forget_inactive(&mut self, id: Option<&str>) -> u64 {
        let forgotten = match id {
            None => self.table.clear_inactive() as u64,
            Some(text) => {
                let id = DurableId::parse(text.as_bytes());
                let waits = |id: &DurableId| matches!(self.table.phase(id), Some(Phase::Inactive { .. }));
                u64::from(id.filter(waits).is_some_and(|id| self.table.clear(&id)))
            }
        };
        self.pump();
        forgotten
    }

    fn reconnect_stats(&self) -> ReconnectStats {
        let (active, inactive) = (self.table.active_count() as u64, self.table.inactive_count() as u64);
        self.table.counts().render(self.table.settings().enabled, active, inactive)
    }

    fn counters(&self) -> Counters {
        let table = self.link.data_plane_counters();
        let value = |index: usize| table.as_ref().and_then(|table| table.get(index)).copied().unwrap_or(0);
        let counter = |name: &str, value: u64, meaning: &str, remedy: &str| Counter {
            name: name.to_owned(),
            value,
            meaning: meaning.to_owned(),
            remedy: remedy.to_owned(),
        };
        let flow = Flow::ALL.iter().map(|c| counter(c.name(), value(c.index()), c.meaning(), c.remedy()));
        let drops = Drop::ALL.iter().map(|c| counter(c.name(), value(c.index()), c.meaning(), c.remedy()));
        let ike = self.endpoint.counters();
        let ike = ike.iter().map(|(c, value)| counter(c.name(), value, c.meaning(), c.remedy()));
        let own = counters::render(&self.counts, &self.link.counts());
        let radius = self.services.radius_eap.as_ref().map(|radius| radius.asker().status());
        let radius = radius.map(|status| radius::counters::render(&status)).unwrap_or_default();
        let orders = self.services.radius_listener.as_ref().map(|listener| listener.counts());
        let orders = orders.map(radius::counters::render_orders).unwrap_or_default();
        let accounting = self.bookkeeper_status();
        let accounting =
            accounting.map(|status| radius::counters::render_accounting(&status)).unwrap_or_default();
        Counters {
            flow: flow.collect(),
            drops: drops.collect(),
            ike: ike.chain(own).chain(radius).chain(accounting).chain(orders).collect(),
        }
    }

    fn ports(&self) -> PortList {
        let ports = self.link.ports();
        PortList { dataplane_attached: ports.is_some(), ports: ports.unwrap_or_default() }
    }

    fn health(&self) -> Health {
        let link = self.link.status(clock::now());
        let mut problems = link.problems;
        problems.extend(self.desk.store_problem());
        problems.extend(self.keys_problem.clone());
        problems.extend(self.services.revocation.problems());
        let radius = self.services.radius_eap.as_ref().map(|radius| radius.asker().status());
        problems.extend(radius.iter().flat_map(radius::AskerStatus::problems));
        problems.extend(self.bookkeeper_status().iter().flat_map(radius::BookkeeperStatus::problems));
        let mut pools = std::collections::BTreeMap::new();
        for usage in self.services.pools.usage() {
            let (used, size) = (usage.leased as u64, usage.capacity as u64);
            if used.saturating_mul(100) >= size.saturating_mul(POOL_NEARLY_FULL_PERCENT) {
                problems.push(format!(
                    "Pool `{}` has {used} of {size} addresses in use: enlarge it or add another [[pool]].",
                    usage.name
                ));
            }
            pools.insert(usage.name, PoolUse { used, size });
        }
        Health {
            status: if problems.is_empty() { "ok" } else { "degraded" }.to_owned(),
            version: self.version.clone(),
            dataplane_attached: link.attached,
            dataplane_epoch: link.epoch,
            workers: link.workers,
            sessions: self.sessions.len() as u64,
            half_open: self.endpoint.half_open() as u64,
            pools,
            problems,
        }
    }
}

fn inactive_session(waiting: Inactive, now: WallSecs) -> InactiveSession {
    let Inactive { record, last_peer, method, since, expires_at } = waiting;
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let Totals { in_packets, in_bytes, out_packets, out_bytes } = record.totals;
    InactiveSession {
        id: record.id.to_string(),
        serial: Some(record.serial),
        session_id: Some(record.id.as_bytes().iter().map(|octet| format!("{octet:02X}")).collect()),
        user: record.user,
        group: some(record.group),
        profile: some(record.profile),
        auth_method: some(method),
        inner_address: record.inner_v4,
        inner_address6: record.inner_v6,
        pool: some(record.pool),
        last_peer: last_peer.map(|(address, port)| SocketAddr::new(address, port).to_string()),
        inactive_secs: now.0.saturating_sub(since.0),
        expires_in_secs: expires_at.0.saturating_sub(now.0),
        resumes: record.resumptions,
        traffic: Traffic { in_packets, in_bytes, out_packets, out_bytes },
    }
}
