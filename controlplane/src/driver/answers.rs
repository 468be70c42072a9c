//! Answers to the API's questions, made between two IKE messages.

use causeway_ike::api::SessionId;
use causeway_shared::api::{Counter, Counters, Health, InactiveSessionList, PoolUse, ReconnectStats};
use causeway_shared::counters::{Drop, Flow};

use super::core::Core;
use super::request::{Request, TrafficAnswer};
use crate::clock;
use crate::counters;
use crate::link::Link;

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
            Request::Delete(session, sender) => drop(sender.send(self.delete(session))),
            Request::DeleteMany(sessions, sender) => {
                let begun = sessions.into_iter().filter(|session| self.delete(*session)).count();
                let _ = sender.send(begun as u64);
            }
            Request::Inactive(_, sender) => drop(sender.send(InactiveSessionList::default())),
            Request::DeleteInactive(_, sender) => drop(sender.send(0)),
            Request::Reconnect(sender) => drop(sender.send(ReconnectStats::default())),
            Request::Rekey(session, what, sender) => drop(sender.send(self.rekey(session, what))),
        }
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
        Counters { flow: flow.collect(), drops: drops.collect(), ike: ike.chain(own).collect() }
    }

    fn health(&self) -> Health {
        let link = self.link.status(clock::now());
        let mut problems = link.problems;
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
