//! One Child SA pair as the manager prepares it for its owner worker: the hot part of each direction, which goes into the
//! worker's table, and what is rarely looked at. RFC 4301 §4.4.2, RFC 4303, RFC 3948.

use std::net::IpAddr;

use causeway_shared::sa::{Encapsulation, MAX_REPLAY_WINDOW, MAX_SELECTORS, MIN_SPI, SaPair};
use causeway_shared::wire::AckStatus;

use super::fast_selector6::{self, FastSelector6};
use super::outbound_sa::last_sequence;
use super::{Inbound, Lifetime, Outbound, Outer6, Selectors};
use crate::crypto::{Engine, EspEngine};

/// One Child SA pair. While it is installed its hot parts are in the table, and those here are empty.
pub struct WorkerSa {
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    pub(super) cold: Cold,
}

/// What is rarely looked at.
pub(crate) struct Cold {
    /// Which inner packets it carries.
    pub selectors: Selectors,
    /// Byte and packet limits of each direction, and which were announced.
    pub lifetime: Lifetime,
    /// The common case of the IPv6 ones.
    pub selector6: FastSelector6,
    /// How its outer packets begin, if they are of IPv6.
    pub outer6: Option<Outer6>,
    /// Our outer address.
    pub local_outer: IpAddr,
    /// Whose it is.
    pub session_id: u64,
    /// Its keys fill more than the first cache lines.
    long_key: bool,
}

impl WorkerSa {
    /// Checks the description, expands keys and prebuilds headers; runs on the manager's thread.
    ///
    /// # Errors
    /// `OutOfRange` when a value is one that the data plane cannot use.
    pub fn new(pair: &SaPair) -> Result<Box<WorkerSa>, AckStatus> {
        let selectors = [&pair.local_selectors, &pair.peer_selectors];
        let in_range = pair.inbound_spi >= MIN_SPI
            && pair.outbound_spi >= MIN_SPI
            && pair.replay_window <= MAX_REPLAY_WINDOW
            && (1..=last_sequence(pair.esn)).contains(&pair.first_outbound_sequence)
            && pair.highest_inbound_sequence <= last_sequence(pair.esn)
            && selectors.iter().all(|list| (1..=MAX_SELECTORS).contains(&list.len()));
        if !in_range {
            return Err(AckStatus::OutOfRange);
        }
        let (local_outer, peer_outer) = (pair.local_outer, pair.peer_outer);
        if local_outer.is_ipv4() != peer_outer.is_ipv4() {
            return Err(AckStatus::OutOfRange);
        }
        let (suite, esn) = (pair.suite, pair.esn);
        let inbound_key =
            Engine::setup_inbound(suite, esn, &pair.inbound_keys).map_err(|_| AckStatus::OutOfRange)?;
        let outbound_key =
            Engine::setup_outbound(suite, esn, &pair.outbound_keys).map_err(|_| AckStatus::OutOfRange)?;
        let mut sa = Box::new(WorkerSa {
            inbound: Inbound::new(pair, inbound_key),
            outbound: Outbound::new(pair, outbound_key),
            cold: Cold {
                selectors: Selectors::new(&pair.local_selectors, &pair.peer_selectors),
                selector6: fast_selector6::of(&pair.peer_selectors, &pair.local_selectors),
                lifetime: Lifetime::new(pair.limits),
                outer6: outer6_of(local_outer, peer_outer, pair.encapsulation, pair.outbound_spi),
                local_outer,
                session_id: pair.session_id,
                long_key: !suite.is_aead(),
            },
        });
        sa.inbound.set_peer(peer_outer, pair.encapsulation);
        sa.outbound.set_peer(local_outer, peer_outer, pair.encapsulation);
        Ok(sa)
    }

    /// Whether its keys fill more than the first cache lines of each direction.
    pub(super) fn has_long_key(&self) -> bool {
        self.cold.long_key
    }

    /// SPI of packets to us; 0 while it is installed.
    pub fn inbound_spi(&self) -> u32 {
        self.inbound.spi
    }
}

/// Where outer packets go, if that is over IPv6.
pub(super) fn outer6_of(
    local: IpAddr,
    peer: IpAddr,
    encapsulation: Encapsulation,
    spi: u32,
) -> Option<Outer6> {
    match (local, peer) {
        (IpAddr::V6(local), IpAddr::V6(peer)) => Some(Outer6::new(local, peer, encapsulation, spi)),
        _ => None,
    }
}
