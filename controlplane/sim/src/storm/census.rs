//! Counting heads: after the storm everybody has what is theirs, and after the farewell nothing is left.
//!
//! Enters: the storm when nothing is under way. Leaves: nothing, or the first difference.

use std::collections::HashSet;

use causeway_controlplane::reconnect::{Phase, Refusal};
use causeway_controlplane::store::{self, SessionStore, StoredState};
use causeway_ike::Held;

use super::{Report, Storm};

impl Storm {
    pub(super) fn check_everybody_is_back(&self) -> Result<(), String> {
        let count = self.returners.len();
        let gateway = &self.gateway;
        let mut addresses = HashSet::with_capacity(count);
        for (index, returner) in self.returners.iter().enumerate() {
            let fail = |what: &str| Err(format!("client {index}: {what}"));
            let client = &returner.client;
            let Some(spis) = client.ike_spis() else { return fail("is not up") };
            if client.inner().v4 != Some(returner.inner) || !addresses.insert(returner.inner) {
                return fail("has not its own address");
            }
            let Some(session) = gateway.sessions.get(&spis) else {
                return fail("is up, but the gateway has not its IKE SA");
            };
            let Some((record, Phase::Active)) = gateway.table.of_session(session.0) else {
                return fail("has no active session");
            };
            if record.id != returner.id || record.inner_v4 != Some(returner.inner) {
                return fail("has another session");
            }
            let stored = gateway.store.get(&returner.id).map_err(|error| error.to_string())?;
            let Some((stored, Some(tokens))) = stored else { return fail("is not stored") };
            if (stored.state, stored.generation) != (StoredState::Active, record.generation) {
                return fail("is stored otherwise");
            }
            if tokens.current.as_bytes() != returner.token {
                return fail("holds another token than the store");
            }
            let [child] = client.children() else { return fail("has not one Child SA") };
            let same = gateway.children.get(&child.outbound_spi).is_some_and(|sa| {
                (sa.session, sa.peer_inner.v4) == (*session, Some(returner.inner))
                    && sa.outbound_spi == child.inbound_spi
                    && sa.inbound_keymat == child.outbound_key
                    && sa.outbound_keymat == child.inbound_key
            });
            if !same {
                return fail("and the gateway differ about its Child SA");
            }
        }
        self.check_counters()?;
        let held = self.gateway.endpoint().held();
        let figures = [
            ("sessions that are up", gateway.sessions.len()),
            ("sessions held", held.sessions),
            ("Child SAs", gateway.children.len()),
            ("SPIs", gateway.spis_in_use() as usize),
            ("leases", gateway.pools.leased()),
            ("active sessions", gateway.table.active_count()),
            ("stored sessions", gateway.store.counts().active as usize),
        ];
        if let Some((what, figure)) = figures.iter().find(|(_, figure)| *figure != count) {
            return Err(format!("{what}: {figure} instead of {count}"));
        }
        let left = [held.half_open, held.jobs, gateway.jobs(), gateway.table.inactive_count()];
        if left != [0; 4] {
            return Err(format!("half-open, jobs, jobs, inactive: {left:?}"));
        }
        Ok(())
    }

    /// Every attempt that reached the gateway has succeeded or failed, and none for a reason that an honest client cannot
    /// give.
    fn check_counters(&self) -> Result<(), String> {
        let counts = self.gateway.table.counts();
        if counts.incoming != counts.success + counts.failed() {
            let failed = counts.failed();
            return Err(format!(
                "{} attempts, {} successes, {failed} failures",
                counts.incoming, counts.success
            ));
        }
        if counts.success != self.gateway.resumed || counts.success < self.returners.len() as u64 {
            return Err(format!("{} successes, {} resumed", counts.success, self.gateway.resumed));
        }
        let never = [
            Refusal::UnknownId,
            Refusal::Frozen,
            Refusal::Expired,
            Refusal::StillActive,
            Refusal::WrongToken,
            Refusal::Replay,
            Refusal::AddressGone,
            Refusal::Store,
        ];
        match never.into_iter().find(|reason| counts.refused(*reason) > 0) {
            Some(reason) => Err(format!("{} were refused: {}", counts.refused(reason), reason.name())),
            None => Ok(()),
        }
    }

    pub(super) fn check_nothing_is_left(&self) -> Result<(), String> {
        let gateway = &self.gateway;
        let held = gateway.endpoint().held();
        if held != Held::default() {
            return Err(format!("the endpoint still holds {held:?}"));
        }
        let left = [
            gateway.sessions.len(),
            gateway.children.len(),
            gateway.spis_in_use() as usize,
            gateway.pools.leased(),
            gateway.jobs(),
            gateway.table.active_count(),
            gateway.table.inactive_count(),
        ];
        if left != [0; 7] || gateway.store.counts() != store::Counts::default() {
            return Err(format!("left: {left:?}, stored: {:?}", gateway.store.counts()));
        }
        Ok(())
    }

    pub(super) fn report(&self) -> Report {
        let counters = self.gateway.endpoint().counters();
        let counts = self.gateway.table.counts();
        let mut waits_ms: Vec<u64> = self.returners.iter().filter_map(|returner| returner.up_at_ms).collect();
        waits_ms.sort_unstable();
        let retransmissions = self.returners.iter().map(|returner| returner.client.retransmissions()).sum();
        Report {
            clients: self.returners.len() as u64,
            last_up_ms: self.last_up_ms,
            half_up_ms: waits_ms.get(waits_ms.len() / 2).copied().unwrap_or(0),
            attempts: self.attempts,
            suspensions: self.suspensions,
            failures: self.failures,
            incoming: counts.incoming,
            resumed: counts.success,
            refused: counts.failed(),
            taken_over: self.gateway.taken_over,
            retransmissions,
            answered_again: counters.get(causeway_ike::counters::IkeCounter::RetransmitsAnswered),
            cookies: counters.get(causeway_ike::counters::IkeCounter::CookiesSent),
            handshakes_begun: counters.get(causeway_ike::counters::IkeCounter::HandshakesBegun),
            handshakes_done: counters.get(causeway_ike::counters::IkeCounter::HandshakesDone),
            half_open_drops: counters.get(causeway_ike::counters::IkeCounter::DropHalfOpenLimit),
            socket_drops: self.cores.overflows,
            jobs_refused: self.cores.refused,
            peak_half_open: self.peak_half_open as u64,
            cpu: self.cpu,
        }
    }
}
