//! How the client stands, for whoever asks.
//!
//! Enters: the agent. Leaves: a [`Status`], without secrets.

use std::net::SocketAddr;

use super::{Agent, Device, How, Phase};
use crate::control::{ConnectionState, Reply, Status};
use crate::esp::EspCounters;

/// What has been counted since the process began.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) logins: u64,
    pub(super) resumes: u64,
    pub(super) resumes_refused: u64,
    pub(super) dpd_answered: u64,
    /// New IKE SAs in the place of old ones.
    pub(super) ike_rekeys: u64,
    /// Child SAs of this connection.
    pub(super) children: u64,
    /// Packets of connections that are over.
    esp: EspCounters,
}

impl Tally {
    /// Takes over the counters of a connection that ends.
    pub(super) fn esp_before(&mut self, counters: EspCounters) {
        self.esp = sum(self.esp, counters);
    }
}

impl Agent {
    pub(super) fn done(&self) -> Reply {
        Reply::Done(Box::new(self.status()))
    }

    fn state(&self) -> ConnectionState {
        match &self.phase {
            Phase::Opening { how: How::Login, .. } => ConnectionState::Connecting,
            Phase::Opening { how: How::Resume, .. } | Phase::Waiting { .. } => ConnectionState::Reconnecting,
            Phase::Up { .. } => ConnectionState::Connected,
            Phase::Suspended { .. } => ConnectionState::Suspended,
            Phase::Leaving { .. } | Phase::Ended(_) => ConnectionState::Disconnecting,
        }
    }

    fn status(&self) -> Status {
        let link = self.link();
        let hex = |spi: u64| format!("{spi:016x}");
        Status {
            state: self.state(),
            gateway: self.config.display_name().to_owned(),
            user: self.user.clone(),
            address: self.granted.address,
            address6: self.granted.address6,
            dns: self.granted.dns.clone(),
            subnets: self.granted.subnets.iter().map(|(network, len)| format!("{network}/{len}")).collect(),
            device: self.device.as_ref().map(Device::name).map(str::to_owned),
            local: link.and_then(|link| link.local),
            peer: link.map(|link| SocketAddr::new(link.gateway.address, link.gateway.natt_port)),
            session_id: self.kept.as_ref().map(|kept| kept.reconnect.session_id.clone()),
            ike_spis: link.and_then(|link| link.initiator.ike_spis()).map(|(i, r)| (hex(i), hex(r))),
            resumed: self.resumed,
            resumes: self.tally.resumes,
            resumes_refused: self.tally.resumes_refused,
            logins: self.tally.logins,
            dpd_answered: self.tally.dpd_answered,
            ike_rekeys: self.tally.ike_rekeys,
            rekeys: self.tally.children.saturating_sub(1),
            esp: sum(self.tally.esp, link.map(|link| link.tunnels.counters).unwrap_or_default()),
        }
    }
}

fn sum(a: EspCounters, b: EspCounters) -> EspCounters {
    EspCounters {
        sealed: a.sealed.saturating_add(b.sealed),
        opened: a.opened.saturating_add(b.opened),
        dropped: a.dropped.saturating_add(b.dropped),
    }
}
